"""The record of an adaptation: a header and one line per validation."""

import contextlib
import errno
import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..atomic_file import explain, write_atomically
from ..evaluation.metrics.scores import LABELLED, labelled_means

FILE_NAME = 'adaptation.jsonl'
SCHEMA_VERSION = 1


class Kind(str, Enum):
    """What a row of a record is of; two of them are folders of snapshots, too."""

    VALIDATION = 'validation'
    SOURCE = 'source'  # the source model's own view of the target
    SOURCE_CLASSIFIER = 'source_classifier'  # the source's classifier on the adapted network's features
    FORGETTING = 'forgetting'  # the adapted model on the source's data
    CRF = 'crf'  # a validation that a dense CRF refined

    __str__ = str.__str__


class SubsetName(str, Enum):
    """Which images a row is of, where they are no named part of the set."""

    FULL = 'full'
    PROBE = 'probe'  # validated every time where the whole set is too much

    __str__ = str.__str__


class History(NamedTuple):
    """A record as read: its header, and its rows in the order of writing."""

    header: dict[str, Any]
    rows: list[dict[str, Any]]

    def select(self, kind: str, subset: str | None = None) -> list[dict[str, Any]]:
        """The rows of a kind, and of one subset if it is given, by iteration."""
        rows = [r for r in self.rows if r['kind'] == kind and subset in (None, r['subset'])]
        return sorted(rows, key=lambda row: row['iter'])

    @property
    def validations(self) -> list[dict[str, Any]]:
        """The rows of the whole validation set, by iteration; not those of a probe."""
        return [row for row in self.select(Kind.VALIDATION) if row['subset'] != SubsetName.PROBE]

    @property
    def probed(self) -> list[dict[str, Any]]:
        """The rows of the probe, by iteration."""
        return self.select(Kind.VALIDATION, SubsetName.PROBE)


def flat_recipe(node: Any, prefix: str = '') -> Iterator[tuple[str, str]]:
    """The values of a header's ``config``, as JSON, by dotted key."""
    if isinstance(node, (dict, list)) and node:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            yield from flat_recipe(value, f'{prefix}.{key}' if prefix else str(key))
    else:
        yield prefix, json.dumps(node, ensure_ascii=False)


def make_row(
    iteration: int,
    kind: str,
    subset: str,
    scores: Mapping[str, Any],
    confusion: np.ndarray,
    images: int,
    seconds: float,
) -> dict[str, Any]:
    """A row of a record: ``scores`` in percent, ``confusion`` in pixels."""
    return {
        'iter': iteration,
        'kind': str(kind),
        'subset': str(subset),
        **scores,
        'confusion': confusion.tolist(),
        'images': images,
        'seconds': seconds,
    }


def read_history(path: str | Path) -> History:
    """Read a record, given its file or the work_dir that holds it; gzip's ``.gz`` too.

    A last line without its line end was cut short by a crash, and is dropped. Rows from before there were
    means over the labelled classes get them, if they have what these come from. FileNotFoundError, or
    ValueError, which names file and line, for no JSON object or another schema.
    """
    path = Path(path)
    if path.is_dir():
        packed = path / f'{FILE_NAME}.gz'
        path = packed if packed.is_file() and not (path / FILE_NAME).exists() else path / FILE_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no record of adaptation; expected the work_dir of a run with AdaptationHook'
        )
    # Bytes, because a torn line may end inside a character.
    content = path.read_bytes()
    if path.suffix == '.gz':
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f'{path}: expected a whole file of gzip, but {error}') from error
    lines = content.split(b'\n')[:-1]
    if not lines:
        raise ValueError(f'{path}: empty, expected a header in line 1')
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(_parse(line))
        except ValueError as error:
            raise ValueError(f'{path}, line {number}: not a JSON object: {error}') from error
    header, *rows = records
    if (version := header.get('schema_version')) != SCHEMA_VERSION:
        raise ValueError(
            f'{path}, line 1: expected schema_version {SCHEMA_VERSION}, got {version!r}: '
            'no record of adaptation, or one of a newer mmseg_deeplab_study, with which it can be read'
        )
    return History(header, [_with_labelled_means(row, header) for row in rows])


def _with_labelled_means(row: dict[str, Any], header: Mapping[str, Any]) -> dict[str, Any]:
    """The row, with ``labelled_means`` from its confusion matrix where it lacks them."""
    classes, seen = header.get('target_classes'), header.get('seen_classes')
    confusion = row.get('confusion') or ()
    known = classes and seen is not None and len(confusion) == len(classes)
    # Rows of forgetting count labels of the source.
    if LABELLED[0] in row or not known or row.get('kind') == Kind.FORGETTING:
        return row
    # A row of the matrix holds all labelled pixels of a class, also where its columns are source classes.
    labelled = [name for name, counts in zip(classes, confusion, strict=True) if any(counts)]

    def add(scores: Mapping[str, Any]) -> dict[str, Any]:
        iou = scores.get('class_iou') or {}
        known = all(name in iou for name in labelled)
        return {**scores, **(labelled_means(iou, labelled, seen) if known else {})}

    return add({**row, 'unrefined': add(row['unrefined'])} if row.get('unrefined') else row)


class HistoryWriter:
    """Append rows to a record, each on the disk before training goes on; OSError if it cannot be."""

    def __init__(self, path: str | Path) -> None:
        """Take the path of a record, which need not exist yet."""
        self.path = Path(path)

    def start(self, header: Mapping[str, Any]) -> None:
        """Begin a record with its header, in place of any that is there."""
        self._replace([{'schema_version': SCHEMA_VERSION, **header}])

    def resume(self, iteration: int, closing: str) -> History:
        """Continue a record from ``iteration``: drop a torn line and the rows after it.

        The rows of ``iteration`` itself stay only if they are complete: the last of them is the validation on
        the subset ``closing``. A validation that was cut off is run again as a whole.
        """
        header, rows = read_history(self.path)
        at = [row for row in rows if row['iter'] == iteration]
        complete = any((row['kind'], row['subset']) == (Kind.VALIDATION, closing) for row in at)
        last = iteration if complete else iteration - 1
        kept = [row for row in rows if row['iter'] <= last]
        self._replace([header, *kept])
        return History(header, kept)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row and wait until the disk has it."""
        line, size = _line(row).encode(), self._drop_torn_line()
        try:
            with self.path.open('ab', buffering=0) as file:
                file.write(line)
                os.fsync(file.fileno())
                written = file.tell() - size
            if written != len(line):
                # What a disk does that fills up within the line; the next write would have said so.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.path, size)
            raise explain(error, self.path) from error

    def _drop_torn_line(self) -> int:
        """Cut what a crash has left after the last line end; returns the size."""
        with self.path.open('rb') as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            if file.read() in (b'', b'\n'):
                return size
            file.seek(0)
            whole = file.read().rfind(b'\n') + 1
        os.truncate(self.path, whole)
        return whole

    def _replace(self, records: list[Mapping[str, Any]]) -> None:
        write_atomically(self.path, ''.join(map(_line, records)).encode())


def _parse(line: bytes) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f'{constant} is not a JSON number')

    record = json.loads(line, parse_constant=refuse)
    if not isinstance(record, dict):
        raise ValueError(f'expected an object, got {record!r}')
    return record


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, allow_nan=False, ensure_ascii=False) + '\n'
