"""The figures of one or more adaptations, put together as tables, JSON and CSV.

Figures go by subject and measure. A subject is a score (``mIoU``, ``mIoU.seen``, ``mIoU.unseen``, these
with ``.labelled``, ``IoU.<class>``, with ``BoundaryMetric`` also ``BIoU`` and ``trimap.<width>``, with a
probe ``probe/mIoU`` and so on), or ``seen_lead``, ``source_classifier``, ``forgetting``, ``probe`` or
``cost``, which is of all training so far. Measures whose name has ``iter`` in it count iterations,
``points``, ``intervals`` and ``inside`` validations, those that begin with ``images``, ``seconds`` or
``multiply_adds`` these; the others are percent or percentage points. The formulas are in
``evaluation.adaptation``, ``evaluation.head_or_features``, ``evaluation.costs`` and ``evaluation.seeds``.
"""

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..evaluation import adaptation, score_curves
from ..evaluation.costs import training_cost
from ..evaluation.head_or_features import compare_head_and_features, seen_mean
from ..evaluation.metrics.scores import LABELLED, MEAN_IOUS
from ..evaluation.score_curves import CLASS_PREFIX, Adaptation, rows_with, score_curve
from ..evaluation.seeds import Estimate, estimate_over_seeds, group_runs
from ..runs.history import History, Kind, SubsetName
from .runs import RunFolder, name_runs

SCORES = (*MEAN_IOUS, *LABELLED)
OVERALL = (MEAN_IOUS[0], LABELLED[0])
NO_SOURCE = 'no source model: training began without a source checkpoint'
HEADER = ('experiment', 'seed', 'config_digest', 'source_checkpoint', 'validation', 'train', 'versions')
COLUMNS = ('run', 'seed', 'subject', 'measure', 'value', 'low', 'high', 'n')
HALF = 'iterations_to_0.5_of_best'
SHOWN = 0.05  # points; less than that is 0.0 on the page

Value = float | Estimate | None
Figures = Mapping[str, Mapping[str, Value]]


def mean(value: Value) -> float | None:
    """A figure of one run, or its mean over seeds; None if there is none."""
    return value.mean if isinstance(value, Estimate) else value


def whose_drop(row: Mapping[str, Value]) -> str:
    """Whose the drop of ``source_classifier`` is, in words.

    The new classifier's if ``features_drop < head_drop / 2``, else the features'; mostly where part of it is
    the other's. Less than the page shows is none; seeds whose interval of ``head_drop`` has less and more
    do not tell.
    """
    drop = row['head_drop']
    head, features = mean(drop), mean(row['features_drop'])
    if isinstance(drop, Estimate) and drop.low is not None and drop.low < SHOWN <= drop.high:
        return 'these seeds do not tell whether there is a drop'
    if head < SHOWN:
        return 'no drop'
    mostly = 'mostly ' if SHOWN <= features < head else ''
    whose = "the new classifier's" if features < head / 2 else "the features'"
    return f'the drop is {mostly}{whose}'


class MeasuredRun(NamedTuple):
    """A run, what it is called, its figures, and its ``unlabelled_classes``."""

    name: str
    folder: RunFolder
    figures: Figures
    unlabelled: Sequence[str]

    @property
    def history(self) -> History:
        """Its record."""
        return self.folder.history

    @property
    def seed(self) -> int | None:
        """The seed in the header; None where there is none."""
        return self.history.header.get('seed')

    @property
    def last(self) -> int:
        """The iteration of the last validation, of any subset."""
        return self.history.select(Kind.VALIDATION)[-1]['iter']

    @property
    def no_source(self) -> bool:
        """Whether training began without a source model."""
        return adaptation.has_no_source(self.history)

    def fell(self, score: str) -> bool:
        """Whether a score fell below iteration 0's by what can be seen."""
        return (self.figures[score]['dip'] or 0) >= SHOWN


class Group(NamedTuple):
    """Runs that repeat one experiment; ``figures`` are those of a single run, or means over seeds.

    ``experiment`` is its name in its study, None if it is of none.
    """

    runs: list[MeasuredRun]
    figures: Figures
    experiment: str | None

    @property
    def several(self) -> bool:
        """Whether there are means: it has more than one run."""
        return len(self.runs) > 1

    @property
    def name(self) -> str:
        """The name of its only run, or what its means are of."""
        names = self.experiment or ', '.join(run.name for run in self.runs)
        return f'mean of {names}' if self.several else names

    @property
    def label(self) -> str:
        """A short name: the experiment's, else its first run's and how many more there are."""
        return self.experiment or self.runs[0].name + (
            f' and {len(self.runs) - 1} more' if self.several else ''
        )

    @property
    def seeds(self) -> int:
        """How many seeds its runs have; those without one count each for itself."""
        return self.figures['mIoU']['last_iter'].seeds if self.several else 1

    @property
    def unfinished(self) -> str:
        """How far the runs are that are not at their end."""
        known = [(run, run.history.header.get('max_iters')) for run in self.runs]
        return ', '.join(
            f'{run.name} at iteration {run.last} of {end}' for run, end in known if run.last < (end or 0)
        )


