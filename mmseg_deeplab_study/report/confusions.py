"""The confusion matrices of a report."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from .analysis import Run
from .curves import marks
from .findings import source_view, taken_for
from .pictures import choose_iterations

CELLS = 2_000_000  # of all matrices, two bytes each
NO_SHARE = 65535  # where no pixel is labelled with the class


def confusions(runs: Sequence[Run]) -> tuple[list[dict[str, Any]], list[str]]:
    """Each run's matrices, a row's shares of its labelled pixels, in 1/10000 as little-endian uint16."""
    found, notes = [], []
    for place, run in enumerate(runs):
        classes = run.history.header.get('target_classes') or ()
        rows = run.history.validations if classes else []
        rows = [row for row in rows if len(row.get('confusion') or ()) == len(classes)]
        if not rows:
            continue
        most = max(2, CELLS // (len(runs) * len(classes) ** 2))
        iterations = choose_iterations([row['iter'] for row in rows], marks(run).values(), most)
        if len(iterations) < len(rows):
            notes.append(
                f'Confusion: {len(iterations)} of the {len(rows)} validations of {run.name} (first, last, '
                'those at 0.1 to 0.4 mIoU, others evenly spaced).'
            )
        chosen = [row['confusion'] for row in rows if row['iter'] in iterations]
        own = source_view(run.history)
        found.append(
            {
                'run': place,
                'classes': classes,
                'iterations': iterations,
                'shares': _shares(chosen),
                'source_classes': own.predicted if own else None,
                'source': _shares([own.counts]) if own else None,
            }
        )
    return found, notes


def _shares(matrices: Sequence[Sequence[Sequence[int]]]) -> str:
    counts = np.asarray(matrices, float)
    totals = counts.sum(axis=-1, keepdims=True)
    shares = np.where(totals > 0, counts / np.maximum(totals, 1) * 10_000, NO_SHARE)
    return base64.b64encode(shares.round().astype('<u2').tobytes()).decode()


def taken_tables(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What the source model of each run takes each class for: class, whether seen, answer, percent."""
    found = []
    for run in runs:
        if view := source_view(run.history):
            seen = run.history.header.get('seen_classes')
            rows = [
                (name, None if seen is None else name in seen, answer, f'{share:.1f}')
                for name, answer, share in taken_for(view)
            ]
            found.append({'name': run.name, 'rows': rows})
    return found
