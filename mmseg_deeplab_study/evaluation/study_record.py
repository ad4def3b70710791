"""Exchange records with the original study, which pickled its scores once at the end as ``snapshot.pickle``.

The layout is ``{'Class IoU': [...], 'Mean IoU': [...], 'Overall Acc': [...]}`` with an entry per validation:
a dict ``{class index: IoU}`` in the first list, numbers in the others, all in 0..1, NaN for an absent class.
It has no iteration numbers. Source: StreamSegMetrics of https://github.com/VainF/DeepLabV3Plus-Pytorch
"""

import io
import pickle
import pickletools
import reprlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_file import write_atomically
from ..datasets.label_spaces import match_classes, resolve_classes
from .history import History
from .scores import mean_known

# 1,000 validations of 19 classes take 0.4 MB in pickle's protocol 4 and 1.5 MB in protocol 0.
MAX_BYTES = 16 * 2**20
MAX_VALIDATIONS = 100_000
_KEYS = ('Class IoU', 'Mean IoU', 'Overall Acc')
# Nested lists that share their items are small in a pickle, and endless when written out.
_short = reprlib.repr


def read_study_record(
    path: str | Path,
    classes: str | Sequence[str] = 'cityscapes',
    seen: str | Sequence[str] = 'voc',
    interval: int = 5,
) -> History:
    """Read a record of the original study; only numbers are read, and nothing in the file is run.

    The k-th validation, from 0, becomes the row of iteration ``interval * (k + 1)``: the study did not
    validate before training. Scores come in percent, NaN as None. The record knows no mAcc (None), confusion
    matrix, number of images or duration (left out).

    Args:
        path: the pickle.
        classes: label space of the validations, a dataset's name known to MMSeg or a list of names.
        seen: label space of the source model, likewise; the classes with an exact or alias match are seen.
        interval: iterations from one validation to the next.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file carries anything but numbers, is damaged or too large, or does not have the
            study's layout; names the file.
    """
    path, classes, source = Path(path), resolve_classes(classes), resolve_classes(seen)
    if interval < 1:
        raise ValueError(f'interval must be at least 1 iteration, but got {interval}')
    matches = match_classes(source, classes)
    try:
        validations = _validations(_load_numbers(path), len(classes))
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    rows = []
    for k, (iou, mean_iou, accuracy) in enumerate(validations, 1):
        class_iou = dict(zip(classes, iou, strict=True))
        row = {
            'iter': interval * k,
            'kind': 'validation',
            'subset': 'full',
            'mIoU': mean_iou,
            'aAcc': accuracy,
            'mAcc': None,
            'mIoU.seen': mean_known([value for name, value in class_iou.items() if name in matches]),
            'mIoU.unseen': mean_known([value for name, value in class_iou.items() if name not in matches]),
            'class_iou': class_iou,
        }
        rows.append(row)
    header = {
        'source_classes': list(source),
        'target_classes': list(classes),
        'seen_classes': [name for name in classes if name in matches],
        'imported_from': path.name,
        'seed': None,
    }
    return History(header, rows)


def write_study_record(history: History, path: str | Path) -> None:
    """Write the validations of a history in the original study's layout, as plain Python numbers.

    The layout has no iteration numbers: its first entry is the validation at one interval. Iteration 0, which
    the study did not validate, is left out.

    Raises:
        ValueError: the validations behind iteration 0 are none, or not evenly spaced from there.
    """
    rows, classes = [row for row in history.validations if row['iter'] > 0], history.header['target_classes']
    iterations = [row['iter'] for row in rows]
    if not rows or iterations != [iterations[0] * (k + 1) for k in range(len(rows))]:
        raise ValueError(
            "the study's layout takes validations at one interval and its multiples, but got "
            f'{iterations[:10]}'
        )
    record = {
        'Class IoU': [{i: _share(row['class_iou'][name]) for i, name in enumerate(classes)} for row in rows],
        'Mean IoU': [_share(row['mIoU']) for row in rows],
        'Overall Acc': [_share(row['aAcc']) for row in rows],
    }
    write_atomically(Path(path), pickle.dumps(record))


def _share(score: float | None) -> float:
    return float('nan') if score is None else score / 100


def _validations(
    record: Any, num_classes: int
) -> list[tuple[list[float | None], float | None, float | None]]:
    """Check the layout; per validation the IoU of every class, mIoU and pixel accuracy, in percent."""
    if not isinstance(record, dict) or set(record) != set(_KEYS):
        got = _short(list(record) if isinstance(record, dict) else record)
        raise ValueError(f'expected a dict with the keys {list(_KEYS)}, got {got}')
    columns = [record[key] for key in _KEYS]
    for key, column in zip(_KEYS, columns, strict=True):
        if not isinstance(column, list | tuple):
            raise ValueError(f'{key!r} must be a list with an entry per validation, got {_short(column)}')
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise ValueError(f'{list(_KEYS)} must be of one length, but have {lengths} entries')
    # A pickle can repeat an entry in two bytes, so the size of the file is no bound.
    if lengths[0] > MAX_VALIDATIONS:
        raise ValueError(f'{lengths[0]} validations; the limit is {MAX_VALIDATIONS}')
    validations = []
    for k, (iou, mean_iou, accuracy) in enumerate(zip(*columns, strict=True)):
        iou = [_percent(value, f'Class IoU[{k}]') for value in _in_order(iou, num_classes, k)]
        validations.append(
            (iou, _percent(mean_iou, f'Mean IoU[{k}]'), _percent(accuracy, f'Overall Acc[{k}]'))
        )
    return validations


