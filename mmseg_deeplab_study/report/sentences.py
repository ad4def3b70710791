"""What the figures of an analysis say, in sentences."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..evaluation.adaptation import classes_early_to_late, seen_classes, source_row
from ..evaluation.metrics.scores import LABELLED
from ..evaluation.score_curves import CLASS_PREFIX, MIN_BEST
from ..evaluation.seeds import Estimate
from ..runs.history import History
from .analysis import (
    SHOWN,
    Analysis,
    Figures,
    Group,
    MeasuredRun,
    Value,
    leading,
    mean,
    whose_drop,
)
from .analysis_text import below, count, negated, percent

NAMED = 3  # classes in one sentence
NEVER_FELL = "it never falls below iteration 0's"


class SourceView(NamedTuple):
    """``counts`` (T, S) of pixels by labelled class and the source model's answer."""

    classes: Sequence[str]
    predicted: Sequence[str]
    counts: np.ndarray


def sentences(analysis: Analysis) -> dict[str, list[str]]:
    """What ``result`` leaves out, by experiment."""
    score = leading(analysis.groups)[0]
    return {group.label: list(_of_group(group, score)) for group in analysis.groups}


def result(group: Group, score: str) -> str:
    """One sentence: what was seen before any training, where it ended, dip and recovery, lead of the seen."""
    miou = group.figures[score]
    ends = sorted({run.figures[score]['last_iter'] for run in group.runs})
    end = ' to '.join(str(iteration) for iteration in dict.fromkeys((ends[0], ends[-1])))
    points = {"in the source's view": 'source', 'at iteration 0': 'start', f'at iteration {end}': 'last'}
    known = {when: miou[measure] for when, measure in points.items() if mean(miou[measure]) is not None}
    parts = [f'{score} is {", ".join(f"{percent(value)} % {when}" for when, value in known.items())}']
    if mean(miou['start']) is not None:
        dips = _dips if group.several else lambda group, score: _dip(group.runs[0], score)
        parts.append(dips(group, score))
        # What the source knew is what can be lost; in the mean over all, new classes hide it.
        seen = score.replace('mIoU', 'mIoU.seen')
        if any(run.fell(seen) for run in group.runs):
            parts.append(f'over the seen classes alone {dips(group, seen)}')
    parts += _lead(group.figures['seen_lead']['iterations'])
    if group.unfinished:
        parts.append(f'not finished: {group.unfinished}')
    return f'{"; ".join(parts)}.'


def what_means_cover(score: str) -> str:
    """What the leading mean IoU and the others are over; empty where all classes have labels."""
    return (
        f'The validation set lacks classes: {score} is the mean over those that have labelled pixels. In the '
        'other means a class without any counts as 0 where one pixel is predicted as it, and not at all '
        'elsewhere, so they move by that alone.'
        if score in LABELLED
        else ''
    )


def source_view(history: History) -> SourceView | None:
    """A record's confusion matrix of the source model; None where none fits."""
    row, header = source_row(history) or {}, history.header
    classes, predicted = header.get('target_classes') or (), header.get('source_classes') or ()
    counts = np.asarray(row.get('confusion') or (), np.int64)
    fits = counts.size and counts.shape == (len(classes), len(predicted))
    return SourceView(classes, predicted, counts) if fits else None


def taken_for(view: SourceView) -> list[tuple[str, str, float]]:
    """What each labelled class is most often taken for, and the share in percent."""
    return [
        (name, view.predicted[int(counts.argmax())], float(100 * counts.max() / counts.sum()))
        for name, counts in zip(view.classes, view.counts, strict=True)
        if counts.any()
    ]


def _of_group(group: Group, score: str) -> Iterator[str]:
    miou = group.figures[score]
    if (drop := mean(miou['source_drop'])) is not None:
        lowest = f'{percent(miou["lowest"])} % at iteration {count(miou["lowest_iter"])}'
        if drop < SHOWN:
            yield f"{score} never falls below the source's view; its lowest is {lowest}."
        else:
            points = percent(miou['source_drop'])
            yield f"From the source's view {score} drops by {points} points, to {lowest}."
    yield from _head_or_features(group.figures)
    yield f'The best {score} is {percent(miou["best"])} % at iteration {count(miou["best_iter"])}.'
    of_classes = list(_class_sentences(group.runs[0]))
    if group.several and of_classes:
        of_classes = [' '.join([f'Classes of {group.runs[0].name}.', *of_classes])]
    yield from of_classes
    yield from _first_taken_for(group.runs[0])