class Analysis(NamedTuple):
    """All runs by group, and the thresholds: ``iou`` in percent, ``share`` in (0, 1]."""

    groups: list[Group]
    iou: float
    share: float

    @property
    def runs(self) -> list[MeasuredRun]:
        """The runs of all groups."""
        return [run for group in self.groups for run in group.runs]


def leading(groups: Sequence[Group]) -> tuple[str, str, str]:
    """``leading_scores`` of the runs of groups."""
    return leading_scores([run.history for group in groups for run in group.runs])


def leading_scores(histories: Collection[History]) -> tuple[str, str, str]:
    """The mean IoUs that lead: of labelled classes where a set lacks some."""
    known = all(score_curve(history.validations, LABELLED[0]) for history in histories)
    return LABELLED if known and any(map(adaptation.unlabelled_classes, histories)) else MEAN_IOUS


def analyse(folders: Mapping[str, RunFolder], iou: float = 20, share: float = 0.5) -> Analysis:
    """Measure runs by name, and their means where they repeat one experiment.

    Raises ValueError if a run has no validation with an mIoU, or two at one iteration, and names it; or if a
    threshold is out of range.
    """
    runs = []
    for name, folder in folders.items():
        try:
            figures = measure_run(folder.history, iou, share, folder.iteration_seconds)
            runs.append(MeasuredRun(name, folder, figures, adaptation.unlabelled_classes(folder.history)))
        except ValueError as error:
            raise ValueError(f'{name}: {error}') from error
    parts = [[runs[i] for i in indices] for indices in group_runs([run.history.header for run in runs])]
    groups = [
        Group(members, _means(members) if len(members) > 1 else members[0].figures, name)
        for members, name in zip(parts, _experiments(parts), strict=True)
    ]
    return Analysis(groups, iou, share)


def _experiments(groups: Sequence[Sequence[MeasuredRun]]) -> list[str | None]:
    """What a study calls experiments: by the folders of their runs ``seedN``, as far as these differ.

    None for other runs, and for experiments that share a folder or would be called as a run is.
    """
    folders: list[Path | None] = []
    for runs in groups:
        parents = {run.folder.folder.parent for run in runs}
        seeds = all(re.fullmatch(r'seed\d+', Path(run.name).name) for run in runs)
        folders.append(parents.pop() if seeds and len(parents) == 1 else None)
    own = [
        folder
        for folder, runs in zip(folders, groups, strict=True)
        # A run called seedN alone need not be of a study.
        if folder and folders.count(folder) == 1 and (len(runs) > 1 or '/' in runs[0].name)
    ]
    names, taken = dict(zip(own, name_runs(own), strict=True)), {run.name for runs in groups for run in runs}
    return [None if (name := names.get(folder)) in taken else name for folder in folders]


def measure_run(
    history: History, iou: float, share: float, iteration_seconds: float | None
) -> dict[str, dict[str, float | None]]:
    """A run's figures by subject and measure; None where there is none."""
    rows, probed = history.validations, history.probed
    if not rows_with(rows, 'mIoU'):
        raise ValueError(f'expected a validation with an mIoU, but none of {len(rows)} has one')
    figures: dict[str, dict[str, float | None]] = {}
    classes = (CLASS_PREFIX + name for name in adaptation.class_names(history))
    for score in (*SCORES, *score_curves.boundary_score_names(rows), *classes):
        source = adaptation.compare_source(history, score)._asdict()
        figures[score] = source | _measure_rows(rows, score, iou, share)
    for score in OVERALL:
        # What it costs to get there, beside the iterations.
        for measure in (HALF, to_share(share), to_iou(iou)):
            spent = training_cost(history.header, figures[score][measure], iteration_seconds)
            figures[score] |= {cost_to(measure, part): value for part, value in spent._asdict().items()}
    for score in SCORES if probed else ():
        # The source's own view is of the whole set.
        none = dict.fromkeys(adaptation.FromSource._fields)
        figures[f'{SubsetName.PROBE}/{score}'] = none | _measure_rows(probed, score, iou, share)
    lead = adaptation.seen_lead(rows)._asdict()
    figures['seen_lead'] = dict.fromkeys(lead) if adaptation.has_no_source(history) else lead
    forgotten, agreement = adaptation.summarise_forgetting(history), adaptation.compare_probe(history)
    figures['source_classifier'] = _measure_source_classifier(history)
    figures['forgetting'] = forgotten._asdict() if forgotten else {}
    figures['probe'] = agreement._asdict() if agreement else {}
    last = history.select(Kind.VALIDATION)[-1]['iter']
    spent = training_cost(history.header, last, iteration_seconds)
    figures['cost'] = {'iterations': last, **spent._asdict()}
    return figures


