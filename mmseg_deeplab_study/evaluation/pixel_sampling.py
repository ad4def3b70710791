"""Which labelled pixels a score of features is computed from."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .metrics.confusion import IDS, check_counts, check_ids


class PixelSample(NamedTuple):
    """Pixels by image, then row, then column: each int64 ``(N,)``.

    ``images`` are places in the sequence of label maps, ``rows`` and ``columns`` places in a map, in pixels
    of its resolution.
    """

    images: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    labels: np.ndarray


def labels_at(label_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Take a label map ``(H, W)`` to a feature map's ``size``, ``(h, w)``.

    Each cell has the label of the pixel that its centre is in, as logits are resized with
    ``align_corners=False``: row ``floor((i + 1/2) H / h)``, and the columns likewise.

    Raises:
        ValueError: not a map of two dimensions, or a map or size without pixels.
    """
    if label_map.ndim != 2 or not label_map.size or min(size) < 1:
        raise ValueError(
            f'cannot take labels of shape {label_map.shape} to {size}: expected (H, W) and (h, w), none 0'
        )
    rows, columns = (cell_centres(*pair) for pair in zip(label_map.shape, size, strict=True))
    return label_map[rows[:, None], columns]


def cell_centres(pixels: int, cells: int) -> np.ndarray:
    """The pixel that the centre of each of ``cells`` along a side of ``pixels`` is in, ``(cells,)``."""
    return (2 * np.arange(cells) + 1) * pixels // (2 * cells)


def sample_pixels(
    label_maps: Sequence[np.ndarray],
    count: int,
    num_classes: int,
    balanced: bool = False,
    seed: int = 0,
    ignore_index: int = 255,
) -> PixelSample:
    """Draw labelled pixels of all images without replacement.

    As they come, each with the same chance; all if there are fewer than ``count``. With ``balanced``, of
    each of the K classes that are there ``count // K`` pixels, or all that it has. The same label maps and
    seed give the same pixels, so that models with features of one size are compared on the same ones.

    Args:
        label_maps: integers ``(h, w)`` at the resolution of the features, by ``labels_at``; sizes may differ.
        count: how many pixels, at most.
        num_classes: labels are 0 to ``num_classes - 1``.
        balanced: whether to draw by class.
        seed: of the draw.
        ignore_index: the label of pixels that are never drawn.

    Raises:
        ValueError: a map that is not ``(h, w)``, a label out of range, no labelled pixel, or a ``count`` that
            gives a class none.
    """
    check_ids(num_classes, ignore_index)
    for place, label_map in enumerate(label_maps):
        if label_map.ndim != 2 or label_map.dtype.kind not in 'iu':
            raise ValueError(
                f'label map {place} is {label_map.dtype} {label_map.shape}; expected integers (h, w)'
            )
        ids, numbers = np.unique(label_map, return_counts=True)
        if len(ids) and not 0 <= ids[0] <= ids[-1] < IDS:
            raise ValueError(f'label map {place} has ids from {ids[0]} to {ids[-1]}; expected 8-bit labels')
        counts = np.bincount(ids, numbers, IDS)
        counts[ignore_index] = 0
        check_counts(f'label map {place}', counts, num_classes, ignore_index)
    flat = np.concatenate([np.empty(0, np.uint8), *(label_map.reshape(-1) for label_map in label_maps)])
    labelled = flat != ignore_index
    groups = [flat == name for name in np.unique(flat[labelled])] if balanced else [labelled]
    if not labelled.any():
        raise ValueError(
            f'no labelled pixel in {len(label_maps)} label maps; check ignore_index={ignore_index}'
        )
    if count < len(groups):
        raise ValueError(
            f'count={count}; expected at least {len(groups)}: a pixel, or one of each class if balanced'
        )
    rng = np.random.default_rng(seed)
    drawn = []
    for group in groups:
        places = np.flatnonzero(group)
        drawn.append(rng.choice(places, min(count // len(groups), len(places)), replace=False, shuffle=False))
    chosen = np.sort(np.concatenate(drawn))
    ends = np.cumsum([label_map.size for label_map in label_maps])
    images = np.searchsorted(ends, chosen, side='right')
    starts = np.concatenate([[0], ends[:-1]])
    widths = np.array([label_map.shape[1] for label_map in label_maps])
    rows, columns = np.divmod(chosen - starts[images], widths[images])
    return PixelSample(images, rows, columns, flat[chosen].astype(np.int64))
