"""How experiments differ: what their figures say side by side, a sentence for each question."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ..evaluation.scores import LABELLED, MEAN_IOUS
from ..evaluation.seeds import Estimate, estimate_difference, estimate_over_seeds
from .analysis import Group, MeasuredRun, Value, leading, mean
from .analysis_text import count, percent

SIDE_BY_SIDE = 'Side by side'
SHOWN = 0.05  # points; less than that is 0.0 on the page


class Question(NamedTuple):
    """What is asked of all experiments.

    ``largest`` says whether the largest value comes first, and ``show`` how values are written. In ``text``
    ``{end}`` stands for the end of runs. A mean IoU is that of the labelled classes where a set lacks some.
    """

    text: str
    subject: str
    measure: str
    largest: bool = True
    show: Callable[[Value], str] = percent


AT_THE_START = Question('mIoU (%) at iteration 0', 'mIoU', 'start')
# Their answers depend on how long a run has gone on.
OF_THE_WHOLE = (
    Question(
        "Points of mIoU from the source's view down to the lowest", 'mIoU', 'source_drop', largest=False
    ),
    Question('mIoU (%) at its best', 'mIoU', 'best'),
    Question('mIoU (%) {end}', 'mIoU', 'last'),
    Question('mIoU (%) of the seen classes {end}', 'mIoU.seen', 'last'),
    Question('mIoU (%) of the unseen classes {end}', 'mIoU.unseen', 'last'),
    Question(
        'Iterations by which the seen classes are at half their best before the unseen',
        'seen_lead',
        'iterations',
        show=count,
    ),
    Question('Boundary IoU (%) {end}', 'BIoU', 'last'),
)
FORGOTTEN = Question("Points of mIoU lost on the source's data {end}", 'forgetting', 'drop', largest=False)


def label(group: Group) -> str:
    """A short name of an experiment: its run's, or its first run's and how many more there are."""
    if len(group.runs) == 1:
        return group.runs[0].name
    return f'{group.runs[0].name} and {len(group.runs) - 1} more'


def same_task(groups: Sequence[Group]) -> bool:
    """Whether all runs have the same target classes and validation images, as far as their records say."""
    return _agree(groups, _task)


def same_length(groups: Sequence[Group]) -> bool:
    """Whether all runs have come equally far and are equally long."""
    return _agree(groups, _length)


def same_source(groups: Sequence[Group]) -> bool:
    """Whether what is forgotten was measured on as many images of the same classes, and equally late."""
    return _agree([group for group in groups if group.figures.get('forgetting')], _source)


def best_of(values: Sequence[Value], largest: bool) -> list[bool]:
    """Which of a column's values are the best, as far as is shown; none if no difference is."""
    known = [middle for value in values if (middle := mean(value)) is not None]
    if not known:
        return [False] * len(values)
    best, worst = (max(known), min(known)) if largest else (min(known), max(known))
    return [
        abs(best - worst) >= SHOWN and mean(value) is not None and abs(mean(value) - best) < SHOWN
        for value in values
    ]


def compare(groups: Sequence[Group]) -> list[str]:
    """A sentence for each question whose answers differ, between experiments of one task and length only."""
    tasks: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        tasks.setdefault(_task(group.runs[0]), []).append(group)
    found = []
    if len(tasks) > 1:
        apart = ' / '.join(_names(members) for members in tasks.values())
        found.append(f'Not compared, for their classes or validation images differ or are unknown: {apart}.')
    for members in tasks.values():
        if len(members) > 1:
            found.extend(_compare_task(members))
    return found


def _agree(groups: Sequence[Group], key: Callable[[MeasuredRun], Any]) -> bool:
    return len({key(run) for group in groups for run in group.runs}) <= 1


def _task(run: MeasuredRun) -> tuple[str, str]:
    header = run.history.header
    validation = header.get('validation') or {}
    return repr(list(header.get('target_classes') or ())), repr(validation.get('digest'))


def _length(run: MeasuredRun) -> tuple[int, int]:
    last = run.figures['mIoU']['last_iter']
    return last, run.history.header.get('max_iters') or last


def _source(run: MeasuredRun) -> tuple[str, str]:
    rows = run.history.select('forgetting')
    measured = [(row['iter'], row.get('images')) for row in rows[-1:]]
    return repr(list(run.history.header.get('source_classes') or ())), repr(measured)


def _names(groups: Sequence[Group]) -> str:
    return ', '.join(map(label, groups))


def _compare_task(groups: Sequence[Group]) -> Iterator[str]:
    yield from _answer(AT_THE_START, groups)
    if not same_length(groups):
        yield f'Compared no further, for they are not equally far or not equally long: {_names(groups)}.'
        return
    for question in OF_THE_WHOLE:
        yield from _answer(question, groups)
    yield from _recovery(groups)
    if same_source(groups):
        yield from _answer(FORGOTTEN, groups)
    else:
        yield "Not compared in what they forget, for they were not measured on the same data of the source's."


class Answer(NamedTuple):
    """A group's value, and those of its runs that it is of."""

    group: Group
    value: Value
    runs: Sequence[float | None]