def _measure_source_classifier(history: History) -> dict[str, float]:
    """``HeadOrFeatures`` of the mean over seen classes; empty without rows of the source's classifier.

    ``start``, ``lowest`` and ``last`` are of the features' curve.
    """
    found, score = compare_head_and_features(history), seen_mean(history)
    if found is None:
        return {}
    rows = rows_with(history.select(Kind.SOURCE_CLASSIFIER), score)
    curve = score_curves.summarise_adaptation(rows, score)
    return {
        **found._asdict(),
        'start': curve.start,
        'lowest': curve.lowest,
        'lowest_iter': curve.lowest_iter,
        'last': curve.last,
        'last_drop': found.source - curve.last,
    }


def _measure_rows(
    validations: Sequence[Mapping[str, Any]], score: str, iou: float, share: float
) -> dict[str, float | None]:
    curve = score_curve(validations, score)
    found = score_curves.summarise_adaptation(validations, score)._asdict() if curve else None
    return {
        **(found or dict.fromkeys(Adaptation._fields)),
        HALF: score_curves.iterations_to_share(curve, 0.5),
        to_share(share): score_curves.iterations_to_share(curve, share),
        to_iou(iou): score_curves.iterations_to(curve, iou),
    }


def to_iou(iou: float) -> str:
    """The measure that counts iterations to an IoU in percent."""
    return f'iterations_to_{iou:g}_percent'


def to_share(share: float) -> str:
    """The measure that counts iterations to a share of the best IoU."""
    return f'iterations_to_{share:g}_of_best'


def cost_to(measure: str, part: str) -> str:
    """The measure of a part of ``TrainingCost`` up to where ``measure`` counts iterations to."""
    return measure.replace('iterations', part)


def _means(runs: Sequence[MeasuredRun]) -> Figures:
    seeds = [run.seed for run in runs]
    found: dict[str, dict[str, Estimate]] = {subject: {} for run in runs for subject in run.figures}
    for run in runs:
        for subject, measure, _ in _flat(run.figures):
            values = [other.figures.get(subject, {}).get(measure) for other in runs]
            found[subject][measure] = estimate_over_seeds(values, seeds)
    return found


def as_json(analysis: Analysis) -> str:
    """Thresholds, runs and means of groups, unrounded, as strict JSON."""
    runs = [
        {
            'name': run.name,
            **{key: run.history.header.get(key) for key in HEADER},
            'classes_early_to_late': [t._asdict() for t in adaptation.classes_early_to_late(run.history)],
            'no_source': run.no_source,
            'curves': {s: score_curve(run.history.validations, s) for s in SCORES},
            'source_classifier_curves': {
                s: score_curve(run.history.select(Kind.SOURCE_CLASSIFIER), s) for s in SCORES
            },
            'figures': run.figures,
        }
        for run in analysis.runs
    ]
    groups = [
        {
            'runs': [run.name for run in group.runs],
            'seeds': [run.seed for run in group.runs],
            'figures': {s: {m: v._asdict() for m, v in row.items()} for s, row in group.figures.items()},
        }
        for group in analysis.groups
        if group.several
    ]
    content = {'iou': analysis.iou, 'share': analysis.share, 'runs': runs, 'groups': groups}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + '\n'


def as_csv(analysis: Analysis) -> str:
    """The figures in long format, a line each, unrounded; empty cells for none.

    A class has ``seen`` 1 or 0 too. The mean of a group has no seed; ``low`` and ``high`` are its interval,
    and ``n`` the seeds that it is of.
    """
    rows = []
    for group in analysis.groups:
        for run in group.runs:
            for timing in adaptation.classes_early_to_late(run.history):
                seen = None if timing.seen is None else int(timing.seen)
                rows.append([run.name, run.seed, CLASS_PREFIX + timing.name, 'seen', seen, *[None] * 3])
            rows += ([run.name, run.seed, *figure, *[None] * 3] for figure in _flat(run.figures))
        if group.several:
            rows += (
                [group.name, None, subject, measure, value.mean, value.low, value.high, value.count]
                for subject, measure, value in _flat(group.figures)
            )
    return csv_text(COLUMNS, rows)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV, with empty cells for None."""
    file = io.StringIO()
    csv.writer(file, lineterminator='\n').writerows([columns, *rows])
    return file.getvalue()


def _flat(figures: Figures) -> list[tuple[str, str, Value]]:
    return [(subject, measure, value) for subject, row in figures.items() for measure, value in row.items()]
