"""The curves of a report, and every class's scores over the iterations."""

from collections.abc import Collection, Sequence
from typing import Any

from ..evaluation.adaptation import classes_early_to_late, seen_classes, source_row
from ..evaluation.head_or_features import both_curves, seen_mean
from ..evaluation.metrics.scores import LABELLED, MEAN_IOUS
from ..evaluation.score_curves import (
    BOUNDARY_CLASS_PREFIX,
    CLASS_PREFIX,
    boundary_score_names,
    find_score,
    iterations_to,
    rows_with,
    score_curve,
)
from ..runs.history import Kind
from .analysis import Analysis, MeasuredRun, csv_text
from .analysis_text import percent, yes_or_no
from .pictures import choose_iterations

# Okabe and Ito's, which the colour-blind can tell apart: https://jfly.uni-koeln.de/color/
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')
MEANS = (*MEAN_IOUS, 'aAcc', 'mAcc')
THRESHOLDS = (10, 20, 30, 40)  # mIoU in percent, where the study shows predictions
COLUMNS = 12  # iterations in a table of every class
SEEN = 'seen'  # the mean over seen classes, by whichever name a record has it


def class_values(run: MeasuredRun, means: Sequence[str], without: Collection[str] = ()) -> dict[str, Any]:
    """The means and every class's scores, ``without`` some, at a few iterations, as a table."""
    rows = run.history.validations
    iterations = choose_iterations([row['iter'] for row in rows], (), COLUMNS)
    chosen = [row for row in rows if row['iter'] in iterations]
    timings = [t for t in classes_early_to_late(run.history) if t.name not in without]
    edges = boundary_score_names(rows)
    through = {row['iter']: row for row in run.history.select(Kind.SOURCE_CLASSIFIER)}
    readout = [through.get(row['iter'], {}) for row in chosen]
    return {
        'name': run.name,
        'thinned': f'{len(iterations)} of {len(rows)} validations, evenly spaced.'
        * (len(chosen) < len(rows)),
        'columns': ['score or class', 'seen', *iterations],
        'rows': [
            (name, yes_or_no(seen), *(percent(find_score(row, score)) for row in given))
            for name, seen, score, given in (
                *((score, None, score, chosen) for score in means),
                *((t.name, t.seen, CLASS_PREFIX + t.name, chosen) for t in timings),
                *((score, None, score, chosen) for score in edges),
                *(
                    (f'{t.name}, BIoU', t.seen, BOUNDARY_CLASS_PREFIX + t.name, chosen)
                    for t in timings
                    if edges
                ),
                *(
                    (f"{score.removeprefix(CLASS_PREFIX)}, source's classifier", None, score, readout)
                    for score in _readable(run).values()
                ),
            )
        ],
    }


def curves(run: MeasuredRun, means: Sequence[str], without: Collection[str] = ()) -> dict[str, Any]:
    """What the script draws of a run, ``without`` some classes; its probe by the first of ``means``."""
    rows = rows_with(run.history.validations, 'mIoU')
    timings = [t for t in classes_early_to_late(run.history) if t.name not in without]
    keys = [*means, *boundary_score_names(rows), *(CLASS_PREFIX + timing.name for timing in timings)]
    probed = rows_with(run.history.probed, means[0])
    return {
        'name': run.name,
        'iterations': [row['iter'] for row in rows],
        'series': {key: [find_score(row, key) for row in rows] for key in keys},
        'absent': len(without),
        'classes': [{'name': timing.name, 'seen': timing.seen} for timing in timings],
        'probe': {
            'iterations': [row['iter'] for row in probed],
            'scores': [find_score(row, means[0]) for row in probed],
        },
        'readout': _readout(run),
    }


def _readable(run: MeasuredRun) -> dict[str, str]:
    """What can be read through the source's classifier: the mean of seen classes, each labelled one."""
    seen = [name for name in seen_classes(run.history) or () if name not in run.unlabelled]
    scores = {SEEN: seen_mean(run.history), **{CLASS_PREFIX + name: CLASS_PREFIX + name for name in seen}}
    return {key: score for key, score in scores.items() if both_curves(run.history, score)}


def _readout(run: MeasuredRun) -> dict[str, dict[str, Any]]:
    """By score the new head's curve, the features' through the source's classifier, and the source's view."""
    found = {}
    for key, score in _readable(run).items():
        iterations, head, features = zip(*both_curves(run.history, score), strict=True)
        source = find_score(source_row(run.history) or {}, score)
        found[key] = {'iterations': iterations, 'head': head, 'features': features, 'source': source}
    return found


def marks(run: MeasuredRun, score: str) -> dict[int, int]:
    """The first iteration at each of the study's mIoU, by the score that leads."""
    curve = score_curve(run.history.validations, score)
    found = {threshold: iterations_to(curve, threshold) for threshold in THRESHOLDS}
    return {threshold: iteration for threshold, iteration in found.items() if iteration is not None}


def series_csv(analysis: Analysis) -> str:
    """Every score of every row in long format, unrounded; empty cells for null."""
    columns = ('run', 'seed', 'kind', 'subset', 'iteration', 'score', 'value')
    rows = (
        [run.name, run.seed, row['kind'], row['subset'], row['iter'], score, find_score(row, score)]
        for run in analysis.runs
        for row in run.history.rows
        for score in [*MEANS, *LABELLED, *(CLASS_PREFIX + name for name in row.get('class_iou') or ())]
    )
    return csv_text(columns, rows)
