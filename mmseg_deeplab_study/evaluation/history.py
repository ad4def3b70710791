"""The record of an adaptation: ``adaptation.jsonl``, a header and one line per validation."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

FILE_NAME = 'adaptation.jsonl'
SCHEMA_VERSION = 1
PROBE = 'probe'


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
        """The rows of the target's whole validation set, by iteration; not those of a probe."""
        return [row for row in self.select('validation') if row['subset'] != PROBE]


def read_history(path: str | Path) -> History:
    """Read a record, given its file or the work_dir that holds it.

    A last line without its line end is torn, the trace of a write that a crash cut short, and is dropped.

    Raises:
        FileNotFoundError: there is no record.
        ValueError: a line is not a JSON object, or the header is not one of this schema; names file and line.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no record of adaptation; expected the work_dir of a run with AdaptationHook'
        )
    # Bytes, because a torn line may end inside a character.
    lines = path.read_bytes().split(b'\n')[:-1]
    if not lines:
        raise ValueError(f'{path}: empty, expected a header in line 1')
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(_parse(line))
        except ValueError as error:
            raise ValueError(f'{path}, line {number}: not a JSON object: {error}') from error
    header, *rows = records
    if header.get('schema_version') != SCHEMA_VERSION:
        raise ValueError(
            f'{path}, line 1: expected schema_version {SCHEMA_VERSION}, got {header.get("schema_version")!r}'
        )
    return History(header, rows)


class HistoryWriter:
    """Append rows to a record so that each is on the disk, whole, before training goes on.

    Raises:
        FileExistsError: ``start`` finds a record already there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def start(self, header: Mapping[str, Any]) -> None:
        """Begin a record with its header."""
        self.refuse_existing()
        self._replace([{'schema_version': SCHEMA_VERSION, **header}])

    def refuse_existing(self) -> None:
        """Raise FileExistsError where a record is already there."""
        if self.path.exists():
            raise FileExistsError(
                f'{self.path} already holds a record of adaptation; resume the run with --resume if it has '
                'saved a checkpoint, give another --work-dir, or remove the file to start again'
            )

    def resume(self, iteration: int) -> History:
        """Go on with a record from ``iteration``: drop a torn line and the rows after it."""
        header, rows = read_history(self.path)
        kept = [row for row in rows if row['iter'] <= iteration]
        self._replace([header, *kept])
        return History(header, kept)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row and wait until the disk has it."""
        with self.path.open('a', encoding='utf-8') as file:
            file.write(_line(row))
            file.flush()
            os.fsync(file.fileno())

    def _replace(self, records: list[Mapping[str, Any]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix('.tmp')
        with temporary.open('w', encoding='utf-8') as file:
            file.writelines(map(_line, records))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)


def _parse(line: bytes) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f'{constant} is a number only to Python')

    record = json.loads(line, parse_constant=refuse)
    if not isinstance(record, dict):
        raise ValueError(f'expected an object, got {record!r}')
    return record


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, allow_nan=False, ensure_ascii=False) + '\n'
