"""How experiments differ, a sentence for each question."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ..evaluation.metrics.scores import MEAN_IOUS
from ..evaluation.seeds import Estimate, estimate_difference, estimate_over_seeds
from ..runs.history import Kind
from .analysis import SHOWN, Group, MeasuredRun, Value, leading, mean
from .analysis_text import count, percent

SIDE_BY_SIDE = 'Side by side'
ONE_SEED = 'One seed says nothing about variance: another may order the experiments differently.'
UNSURE = 'no order'
NO_ORDER = f'{UNSURE[0].upper()}{UNSURE[1:]}: the 95 % interval of the difference has 0 in it.'
# What is asked of experiments of equal length: text, subject, measure, and whether the largest is first.
# In the text ``{score}`` is the subject, or the mean IoU that leads, and ``{end}`` the end of runs.
OF_THE_WHOLE = (
    ("Points of {score} from the source's view down to the lowest", 'mIoU', 'source_drop', False),
    ('{score} (%) at its best', 'mIoU', 'best', True),
    *(('{score} (%) {end}', score, 'last', True) for score in MEAN_IOUS),
    (
        'Iterations by which the seen classes are at half their best before the unseen',
        'seen_lead',
        'iterations',
        True,
    ),
    ('Boundary IoU (%) {end}', 'BIoU', 'last', True),
)


def agree(groups: Sequence[Group], key: Callable[[MeasuredRun], Any]) -> bool:
    """Whether all runs have the same ``key``, such as ``task_of``."""
    return len({key(run) for group in groups for run in group.runs}) <= 1


def task_of(run: MeasuredRun) -> tuple[str, str]:
    """Its target classes and validation images."""
    header = run.history.header
    validation = header.get('validation') or {}
    return repr(list(header.get('target_classes') or ())), repr(validation.get('digest'))


def length_of(run: MeasuredRun) -> tuple[int, int]:
    """How far it has come, and how long it is."""
    last = run.figures['mIoU']['last_iter']
    return last, run.history.header.get('max_iters') or last


def same_source(groups: Sequence[Group]) -> bool:
    """Whether forgetting was measured on the same classes and images, equally late."""

    def measured(run: MeasuredRun) -> str:
        rows = [(r['iter'], r.get('images')) for r in run.history.select(Kind.FORGETTING)[-1:]]
        return repr((list(run.history.header.get('source_classes') or ()), rows))

    return agree([group for group in groups if group.figures.get('forgetting')], measured)


def best_of(values: Sequence[Value], largest: bool) -> list[bool]:
    """Which of a column's values are the best; none if no difference is shown."""
    known = [middle for value in values if (middle := mean(value)) is not None]
    if not known or max(known) - min(known) < SHOWN:
        return [False] * len(values)
    best = max(known) if largest else min(known)
    return [mean(value) is not None and abs(mean(value) - best) < SHOWN for value in values]


class Answer(NamedTuple):
    """A group's value, and those of its runs that it is of."""

    group: Group
    value: Value
    runs: Sequence[float | None]


# A sentence, and the answers that it orders.
Ordered = tuple[str, Sequence[Answer]]


def compare(groups: Sequence[Group]) -> list[str]:
    """A sentence for each question whose answers differ.

    Only experiments of one task and length are compared."""
    tasks: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        tasks.setdefault(task_of(group.runs[0]), []).append(group)
    found = []
    if len(tasks) > 1:
        apart = ' / '.join(_names(members) for members in tasks.values())
        found.append(f'Not compared, because classes or validation images differ or are unknown: {apart}.')
    ordered = [one for members in tasks.values() if len(members) > 1 for one in _compare_task(members)]
    found += [sentence for sentence, _ in ordered]
    found += [NO_ORDER] * any(f'({UNSURE})' in sentence for sentence in found)
    return found + [ONE_SEED] * any(_is_of_one(answer) for _, answers in ordered for answer in answers)


def _names(groups: Sequence[Group]) -> str:
    return ', '.join(group.label for group in groups)


def _compare_task(groups: Sequence[Group]) -> Iterator[Ordered]:
    yield from _answer(groups, '{score} (%) at iteration 0', 'mIoU', 'start', True)
    if not agree(groups, length_of):
        yield f'Not compared further, because their lengths or last iterations differ: {_names(groups)}.', ()
        return
    for question in OF_THE_WHOLE:
        yield from _answer(groups, *question)
    yield from _recovery(groups)
    if same_source(groups):
        yield from _answer(
            groups, "Points of mIoU lost on the source's data {end}", 'forgetting', 'drop', False
        )
    else:
        yield 'What they forget is not compared, because it was measured on different data.', ()


