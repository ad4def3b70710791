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
    NO_SOURCE,
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
from .analysis_text import below, count, percent
from .comparisons import SIDE_BY_SIDE, compare

NAMED = 3  # classes in one sentence


class SourceView(NamedTuple):
    """``counts`` (T, S) of pixels by labelled class and the source model's answer."""

    classes: Sequence[str]
    predicted: Sequence[str]
    counts: np.ndarray


def sentences(analysis: Analysis) -> dict[str, list[str]]:
    """Sentences by experiment; those that compare them under ``SIDE_BY_SIDE``."""
    found = {}
    if compared := compare(analysis.groups):
        found[SIDE_BY_SIDE] = compared
    for group in analysis.groups:
        found.setdefault(group.label, []).extend(_of_group(group))
    return found


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


def _of_group(group: Group) -> Iterator[str]:
    score = leading([group])[0]
    miou = group.figures[score]
    if group.unfinished:
        yield f'Not finished: {group.unfinished}.'
    if any(run.no_source for run in group.runs):
        yield f'{NO_SOURCE[0].upper()}{NO_SOURCE[1:]}.'
    if score in LABELLED:
        yield f'The validation set lacks classes: {score} is the mean over those that have labelled pixels.'
    if mean(miou['start']) is not None:
        own = f'; the untouched source model, read by class name, {percent(miou["source"])} %'
        own = '' if mean(miou['source']) is None else own
        yield f'Before any training {score} is {percent(miou["start"])} %{own}.'
    if (drop := mean(miou['source_drop'])) is not None:
        lowest = f'{percent(miou["lowest"])} % at iteration {count(miou["lowest_iter"])}'
        if drop < SHOWN:
            yield f"{score} never falls below the source's view; its lowest is {lowest}."
        else:
            points = percent(miou['source_drop'])
            yield f"From the source's view {score} drops by {points} points, to {lowest}."
    if mean(miou['start']) is not None:
        yield _dips(group, score) if group.several else _dip(group.runs[0], score)
    yield from _head_or_features(group.figures)
    yield (
        f'The best {score} is {percent(miou["best"])} % at iteration {count(miou["best_iter"])}, '
        f'the last {percent(miou["last"])} %.'
    )
    yield from _lead(group.figures['seen_lead']['iterations'])
    yield from _class_sentences(group)
    yield from _first_taken_for(group.runs[0])


def _dip(run: MeasuredRun, score: str) -> str:
    miou = run.figures[score]
    if not run.fell(score):
        return f"{score} never falls below iteration 0's."
    back = miou['recovery_iter']
    reached = 'has not come back' if back is None else f'is back at iteration {back}'
    return (
        f'From iteration 0 {score} dips by {percent(miou["dip"])} points, to {percent(miou["lowest"])} % at '
        f'iteration {miou["lowest_iter"]}, and {reached}.'
    )


def _dips(group: Group, score: str) -> str:
    known = sum(run.figures[score]['dip'] is not None for run in group.runs)
    fell = [run.figures[score] for run in group.runs if run.fell(score)]
    found = f"{score} dips below iteration 0's in {len(fell) or 'none'} of {known} runs"
    if not fell:
        return f'{found}.'
    back = [miou['recovery_iter'] for miou in fell if miou['recovery_iter'] is not None]
    when = f', at iteration {np.mean(back):.1f} on average' if back else ''
    points = np.mean([miou['dip'] for miou in fell])
    return f'{found}, by {points:.1f} points on average; {len(back)} of these come back{when}.'


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
    if middle == 0:
        sentence = 'The seen classes and the unseen reach half their best at the same time'
    else:
        how_far = count(abs(middle)) if not isinstance(lead, Estimate) else f'{abs(middle):.1f}'
        order = 'before' if middle > 0 else 'after'
        sentence = f'The seen classes reach half their best {how_far} iterations {order} the unseen'
    if isinstance(lead, Estimate) and lead.low is not None:
        sentence += f', on average over n = {lead.count} seeds [{lead.low:.1f}, {lead.high:.1f}]'
        if lead.low <= 0 <= lead.high and middle:
            sentence += ': these seeds do not tell which are first'
    yield f'{sentence}.'


def _class_sentences(group: Group) -> Iterator[str]:
    run = group.runs[0]
    timings = classes_early_to_late(run.history)
    came = [timing for timing in timings if timing.half_iter is not None]
    late = [t.name for t in timings if t.half_iter is None and t.name not in run.unlabelled]
    bests = [(name, run.figures[CLASS_PREFIX + name]['best']) for name in late]
    never = [name for name, best in bests if best == 0]
    little = [f'{name} ({percent(best)})' for name, best in bests if best]
    where = f' (in {run.name})' if group.several else ''
    if len(came) > 1:
        first = ', '.join(f'{t.name} ({t.half_iter})' for t in came[:NAMED])
        later = [timing for timing in came[NAMED:] if timing.half_iter > came[NAMED - 1].half_iter]
        last = ', '.join(f'{t.name} ({t.half_iter})' for t in later[-NAMED:])
        yield f'First to reach half their best IoU: {first}{f"; last: {last}" if last else ""}{where}.'
    if little:
        found = ', '.join(little)
        yield f'Never at {MIN_BEST} %, so neither early nor late (best in brackets): {found}{where}.'
    if never:
        yield f'Never above 0: {", ".join(never)}{where}.'
    if run.unlabelled:
        yield (
            f'No pixel is labelled {", ".join(run.unlabelled)}: in the other means such a class counts as 0 '
            f'where one pixel is predicted as it, and not at all elsewhere, so they move by that '
            f'alone{where}.'
        )


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
