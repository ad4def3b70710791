"""Pixels by true and predicted class, counted exactly and kept without zeros. Imports no torch."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

IDS = 256  # of uint8, as MMSeg reads label maps
_EXACT = 2**24  # pixels; OpenCV returns its counts as float32, which has every integer up to this


def confusion_matrix(
    prediction: np.ndarray,
    label: np.ndarray,
    num_classes: int,
    ignore_index: int = 255,
    num_predicted: int | None = None,
) -> np.ndarray:
    """Count pixels by true (row) and predicted (column) class.

    ``prediction`` and ``label``, integers of one shape such as (H, W), give an int64 array ``(num_classes,
    num_predicted)``; predictions are of another label space if ``num_predicted`` is given, else of the
    labels'. Pixels labelled ``ignore_index`` do not count. uint8 is read as it is, without a copy.

    Raises:
        ValueError: the shapes differ, an id is outside its label space, or there are more than 256 classes.
    """
    # A report without pictures needs none of it.
    import cv2

    columns = num_classes if num_predicted is None else num_predicted
    check_ids(max(num_classes, columns), ignore_index)
    maps = [ids.reshape(-1) for ids in as_uint8(label, prediction, num_classes, ignore_index, columns)]
    counts = np.zeros((num_classes, columns), np.int64)
    for start in range(0, maps[0].size, _EXACT):
        part = [ids[start : start + _EXACT] for ids in maps]
        joint = cv2.calcHist(part, [0, 1], None, [IDS, IDS], [0, IDS, 0, IDS])
        ignored = joint[ignore_index].sum()
        joint[ignore_index] = 0
        inside = joint[:num_classes, :columns].astype(np.int64)
        if inside.sum() + ignored < part[0].size:
            check_counts('label', joint.sum(axis=1), num_classes, ignore_index)
            check_counts('prediction', joint.sum(axis=0), columns, ignore_index)
        counts += inside
    return counts


def check_ids(num_classes: int, ignore_index: int) -> None:
    """Refuse, by ValueError, what 8-bit labels cannot hold."""
    if num_classes > IDS:
        raise ValueError(f'can count at most {IDS} classes, but got {num_classes}')
    if not 0 <= ignore_index < IDS:
        raise ValueError(f'ignore_index must be in [0, {IDS - 1}], an 8-bit label, but got {ignore_index}')


def as_uint8(
    label: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int, num_predicted: int
) -> tuple[np.ndarray, np.ndarray]:
    """Label and prediction as uint8; ValueError if their shapes differ, or for an id of more than 8 bits."""
    if prediction.shape != label.shape:
        raise ValueError(
            f'prediction and label must have one shape, but got {prediction.shape} and {label.shape}'
        )
    for name, ids, number in (('label', label, num_classes), ('prediction', prediction, num_predicted)):
        if ids.dtype != np.uint8 and ids.size and not 0 <= ids.min() <= ids.max() < IDS:
            raise _outside(name, number, ignore_index, ids.min(), ids.max())
    return label.astype(np.uint8, copy=False), prediction.astype(np.uint8, copy=False)


def check_counts(name: str, counts: np.ndarray, num_classes: int, ignore_index: int) -> None:
    """Refuse, by ValueError, counts by id of pixels outside the label space; ``name`` says whose."""
    present = np.flatnonzero(counts)
    if len(present) and present[-1] >= num_classes:
        raise _outside(name, num_classes, ignore_index, present[0], present[-1])


def _outside(name: str, num_classes: int, ignore_index: int, low: int, high: int) -> ValueError:
    return ValueError(
        f'{name} ids must be in [0, {num_classes - 1}] or {ignore_index}, but got {low} to {high}'
    )


class SparseCounts(NamedTuple):
    """The counts of an array that are not 0: places in the flat array, and numbers.

    ``places`` are uint32, ``numbers`` int64. An image has few classes: dense, a confusion matrix of 150 takes
    180 kB, rings along boundaries a megabyte.
    """

    places: np.ndarray
    numbers: np.ndarray


def to_sparse(counts: np.ndarray) -> SparseCounts:
    """Keep the counts, of any shape, that are not 0."""
    flat = counts.reshape(-1)
    places = np.flatnonzero(flat)
    return SparseCounts(places.astype(np.uint32), flat[places].astype(np.int64))


def add_sparse(images: Iterable[SparseCounts], shape: Sequence[int]) -> np.ndarray:
    """Sum counts of one ``shape``, as int64; the sum of none is 0."""
    total = np.zeros(shape, np.int64)
    flat = total.reshape(-1)
    for places, numbers in images:
        flat[places] += numbers
    return total
