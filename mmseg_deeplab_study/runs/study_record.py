"""Exchange records with the original study, which left a ``snapshot.pickle``.

The layout is ``{'Class IoU': [...], 'Mean IoU': [...], 'Overall Acc': [...]}`` with an entry per validation:
a dict ``{class index: IoU}`` in the first list, numbers in the others, all in 0..1, NaN for an absent class.
It has no iteration numbers. Source: StreamSegMetrics of https://github.com/VainF/DeepLabV3Plus-Pytorch
"""

import io
import pickle
import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_file import write_atomically
from ..datasets.label_spaces import match_classes, resolve_classes
from ..evaluation.metrics.scores import mean_known
from .history import History, Kind, SubsetName

MAX_BYTES = 16 * 2**20  # 1,000 validations of 19 classes take 1.5 MB at most
MAX_VALIDATIONS = 100_000  # a pickle can repeat an entry in two bytes
_KEYS = ('Class IoU', 'Mean IoU', 'Overall Acc')
_short = reprlib.repr  # nested lists that share their items are small in a pickle and endless in print


def read_study_record(
    path: str | Path,
    classes: str | Sequence[str] = 'cityscapes',
    seen: str | Sequence[str] = 'voc',
    interval: int = 5,
) -> History:
    """Read a record of the original study: numbers alone, running nothing in the file.

    The k-th validation, from 1, becomes the row of iteration ``interval * k``: the study did not validate
    before training. Scores come in percent, NaN as None. The record knows no mAcc (None), confusion matrix,
    number of images or duration (left out).

    Args:
        path: the pickle.
        classes: label space of the validations, a dataset's name known to MMSeg or a list of names.
        seen: label space of the source model, likewise; the classes with an exact or alias match are seen.
        interval: iterations from one validation to the next.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds anything but numbers, is damaged or too large, or does not have the
            study's layout; names the file.
    """
    path, classes, source = Path(path), resolve_classes(classes), resolve_classes(seen)
    if interval < 1:
        raise ValueError(f'interval must be at least 1 iteration, but got {interval}')
    matches, rows = match_classes(source, classes), []
    try:
        validations = _validations(_load_numbers(path), len(classes))
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    for k, (mean_iou, accuracy, *iou) in enumerate(validations, 1):
        class_iou = dict(zip(classes, iou, strict=True))
        row = {'iter': interval * k, 'kind': str(Kind.VALIDATION), 'subset': str(SubsetName.FULL)}
        row |= {'mIoU': mean_iou, 'aAcc': accuracy, 'mAcc': None}
        row['mIoU.seen'] = mean_known([value for name, value in class_iou.items() if name in matches])
        row['mIoU.unseen'] = mean_known([value for name, value in class_iou.items() if name not in matches])
        rows.append({**row, 'class_iou': class_iou})
    header = {'source_classes': list(source), 'target_classes': list(classes)}
    header |= {'seen_classes': [name for name in classes if name in matches]}
    return History({**header, 'imported_from': path.name, 'seed': None}, rows)


def write_study_record(history: History, path: str | Path) -> None:
    """Write a history's validations in the original study's layout.

    Numbers are plain Python. The layout has no iteration numbers: its first entry is the validation at one
    interval. Iteration 0, which the study did not validate, is left out.

    Raises:
        ValueError: the validations after iteration 0 are none, or not evenly spaced from there.
    """
    rows, classes = [row for row in history.validations if row['iter'] > 0], history.header['target_classes']
    iterations = [row['iter'] for row in rows]
    if not rows or iterations != [iterations[0] * (k + 1) for k in range(len(rows))]:
        raise ValueError(
            f'validations at iterations {iterations[:10]}, but the layout of the study takes those at one '
            'interval and its multiples'
        )
    ious = [{i: _share(row['class_iou'][name]) for i, name in enumerate(classes)} for row in rows]
    columns = (ious, [_share(row['mIoU']) for row in rows], [_share(row['aAcc']) for row in rows])
    write_atomically(Path(path), pickle.dumps(dict(zip(_KEYS, columns, strict=True))))


def _share(score: float | None) -> float:
    return float('nan') if score is None else score / 100


def _validations(record: Any, num_classes: int) -> list[list[float | None]]:
    """Return mIoU, pixel accuracy and the classes' IoU of each validation, in percent."""
    if not isinstance(record, dict) or set(record) != set(_KEYS):
        got = _short(list(record) if isinstance(record, dict) else record)
        raise ValueError(f'expected a dict with the keys {list(_KEYS)}, got {got}')
    columns = [record[key] for key in _KEYS]
    for key, column in zip(_KEYS, columns, strict=True):
        if not isinstance(column, list) or len(column) != len(columns[0]):
            raise ValueError(f'{key!r} must be a list with an entry per validation, got {_short(column)}')
    if (count := len(columns[0])) > MAX_VALIDATIONS:
        raise ValueError(f'{count} validations; the limit is {MAX_VALIDATIONS}')
    validations = []
    for k, (iou, *means) in enumerate(zip(*columns, strict=True), 1):
        if not isinstance(iou, dict) or set(iou) != set(range(len(iou))):
            raise ValueError(f'validation {k}: IoU must be a dict from 0, got {_short(iou)}')
        if len(iou) != num_classes:
            raise ValueError(f'validation {k}: IoU of {len(iou)} classes, expected {num_classes}')
        scores = [*means, *(iou[i] for i in range(num_classes))]
        for value in scores:
            if not isinstance(value, int | float) or not (0 <= value <= 1 or value != value):
                got = _short(value)
                raise ValueError(f'validation {k}: scores must be numbers in 0..1 or NaN, got {got}')
        validations.append([100 * float(value) if value == value else None for value in scores])
    return validations


def _load_numbers(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; expected the snapshot.pickle of the study')
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f'{size} bytes are too many for a record of scores; the limit is {MAX_BYTES}')
    try:
        return _NumbersOnly(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # a damaged file fails anywhere
        raise ValueError(f'not a pickle of numbers, or a damaged one: {error}') from error


class _NumberType:
    """What a pickle gets for numpy.dtype, whose own state could claim objects."""

    def __init__(self, code: str, *_flags: Any) -> None:
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        self.code = state[1] + self.code  # the order of bytes


def _number(number_type: _NumberType, data: bytes) -> int | float:
    # Not numpy's own, which unpickles the data of an object.
    if not re.fullmatch('[<>|]?(b1|[iu][1248]|f[248])', number_type.code):
        raise ValueError(f'numpy type {_short(number_type.code)} refused, expected one of numbers')
    return np.frombuffer(data, number_type.code).item()


_ALLOWED = {
    'numpy.dtype': _NumberType,
    'numpy.core.multiarray.scalar': _number,
    '_codecs.encode': lambda text, _: text.encode('latin1'),  # how protocols 0 to 2 write bytes
}


# The one in Python: that in C makes room for any index of its memo, up to 64 GB.
class _NumbersOnly(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED.get(f'{module}.{name}'.replace('numpy._core', 'numpy.core'))  # numpy 2 and 1
        if allowed is None:
            raise ValueError(f'it carries code ({module}.{name}), which is refused and was not run')
        # Fresh each time: a pickle can set attributes of what it is given, and must not reach ours.
        return lambda *args: allowed(*args)