def _dip(run: MeasuredRun, score: str) -> str:
    miou = run.figures[score]
    if not run.fell(score):
        return NEVER_FELL
    back = miou['recovery_iter']
    reached = 'has not come back' if back is None else f'is back at iteration {back}'
    return (
        f'it dips by {percent(miou["dip"])} points, to {percent(miou["lowest"])} % at '
        f'iteration {miou["lowest_iter"]}, and {reached}'
    )


def _dips(group: Group, score: str) -> str:
    known = sum(run.figures[score]['dip'] is not None for run in group.runs)
    fell = [run.figures[score] for run in group.runs if run.fell(score)]
    if not fell:
        return NEVER_FELL
    back = [miou['recovery_iter'] for miou in fell if miou['recovery_iter'] is not None]
    when = f' at iteration {np.mean(back):.1f} on average' if back else ''
    points = np.mean([miou['dip'] for miou in fell])
    return (
        f"it dips below iteration 0's in {len(fell)} of {known} runs, by {points:.1f} points on average, and "
        f'{len(back)} of these come back{when}'
    )


def _head_or_features(figures: Figures) -> Iterator[str]:
    row = figures['source_classifier']
    if not row:
        return
    yield (
        f"At iteration {count(row['iteration'])}, the new classifier's lowest, the seen classes are "
        f"{below(row['head_drop'])} the source's view; read through the source's own classifier the same "
        f'features are {below(row["features_drop"])} it: {whose_drop(row)}.'
    )
    yield (
        f"Read through the source's own classifier the seen classes are last at {percent(row['last'])} %, "
        f"{below(row['last_drop'])} the source's view."
    )


def _lead(lead: Value) -> Iterator[str]:
    middle = mean(lead)
    if middle is None:
        return
    sure = not isinstance(lead, Estimate) or lead.low is None or lead.low == lead.high
    if middle == 0:
        sentence = 'the seen classes and the unseen reach half their best at the same time'
    else:
        how_far, order = (lead, 'before') if middle > 0 else (negated(lead), 'after')
        sentence = f'the seen classes reach half their best {count(how_far)} iterations {order} the unseen'
    if not sure and lead.low <= 0 <= lead.high:
        sentence += ': these seeds do not tell which are first'
    yield sentence


def _class_sentences(run: MeasuredRun) -> Iterator[str]:
    timings = classes_early_to_late(run.history)
    came = [timing for timing in timings if timing.half_iter is not None]
    late = [t.name for t in timings if t.half_iter is None and t.name not in run.unlabelled]
    bests = [(name, run.figures[CLASS_PREFIX + name]['best']) for name in late]
    never = [name for name, best in bests if best == 0]
    little = [f'{name} ({percent(best)})' for name, best in bests if best]
    if len(came) > 1:
        first = ', '.join(f'{t.name} ({t.half_iter})' for t in came[:NAMED])
        later = [timing for timing in came[NAMED:] if timing.half_iter > came[NAMED - 1].half_iter]
        last = ', '.join(f'{t.name} ({t.half_iter})' for t in later[-NAMED:])
        yield f'First to reach half their best IoU: {first}{f"; last: {last}" if last else ""}.'
    if little:
        yield f'Never at {MIN_BEST} %, so neither early nor late (best in brackets): {", ".join(little)}.'
    if never:
        yield f'Never above 0: {", ".join(never)}.'
    if run.unlabelled:
        yield f'Predicted, but labelled nowhere: {", ".join(run.unlabelled)}.'


def _first_taken_for(run: MeasuredRun) -> Iterator[str]:
    view, seen = source_view(run.history), seen_classes(run.history)
    if view is None or seen is None:
        return
    unseen = [place for place, name in enumerate(view.classes) if name not in seen]
    counts = view.counts[unseen].sum(axis=0)
    if counts.any():
        shares = 100 * counts / counts.sum()
        order = np.argsort(-shares, kind='stable')[:NAMED]
        answers = ', '.join(f'{view.predicted[i]} ({shares[i]:.1f} %)' for i in order if shares[i] >= SHOWN)
        yield f'The source model takes the pixels of unseen classes for {answers}.'