def _in_order(entry: Any, num_classes: int, k: int) -> list[Any]:
    if not isinstance(entry, dict | list | tuple):
        raise ValueError(f'Class IoU[{k}] must be a dict or a list of numbers, got {_short(entry)}')
    if len(entry) != num_classes:
        raise ValueError(f'Class IoU[{k}] has {len(entry)} classes, expected {num_classes}')
    if not isinstance(entry, dict):
        return list(entry)
    if set(entry) != set(range(num_classes)):
        raise ValueError(
            f'Class IoU[{k}] must have the keys 0 to {num_classes - 1}, got {_short(list(entry))}'
        )
    return [entry[i] for i in range(num_classes)]


def _percent(value: Any, where: str) -> float | None:
    if not isinstance(value, int | float):
        raise ValueError(f'{where} must hold numbers, got {_short(value)}')
    if value != value:
        return None
    if not 0 <= value <= 1:
        raise ValueError(f'{where} must lie in 0..1 or be NaN, got {_short(value)}')
    return 100 * float(value)


def _load_numbers(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; expected the snapshot.pickle of the study')
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f'{size} bytes are too many for a record of scores; the limit is {MAX_BYTES}')
    data = path.read_bytes()
    # A damaged file fails wherever the reader happens to be.
    try:
        for opcode, argument, _ in pickletools.genops(data):
            # The unpickler makes room for whatever index it is told, up to 64 GB.
            if opcode.name in ('PUT', 'BINPUT', 'LONG_BINPUT') and argument > len(data):
                raise ValueError(f'memo index {argument} in {len(data)} bytes')
        return _NumbersOnly(io.BytesIO(data)).load()
    except Exception as error:
        raise ValueError(f'not a pickle of numbers, or a damaged one: {error}') from error


# What follows stands in for the few names by which numpy pickles numbers, so that not even numpy's own
# constructors, which would unpickle objects, see the file.


class _NumberType:
    """Stands in for numpy.dtype; knows numbers only."""

    CODES = ('b1', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8')

    def __init__(self, code: str, *flags: Any) -> None:
        if code not in self.CODES:
            raise ValueError(f'numpy type {_short(code)} refused, expected one of {", ".join(self.CODES)}')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        _version, order, *structure = state
        if order not in ('<', '>', '|') or structure[:3] != [None, None, None]:
            raise ValueError(f'numpy type with state {_short(state)} refused, expected a plain number')
        self.dtype = self.dtype.newbyteorder(order)


class _Array(list):
    """Stands in for numpy.ndarray, as the list of its numbers."""

    def __init__(self, *_unused: Any) -> None:
        super().__init__()

    def __setstate__(self, state: tuple) -> None:
        _version, shape, number_type, _is_fortran, data = state
        self[:] = _array(data, number_type, shape)


def _array(data: bytes, number_type: _NumberType, shape: tuple[int, ...], *_order: str) -> list:
    if not isinstance(number_type, _NumberType):
        raise ValueError(f'expected a numpy type of numbers, got {_short(number_type)}')
    values = np.frombuffer(data, number_type.dtype).tolist()
    if shape != (len(values),):
        raise ValueError(f'numpy array of shape {_short(shape)} refused, expected ({len(values)},)')
    return values


def _scalar(number_type: _NumberType, data: bytes) -> bool | int | float:
    return _array(data, number_type, (1,))[0]


def _encode(text: str, encoding: str) -> bytes:
    # How protocols 0 to 2, which have no bytes, write them.
    if encoding != 'latin1':
        raise ValueError(f'encoding {_short(encoding)} refused, expected latin1')
    return text.encode('latin1')


_STAND_INS: dict[str, Callable] = {
    'numpy.dtype': _NumberType,
    'numpy.ndarray': _Array,
    '_codecs.encode': _encode,
}
for _core in ('numpy.core', 'numpy._core'):  # numpy 1 and 2
    _STAND_INS[f'{_core}.multiarray.scalar'] = _scalar
    _STAND_INS[f'{_core}.multiarray._reconstruct'] = _Array
    _STAND_INS[f'{_core}.numeric._frombuffer'] = _array


class _NumbersOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable:
        stand_in = _STAND_INS.get(f'{module}.{name}')
        if stand_in is None:
            raise ValueError(f'it carries code ({module}.{name}), which is refused and was not run')
        # Fresh each time: a pickle can set attributes of what it is given, and must not reach ours.
        return lambda *args: stand_in(*args)
