"""The figures of one or more adaptations, put together as tables, JSON and CSV.

Figures go by subject and measure. A subject is a score (``mIoU``, ``mIoU.seen``, ``mIoU.unseen``, these
with ``.labelled``, ``IoU.<class>``, with ``BoundaryMetric`` also ``BIoU`` and ``trimap.<width>``, with a
probe ``probe/mIoU`` and so on), or ``seen_lead``, ``forgetting`` or ``probe``.
Measures whose name has ``iter`` in it count iterations, ``points``, ``intervals`` and ``inside`` count
validations, the others are percent or percentage points. The formulas are in ``evaluation.adaptation`` and
``evaluation.seeds``.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..evaluation.adaptation import (
    CLASS_PREFIX,
    Adaptation,
    area_under_curve,
    boundary_scores,
    class_names,
    classes_early_to_late,
    compare_probe,
    find_score,
    half_of_mean,
    has_no_source,
    iterations_to,
    iterations_to_share,
    rows_with,
    score_curve,
    seen_lead,
    source_drop,
    source_gap,
    source_row,
    summarise_adaptation,
    summarise_forgetting,
    unlabelled_classes,
)
from ..evaluation.history import PROBE, History
from ..evaluation.scores import LABELLED, MEAN_IOUS
from ..evaluation.seeds import Estimate, estimate_over_seeds, group_runs

SCORES = (*MEAN_IOUS, *LABELLED)
NO_SOURCE = 'no source model: training began without a source checkpoint'
# Of the probe, which sees what falls between two validations of the whole set.
PROBE_SCORES = {f'{PROBE}/{score}': score for score in SCORES}
HEADER = ('experiment', 'seed', 'config_digest', 'source_checkpoint', 'validation', 'train', 'versions')
COLUMNS = ('run', 'seed', 'subject', 'measure', 'value', 'low', 'high', 'n')
HALF = 'iterations_to_0.5_of_best'

Value = float | Estimate | None
Figures = Mapping[str, Mapping[str, Value]]


def mean(value: Value) -> float | None:
    """A figure of one run, or its mean over seeds; None if there is none."""
    return value.mean if isinstance(value, Estimate) else value


class MeasuredRun(NamedTuple):
    """A named record, its figures, and its ``unlabelled_classes``."""

    name: str
    history: History
    figures: Figures
    unlabelled: Sequence[str] = ()

    @property
    def seed(self) -> int | None:
        return self.history.header.get('seed')

    @property
    def no_source(self) -> bool:
        return has_no_source(self.history)


class Group(NamedTuple):
    """Runs that repeat one experiment; ``figures`` are means over their seeds, or those of the only run."""

    runs: list[MeasuredRun]
    figures: Figures

    @property
    def name(self) -> str:
        names = ', '.join(run.name for run in self.runs)
        return names if len(self.runs) == 1 else f'mean of {names}'

    @property
    def seeds(self) -> int:
        """How many seeds its runs have; those without one count each for itself."""
        return self.figures['mIoU']['last_iter'].seeds if len(self.runs) > 1 else 1


class Analysis(NamedTuple):
    """All runs by group, and the thresholds: ``iou`` in percent, ``share`` in (0, 1]."""

    groups: list[Group]
    iou: float
    share: float


def leading(groups: Sequence[Group]) -> tuple[str, str, str]:
    """The names of mIoU, seen and unseen as shown first: over labelled classes where a set lacks some."""
    runs = [run for group in groups for run in group.runs]
    known = all(run.figures[LABELLED[0]]['best'] is not None for run in runs)
    return LABELLED if known and any(run.unlabelled for run in runs) else MEAN_IOUS


def analyse(histories: Mapping[str, History], iou: float = 20, share: float = 0.5) -> Analysis:
    """Measure runs by name, and their means where they repeat one experiment.

    Raises:
        ValueError: a run has no validation with an mIoU, or two at one iteration, and is named; or a
            threshold is out of range.
    """
    runs = []
    for name, history in histories.items():
        try:
            figures = measure_run(history, iou, share)
            runs.append(MeasuredRun(name, history, figures, unlabelled_classes(history)))
        except ValueError as error:
            raise ValueError(f'{name}: {error}') from error
    groups = []
    for indices in group_runs([run.history.header for run in runs]):
        members = [runs[i] for i in indices]
        groups.append(Group(members, members[0].figures if len(members) == 1 else _means(members)))
    return Analysis(groups, iou, share)


def measure_run(history: History, iou: float, share: float) -> dict[str, dict[str, float | None]]:
    """A run's figures by subject and measure; None where there is none."""
    if not rows_with(history.validations, 'mIoU'):
        raise ValueError(
            f'expected a validation with an mIoU, but none of {len(history.validations)} has one'
        )
    edges = boundary_scores(history.validations)
    subjects = [*SCORES, *edges, *(CLASS_PREFIX + name for name in class_names(history))]
    figures = {subject: _measure_score(history, subject, iou, share) for subject in subjects}
    if probed := history.select('validation', PROBE):
        for subject, score in PROBE_SCORES.items():
            figures[subject] = {**_no_source(), **_measure_rows(probed, score, iou, share)}
    figures['seen_lead'] = _measure_lead(history)
    for subject, found in (('forgetting', summarise_forgetting(history)), ('probe', compare_probe(history))):
        figures[subject] = {} if found is None else found._asdict()
    return figures


