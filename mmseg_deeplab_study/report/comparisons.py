"""How experiments differ: what their figures say side by side, a sentence for each question."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..evaluation.seeds import Estimate
from .analysis import Group, Run, Value
from .analysis_text import count, percent

SIDE_BY_SIDE = 'Side by side'
SHOWN = 0.05  # points; less than that is 0.0 on the page
FEW_SEEDS = 5  # of fewer, a percentile bootstrap is much too sure


class Question(NamedTuple):
    """What is asked of all experiments; ``largest`` says whether the largest value comes first."""

    text: str
    subject: str
    measure: str
    largest: bool = True
    at_the_end: bool = False


QUESTIONS = (
    Question('mIoU (%) at iteration 0', 'mIoU', 'start'),
    Question('mIoU (%) at its best', 'mIoU', 'best'),
    Question('mIoU (%) at the end', 'mIoU', 'last', at_the_end=True),
    Question('mIoU (%) of the seen classes at the end', 'mIoU.seen', 'last', at_the_end=True),
    Question('mIoU (%) of the unseen classes at the end', 'mIoU.unseen', 'last', at_the_end=True),
    Question(
        'Iterations by which the seen classes are at half their best before the unseen',
        'seen_lead',
        'iterations',
    ),
    Question('Boundary IoU (%) at the end', 'BIoU', 'last', at_the_end=True),
    Question(
        "Points of mIoU lost on the source's data by the end",
        'forgetting',
        'drop',
        largest=False,
        at_the_end=True,
    ),
)


def label(group: Group) -> str:
    """A short name of an experiment: its run's, or its first run's and how many more there are."""
    if len(group.runs) == 1:
        return group.runs[0].name
    return f'{group.runs[0].name} and {len(group.runs) - 1} more'


def mean(value: Value) -> float | None:
    """A figure of one run, or its mean over seeds; None if there is none."""
    return value.mean if isinstance(value, Estimate) else value


def same_task(groups: Sequence[Group]) -> bool:
    """Whether all runs have the same target classes and validation images, as far as their records say."""
    return len({_task(run) for group in groups for run in group.runs}) == 1


def same_length(groups: Sequence[Group]) -> bool:
    """Whether all runs have come equally far."""
    return len({run.figures['mIoU']['last_iter'] for group in groups for run in group.runs}) == 1


def best_of(values: Sequence[Value], largest: bool) -> list[bool]:
    """Which of a column's values are the best; none if all that are known are equal."""
    known = [middle for value in values if (middle := mean(value)) is not None]
    if not known:
        return [False] * len(values)
    best, worst = (max(known), min(known)) if largest else (min(known), max(known))
    return [best != worst and mean(value) == best for value in values]


def compare(groups: Sequence[Group]) -> list[str]:
    """A sentence for each question whose answers differ, between experiments of one task only."""
    tasks: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        tasks.setdefault(_task(group.runs[0]), []).append(group)
    found = []
    if len(tasks) > 1:
        apart = ' / '.join(_names(members) for members in tasks.values())
        found.append(f'Not compared, for their classes or validation images differ: {apart}.')
    for members in tasks.values():
        if len(members) > 1:
            found.extend(_compare_task(members))
    return found


def _task(run: Run) -> tuple[str, str]:
    header = run.history.header
    validation = header.get('validation') or {}
    return repr(list(header.get('target_classes') or ())), repr(validation.get('digest'))


def _names(groups: Sequence[Group]) -> str:
    return ', '.join(map(label, groups))


def _compare_task(groups: Sequence[Group]) -> Iterator[str]:
    ended = same_length(groups)
    for question in QUESTIONS:
        if ended or not question.at_the_end:
            yield from _answer(question, groups)
    yield from _recovery(groups)
    if not ended:
        yield (
            'Not compared at the end, for they are not equally far or not equally long: '
            + _names(groups)
            + '.'
        )


def _answer(question: Question, groups: Sequence[Group]) -> Iterator[str]:
    found = _known(groups, question.subject, question.measure)
    means = [mean(value) for _, value in found]
    if len(found) < 2 or max(means) - min(means) < SHOWN:
        return
    found.sort(key=lambda pair: mean(pair[1]), reverse=question.largest)
    show = count if question.subject == 'seen_lead' else percent
    answers = ', '.join(f'{label(group)} {show(value)}' for group, value in found)
    yield f'{question.text}: {answers}; {_hedge(found)}.'


def _recovery(groups: Sequence[Group]) -> Iterator[str]:
    """Who came back to the mIoU of iteration 0 and when, if anyone fell below it."""
    fell = {label(group): _fallen(group) for group in groups}
    if not any(fell.values()):
        return
    back = sorted(_known(groups, 'mIoU', 'recovery_iter'), key=lambda pair: mean(pair[1]))
    back = [(group, value) for group, value in back if fell[label(group)]]
    parts = []
    if back:
        when = ', '.join(f'{label(group)} {count(value)}' for group, value in back)
        parts.append(f'back at its start at iteration: {when}')
    away = {
        name: sum(run.figures['mIoU']['recovery_iter'] is None for run in runs) for name, runs in fell.items()
    }
    if any(away.values()):
        which = [f'{name} ({n} of {len(fell[name])} that fell)' for name, n in away.items() if n]
        parts.append(f'not back: {", ".join(which)}')
    if above := [name for name, runs in fell.items() if not runs]:
        parts.append(f'never below it: {", ".join(above)}')
    if len(back) > 1:
        parts.append(_hedge(back))
    yield f'mIoU is {"; ".join(parts)}.'


def _fallen(group: Group) -> list[Run]:
    return [run for run in group.runs if (run.figures['mIoU']['dip'] or 0) >= SHOWN]


def _known(groups: Sequence[Group], subject: str, measure: str) -> list[tuple[Group, Value]]:
    values = [(group, group.figures.get(subject, {}).get(measure)) for group in groups]
    return [(group, value) for group, value in values if mean(value) is not None]


def _hedge(found: Sequence[tuple[Group, Value]]) -> str:
    """What the seeds say about the order of values, the first of which leads."""
    alone = [label(group) for group, value in found if not isinstance(value, Estimate) or value.low is None]
    if alone:
        whose = '' if len(alone) == len(found) else f' of {", ".join(alone)}'
        return f'with one seed{whose} nothing says whether another would agree'
    (leader, first), *others = found
    counts = [value.count for _, value in found]
    narrow = (
        f' (of so few seeds, {" and ".join(map(str, sorted(set(counts))))}, they are too narrow)'
        if min(counts) < FEW_SEEDS
        else ''
    )
    close = [label(group) for group, value in others if value.low <= first.high and first.low <= value.high]
    if close:
        return (
            f'the 95 % intervals of the means of {label(leader)} and {", ".join(close)} overlap{narrow}: '
            'these seeds do not tell them apart'
        )
    return f'the 95 % interval of the first mean overlaps with no other{narrow}'
