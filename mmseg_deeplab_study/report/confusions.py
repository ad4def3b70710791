"""The confusion matrices of a report."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..datasets.label_spaces import Match, match_classes
from ..evaluation.adaptation import seen_classes
from ..evaluation.metrics.across_spaces import read_as_target
from ..runs.history import History
from .analysis import MeasuredRun
from .analysis_text import percent, yes_or_no
from .curves import marks
from .pictures import choose_iterations
from .sentences import source_view, taken_for

CELLS = 500_000  # of all matrices, eight bytes each


def confusions(runs: Sequence[MeasuredRun], score: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Each run's matrices, encoded, and notes of what was left out.

    ``right`` has the source class that each class is read from.
    """
    found, notes = [], []
    for place, run in enumerate(runs):
        classes = run.history.header.get('target_classes') or ()
        rows = run.history.validations if classes else []
        rows = [row for row in rows if len(row.get('confusion') or ()) == len(classes)]
        if not rows:
            continue
        most = max(2, CELLS // (len(runs) * len(classes) ** 2))
        iterations = choose_iterations([row['iter'] for row in rows], marks(run, score).values(), most)
        if len(iterations) < len(rows):
            notes.append(
                f'Confusion: {len(iterations)} of the {len(rows)} validations of {run.name} (first, last, '
                f'those at 0.1 to 0.4 {score}, others evenly spaced).'
            )
        chosen = [row['confusion'] for row in rows if row['iter'] in iterations]
        own = source_view(run.history)
        found.append(
            {
                'run': place,
                'classes': classes,
                'iterations': iterations,
                'counts': _encode(chosen),
                'source_classes': own.predicted if own else None,
                'source': _encode([own.counts]) if own else None,
                'right': right_answers(run.history) if own else None,
            }
        )
    return found, notes


def _encode(matrices: Sequence[Sequence[Sequence[int]]]) -> str:
    """Counts of pixels as little-endian float64, exact up to 2**53."""
    return base64.b64encode(np.asarray(matrices, '<f8').tobytes()).decode()


def right_answers(history: History) -> list[int | None]:
    """The place of the source class that each target class is read from, or None."""
    header = history.header
    source, target = header['source_classes'], header['target_classes']
    if 'matches' in header:
        matches = {name: Match(**match) for name, match in header['matches'].items()}
    else:
        # Of an older record, whose head transfer may have had a class_map: by name.
        matches = match_classes(source, target)
    reading = {name: source.index(meant) for meant, name in read_as_target(matches).items()}
    return [reading.get(name) for name in target]


def taken_tables(runs: Sequence[MeasuredRun]) -> list[dict[str, Any]]:
    """What each run's source model takes each class for, as rows of a table."""
    found = []
    for run in runs:
        if view := source_view(run.history):
            seen = seen_classes(run.history)
            rows = [
                (name, yes_or_no(None if seen is None else name in seen), answer, percent(share))
                for name, answer, share in taken_for(view)
            ]
            found.append({'name': run.name, 'rows': rows})
    return found