def _answer(question: Question, groups: Sequence[Group]) -> Iterator[str]:
    subject, text = question.subject, question.text
    if subject in MEAN_IOUS and (shown := leading(groups)) == LABELLED:
        subject = shown[MEAN_IOUS.index(subject)]
        text += ', over the labelled classes'
    answers = [
        Answer(
            group,
            group.figures.get(subject, {}).get(question.measure),
            [run.figures.get(subject, {}).get(question.measure) for run in group.runs],
        )
        for group in groups
    ]
    found = [answer for answer in answers if mean(answer.value) is not None]
    means = [mean(answer.value) for answer in found]
    if len(found) < 2 or max(means) - min(means) < SHOWN:
        return
    found.sort(key=lambda answer: mean(answer.value), reverse=question.largest)
    last, length = _length(groups[0].runs[0])
    text = text.format(end='at the end' if last >= length else f'at iteration {last} of {length}')
    shown = ', '.join(f'{label(answer.group)} {question.show(answer.value)}' for answer in found)
    yield f'{text}: {shown}; {_hedge(found)}.'


class Recovery(NamedTuple):
    """How many runs there are and fell below their start, how many did not come back, and when others did.

    ``iterations`` are those of the runs, None for those that did not fall or come back.
    """

    runs: int
    fell: int
    away: int
    when: Value
    iterations: Sequence[int | None]


def _recovery(groups: Sequence[Group]) -> Iterator[str]:
    """Who came back to the mIoU of iteration 0 and when, unless all did alike."""
    score = leading(groups)[0]
    found = [(group, state) for group in groups if (state := recovery_of(group, score)) is not None]
    if len({(s.fell / s.runs, s.away / s.runs, mean(s.when)) for _, s in found}) < 2:
        return
    back = [Answer(group, s.when, s.iterations) for group, s in found if mean(s.when) is not None]
    back.sort(key=lambda answer: mean(answer.value))
    parts = []
    if back:
        when = ', '.join(f'{label(answer.group)} {count(answer.value)}' for answer in back)
        parts.append(f'back at its start at iteration: {when}')
    if away := [f'{label(group)} ({s.away} of {s.fell} that fell)' for group, s in found if s.away]:
        parts.append(f'not back: {", ".join(away)}')
    if above := [label(group) for group, state in found if not state.fell]:
        parts.append(f'never below it: {", ".join(above)}')
    if len(back) > 1:
        parts.append(_hedge(back))
    over = ' over the labelled classes' if score in LABELLED else ''
    yield f'mIoU{over} is {"; ".join(parts)}.'


def recovery_of(group: Group, score: str = 'mIoU') -> Recovery | None:
    """What of a dip is there to see; None where the score of iteration 0 is not known."""
    figures = [run.figures[score] for run in group.runs]
    if any(miou['dip'] is None for miou in figures):
        return None
    iterations = [miou['recovery_iter'] if miou['dip'] >= SHOWN else None for miou in figures]
    fell = sum(miou['dip'] >= SHOWN for miou in figures)
    away = fell - sum(iteration is not None for iteration in iterations)
    if len(iterations) == 1:
        return Recovery(1, fell, away, iterations[0], iterations)
    when = estimate_over_seeds(iterations, _seeds(group))
    return Recovery(len(iterations), fell, away, when, iterations)


def _hedge(found: Sequence[Answer]) -> str:
    """What the seeds say about the order of values, the first of which leads."""
    if not any(isinstance(answer.value, Estimate) for answer in found):
        return 'with one seed nothing says whether another would agree'
    leader, *others = found
    parts, apart = [], []
    for other in others:
        paired = estimate_difference(*((answer.runs, _seeds(answer.group)) for answer in (leader, other)))
        if paired.low is None:
            apart.append(other)
        else:
            sure = 'without 0 in it' if paired.low > 0 or paired.high < 0 else 'with 0 in it, so no order'
            interval = f'{paired.mean:.2f} [{paired.low:.2f}, {paired.high:.2f}], {sure}'
            if paired.low == paired.high:
                # Of iterations that are multiples of the validation interval.
                interval = f'{paired.mean:.2f} in each of them, which has no interval'
            parts.append(
                f'{label(leader.group)} less {label(other.group)}, paired by n = {paired.count} seeds: '
                f'{interval}'
            )
    if apart:
        parts.append(_unpaired(leader, apart))
    return '; '.join(parts)


def _unpaired(leader: Answer, others: Sequence[Answer]) -> str:
    """What the intervals of means say that share no two seeds."""
    alone = [
        label(answer.group) for answer in (leader, *others) if getattr(answer.value, 'low', None) is None
    ]
    if alone:
        return (
            f"of {', '.join(alone)} one seed's value is known, and nothing says whether another would agree"
        )
    first = leader.value
    close = [
        label(answer.group)
        for answer in others
        if answer.value.low <= first.high and first.low <= answer.value.high
    ]
    seeds = ', '.join(str(answer.value.count) for answer in (leader, *others))
    if close:
        return (
            f'the 95 % intervals of the means of {label(leader.group)} and {", ".join(close)} overlap '
            f'(n = {seeds}, not paired by seeds)'
        )
    names = ', '.join(label(answer.group) for answer in others)
    return (
        f'the 95 % interval of the mean of {label(leader.group)} does not overlap with {names} '
        f'(n = {seeds}, not paired by seeds)'
    )


def _seeds(group: Group) -> list[int | None]:
    return [run.seed for run in group.runs]