def _answer(
    groups: Sequence[Group], text: str, subject: str, measure: str, largest: bool
) -> Iterator[Ordered]:
    if subject in MEAN_IOUS:
        subject = leading(groups)[MEAN_IOUS.index(subject)]
    answers = [_answer_of(group, lambda run: run.figures.get(subject, {}).get(measure)) for group in groups]
    found = [answer for answer in answers if mean(answer.value) is not None]
    found.sort(key=lambda answer: mean(answer.value), reverse=largest)
    if len(found) < 2 or abs(mean(found[0].value) - mean(found[-1].value)) < SHOWN:
        return
    last, whole = length_of(groups[0].runs[0])
    end = 'at the end' if last >= whole else f'at iteration {last} of {whole}'
    text = text.format(score=subject, end=end)
    show = count if 'iter' in measure else percent
    if 'drop' in measure and show(found[0].value).startswith('-'):
        text += ' (below 0: a rise)'
    values = ', '.join(f'{answer.group.label} {show(answer.value)}' for answer in found)
    yield f'{"; ".join([f"{text}: {values}", *_hedges(*found)])}.', found


def recovery_of(group: Group, score: str) -> Answer:
    """When the runs that fell were back at their start; None of those that did not fall or come."""
    return _answer_of(group, lambda run: run.figures[score]['recovery_iter'] if run.fell(score) else None)


def _answer_of(group: Group, figure: Callable[[MeasuredRun], float | None]) -> Answer:
    runs = [figure(run) for run in group.runs]
    return Answer(group, estimate_over_seeds(runs, _seeds(group)) if group.several else runs[0], runs)


def _recovery(groups: Sequence[Group]) -> Iterator[Ordered]:
    """Who came back to the mIoU of iteration 0 and when, unless all did alike."""
    score = leading(groups)[0]
    found = []
    for group in groups:
        if all(run.figures[score]['dip'] is not None for run in group.runs):
            answer, fell = recovery_of(group, score), sum(run.fell(score) for run in group.runs)
            found.append((answer, fell, fell - sum(iteration is not None for iteration in answer.runs)))
    if len({(fell / len(a.runs), away / len(a.runs), mean(a.value)) for a, fell, away in found}) < 2:
        return
    back = sorted((a for a, *_ in found if mean(a.value) is not None), key=lambda a: mean(a.value))
    parts = []
    if back:
        when = ', '.join(f'{answer.group.label} {count(answer.value)}' for answer in back)
        parts.append(f'back at its start at iteration: {when}')
    if stayed := [f'{a.group.label} ({away} of {fell} that fell)' for a, fell, away in found if away]:
        parts.append(f'not back: {", ".join(stayed)}')
    if above := [answer.group for answer, fell, _ in found if not fell]:
        parts.append(f'never below it: {_names(above)}')
    if len(back) > 1:
        parts += _hedges(*back)
    yield f'{score} is {"; ".join(parts)}.', back if len(back) > 1 else ()


def _hedges(leader: Answer, *others: Answer) -> list[str]:
    """What the seeds say about the order of values, of which the first leads."""
    pairs: dict[int, list[str]] = {}
    apart = []
    for other in others:
        paired = estimate_difference(*((answer.runs, _seeds(answer.group)) for answer in (leader, other)))
        if paired.low is None:
            apart.append(other)
            continue
        difference = f'{paired.mean:.2f} [{paired.low:.2f}, {paired.high:.2f}]'
        if paired.low == paired.high:
            # Of iterations that are multiples of the validation interval.
            difference = f'{paired.mean:.2f} in each'
        elif paired.low <= 0 <= paired.high:
            difference += f' ({UNSURE})'
        pairs.setdefault(paired.count, []).append(f'{other.group.label} {difference}')
    parts = [
        f'paired by n = {seeds} seeds, {leader.group.label} less {", less ".join(found)}'
        for seeds, found in pairs.items()
    ]
    apart = [answer for answer in apart if not _is_of_one(answer)]
    if not apart or _is_of_one(leader):
        return parts
    first, name = leader.value, leader.group.label
    close = [a for a in apart if a.value.low <= first.high and first.low <= a.value.high]
    names = _names([answer.group for answer in close or apart])
    said = f'the 95 % interval of the mean of {name} does not overlap with {names}'
    if close:
        said = f'the 95 % intervals of the means of {name} and {names} overlap'
    counts = ', '.join(str(answer.value.count) for answer in (leader, *apart))
    return [*parts, f'{said} (n = {counts}, not paired by seeds)']


def _is_of_one(answer: Answer) -> bool:
    """Whether a value is of one seed, which has no interval."""
    return not isinstance(answer.value, Estimate) or answer.value.low is None


def _seeds(group: Group) -> list[int | None]:
    return [run.seed for run in group.runs]
