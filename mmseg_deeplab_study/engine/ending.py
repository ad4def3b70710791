"""What is said of an adaptation on its way and at its end, and whether it has come there."""

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..checkpoints.safe_loading import load_plain
from ..evaluation.adaptation import compare_source
from ..evaluation.score_curves import over_labelled, rows_with, summarise_adaptation
from ..runs.history import FILE_NAME, History, Kind, SubsetName, read_history
from ..tables import duration_text
from .validation_scores import metrics_of


def nearby(path: str | Path) -> Path:
    """A path as seen from the current folder, if it is below that."""
    path = Path(path).resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


class Pace:
    """How long the rest takes, from validation to validation of this process."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def left(self, iteration: int, end: int) -> float | None:
        """Seconds left after the validation at ``iteration``; None at the first one and at the end."""
        now = time.perf_counter()
        if self._first is None:
            self._first = iteration, now
        first, started = self._first
        return (now - started) / (iteration - first) * (end - iteration) if first < iteration < end else None


def next_commands(work_dir: str | Path) -> list[str]:
    """What to do with a run that has ended, a line each."""
    folder = shlex.quote(str(nearby(work_dir)))
    return [
        f'Figures: tools/analyze.py {folder}',
        f'Report:  tools/report.py {folder}   # writes report.html there',
    ]


def summary(history: History, work_dir: str | Path, seconds: float) -> list[str]:
    """How an adaptation went, in at most five lines; mIoU in percent, over labelled classes if known."""
    rows = history.validations
    lines = [f'Done in {duration_text(seconds)}. Record, snapshots and checkpoints: {nearby(work_dir)}']
    if rows_with(rows, 'mIoU'):
        score = over_labelled(rows, 'mIoU')
        found, source = summarise_adaptation(rows, score), compare_source(history, score).source
        lines.append(
            f"{score} (%): source's view {_percent(source)}, at 0 {_percent(found.start)}, "
            f'lowest {_percent(found.lowest)} ({found.lowest_iter}), best {_percent(found.best)} '
            f'({found.best_iter}), last {_percent(found.last)}'
        )
    return lines + next_commands(work_dir)


def _percent(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f}'


def is_finished(cfg: Config, checkpoint: Path) -> bool:
    """Whether a recorded run has nothing left to do: its last validation is whole, its best score saved.

    ``checkpoint`` is the one to resume from. What a kill has taken away, a resume brings back.
    """
    end, record = (cfg.get('train_cfg') or {}).get('max_iters'), Path(cfg.work_dir) / FILE_NAME
    if not record.is_file() or load_plain(checkpoint, mmap=True)['meta'].get('iter') != end:
        return False
    rows = read_history(record).select(Kind.VALIDATION)
    probed = any(row['subset'] == SubsetName.PROBE for row in rows)
    # The probe's row is a validation's last.
    whole = rows and rows[-1]['iter'] == end and (not probed or rows[-1]['subset'] == SubsetName.PROBE)
    return bool(whole) and not _lacks_best(cfg, rows)


def _lacks_best(cfg: Config, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last validation has the best score of all, and no checkpoint says so."""
    hook, end = (cfg.get('default_hooks') or {}).get('checkpoint') or {}, rows[-1]['iter']
    keys = hook.get('save_best') or ()
    metrics = {row['iter']: metrics_of([r for r in rows if r['iter'] == row['iter']]) for row in rows}
    for key in [keys] if isinstance(keys, str) else keys:
        scores = {i: found.get('mIoU' if key == 'auto' else key) for i, found in metrics.items()}
        known = [score for i, score in scores.items() if i != end and score is not None]
        best = scores[end] is not None and scores[end] > max(known, default=-1)
        # Files in a folder of their own are left to MMEngine.
        if best and (hook.get('out_dir') or not list(Path(cfg.work_dir).glob(f'best_*_iter_{end}.pth'))):
            return True
    return False


def say_finished(cfg: Config) -> list[str]:
    """What to tell who resumes a finished run, a line each."""
    end = cfg.train_cfg.max_iters
    return [
        f'Finished: the run in {nearby(cfg.work_dir)} is at iteration {end} of {end}; nothing is changed',
        'To train on, raise train_cfg.max_iters and the end of param_scheduler',
        *next_commands(cfg.work_dir),
    ]