def _measure_lead(history: History) -> dict[str, int | None]:
    rows = history.validations
    if has_no_source(history):
        return dict.fromkeys(('iterations', 'seen_iter', 'unseen_iter'))
    halves = {f'{part}_iter': half_of_mean(rows, part) for part in ('seen', 'unseen')}
    return {'iterations': seen_lead(rows), **halves}


def _measure_score(history: History, score: str, iou: float, share: float) -> dict[str, float | None]:
    return {
        'source': find_score(source_row(history) or {}, score),
        'gap': source_gap(history, score),
        'source_drop': source_drop(history, score),
        **_measure_rows(history.validations, score, iou, share),
    }


def _no_source() -> dict[str, None]:
    # The source's own view is of the whole set.
    return {'source': None, 'gap': None, 'source_drop': None}


def _measure_rows(
    validations: Sequence[Mapping[str, Any]], score: str, iou: float, share: float
) -> dict[str, float | None]:
    rows = rows_with(validations, score)
    curve = score_curve(rows, score)
    found = summarise_adaptation(validations, score) if rows else None
    return {
        **(found._asdict() if found else dict.fromkeys(Adaptation._fields)),
        'dip': found.dip if found else None,
        'area': area_under_curve(curve) if curve else None,
        HALF: iterations_to_share(curve, 0.5),
        to_share(share): iterations_to_share(curve, share),
        to_iou(iou): iterations_to(curve, iou),
    }


def to_iou(iou: float) -> str:
    """The measure that counts iterations to an IoU in percent."""
    return f'iterations_to_{iou:g}_percent'


def to_share(share: float) -> str:
    """The measure that counts iterations to a share of the best IoU."""
    return f'iterations_to_{share:g}_of_best'


def _means(runs: Sequence[MeasuredRun]) -> Figures:
    seeds = [run.seed for run in runs]
    measures: dict[str, dict[str, None]] = {}
    for run in runs:
        for subject, figures in run.figures.items():
            measures.setdefault(subject, {}).update(dict.fromkeys(figures))
    return {
        subject: {
            measure: estimate_over_seeds([run.figures.get(subject, {}).get(measure) for run in runs], seeds)
            for measure in names
        }
        for subject, names in measures.items()
    }


def as_json(analysis: Analysis) -> str:
    """Everything, unrounded, as strict JSON: the thresholds, each run, and the means of each group of runs.

    Raises:
        ValueError: a figure is not finite.
    """
    runs = [run for group in analysis.groups for run in group.runs]
    content = {
        'iou': analysis.iou,
        'share': analysis.share,
        'runs': [_run_as_dict(run) for run in runs],
        'groups': [
            {'runs': [run.name for run in group.runs], 'seeds': [run.seed for run in group.runs]}
            | {'figures': _plain(group.figures)}
            for group in analysis.groups
            if len(group.runs) > 1
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + '\n'


def _run_as_dict(run: MeasuredRun) -> dict[str, Any]:
    return {
        'name': run.name,
        **{key: run.history.header.get(key) for key in HEADER},
        'classes_early_to_late': [timing._asdict() for timing in classes_early_to_late(run.history)],
        'no_source': run.no_source,
        'curves': {s: score_curve(rows_with(run.history.validations, s), s) for s in SCORES},
        'figures': run.figures,
    }


def _plain(figures: Figures) -> dict[str, dict[str, dict[str, float | None]]]:
    return {s: {m: value._asdict() for m, value in row.items()} for s, row in figures.items()}


def as_csv(analysis: Analysis) -> str:
    """The figures in long format, a line each, unrounded; empty cells for none.

    A class has ``seen`` 1 or 0 too. The mean of a group has no seed; ``low`` and ``high`` are its interval,
    and ``n`` the seeds that it is of.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(COLUMNS)
    for group in analysis.groups:
        for run in group.runs:
            for timing in classes_early_to_late(run.history):
                seen = None if timing.seen is None else int(timing.seen)
                writer.writerow(
                    [run.name, run.seed, CLASS_PREFIX + timing.name, 'seen', seen, None, None, None]
                )
            for subject, measure, value in _flat(run.figures):
                writer.writerow([run.name, run.seed, subject, measure, value, None, None, None])
        if len(group.runs) > 1:
            for subject, measure, value in _flat(group.figures):
                interval = (value.low, value.high, value.count)
                writer.writerow([group.name, None, subject, measure, value.mean, *interval])
    return file.getvalue()


def _flat(figures: Figures) -> list[tuple[str, str, Value]]:
    return [(subject, measure, value) for subject, row in figures.items() for measure, value in row.items()]
