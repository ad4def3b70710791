"""The runs of a report: their records, and what else is in their work_dirs."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..json_lines import read_objects
from ..runs.history import FILE_NAME, History, Kind, read_history
from ..runs.study_record import read_study_record

ROW_KEYS = {'iter', 'kind', 'subset'}
PICKLES = ('.pickle', '.pkl')


def read_runs(paths: Sequence[Path]) -> dict[str, 'RunFolder']:
    """Read the records of work_dirs, or those given themselves, by name, each once.

    Raises FileNotFoundError and ValueError as ``read_run``.
    """
    paths = [path.resolve() for path in paths]
    # The record of a work_dir goes by its folder, one of another name by itself.
    paths = list(
        dict.fromkeys(path.parent if path.name in (FILE_NAME, f'{FILE_NAME}.gz') else path for path in paths)
    )
    return {name: RunFolder(path, read_run(path)) for name, path in zip(name_runs(paths), paths, strict=True)}


def read_run(path: Path) -> History:
    """Read a record; ValueError also for a row that is none of an adaptation.

    Else FileNotFoundError and ValueError as ``read_history`` and ``read_study_record``.
    """
    if path.suffix in PICKLES:
        return read_study_record(path)
    history = read_history(path)
    for number, row in enumerate(history.rows, 2):
        if missing := ROW_KEYS - row.keys():
            raise ValueError(
                f'{path}, line {number}: expected a row of a record, but it lacks {sorted(missing)}'
            )
    return history


def name_runs(paths: Sequence[Path]) -> list[str]:
    """Call each path by its last part, and those before it that tell it from others."""
    names = [path.parts[-1:] for path in paths]
    while len(set(names)) < len(set(paths)):
        names = [
            path.parts[-len(name) - 1 :] if names.count(name) > 1 else name
            for path, name in zip(paths, names, strict=True)
        ]
    return [str(Path(*name)) for name in names]


def training_logs(folder: Path, tail: int | None = None) -> Iterator[list[dict[str, Any]]]:
    """What MMEngine logged of iterations, an item per attempt, the last first; as ``read_objects``."""
    for path in sorted(folder.glob('*/vis_data/scalars.json'), reverse=True):
        yield [row for row in read_objects(path, tail) if 'lr' in row and 'time' in row]


def common_folder(runs: Iterable['RunFolder']) -> Path:
    """The folder of a run; if there are several runs, the folder that holds them all."""
    return Path(os.path.commonpath([run.folder for run in runs]))


class RunFolder:
    """A run's record, and pictures and tables beside it, which may be missing."""

    def __init__(self, path: Path, history: History) -> None:
        """Take the path of a work_dir or record, and the record as read."""
        self.folder = path.parent if path.is_file() else path
        self.history = history
        self._snapshots = self.folder / 'snapshots'
        self._reference = self._snapshots / 'reference'

    @property
    def finished(self) -> bool | None:
        """Whether the last iteration is recorded; None if its number is not known."""
        last = self.history.header.get('max_iters')
        rows = self.history.select(Kind.VALIDATION)
        return None if last is None else bool(rows) and rows[-1]['iter'] >= last

    def head_transfer(self) -> dict[str, Any] | None:
        """What ``HeadTransferHook`` wrote; None where it is missing or not whole."""
        try:
            return json.loads((self.folder / 'head_transfer.json').read_text('utf-8'))
        except (OSError, ValueError):
            return None

    @cached_property
    def iteration_seconds(self) -> float | None:
        """The mean time of an iteration in MMEngine's logs; None where there is none."""
        attempts = reversed(list(training_logs(self.folder)))
        times = {row.get('step', 0): row['time'] for logged in attempts for row in logged}
        return sum(times.values()) / len(times) if times else None

    @cached_property
    def images(self) -> list[str]:
        """Stems of the images that snapshots are kept of."""
        truths = self._reference.glob('*_truth.png')
        return sorted(path.name.removesuffix('_truth.png') for path in truths)

    def photograph(self, image: str) -> Path | None:
        """The photograph of an image; None where it is missing."""
        return next((path for path in sorted(self._reference.iterdir()) if path.stem == image), None)

    def truth(self, image: str) -> Path:
        """The true label map of an image."""
        return self._reference / f'{image}_truth.png'

    @cached_property
    def snapshots(self) -> dict[int, Path]:
        """Folders of predictions by iteration, of the iterations that the record has too."""
        validated = {row['iter'] for row in self.history.select(Kind.VALIDATION)}
        folders = {int(path.name): path for path in self._snapshots.glob('[0-9]*') if path.name.isdigit()}
        return {i: folders[i] for i in sorted(folders) if i in validated}

    def prediction(self, image: str, iteration: int | None) -> Path | None:
        """The label map predicted at an iteration; at None the source model's own."""
        folder = self._snapshots / Kind.SOURCE if iteration is None else self.snapshots.get(iteration)
        path = folder / f'{image}.png' if folder else None
        return path if path and path.is_file() else None

    def refined(self, image: str, iteration: int) -> Path | None:
        """The label map of an iteration that a dense CRF has refined."""
        path = self._snapshots / Kind.CRF / f'{iteration:06d}' / f'{image}.png'
        return path if path.is_file() else None
