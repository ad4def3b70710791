"""What experiments cost: to get to an mIoU, and accuracy against cost."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from ..tables import Cells
from .analysis import HALF, Analysis, Group, leading, mean, to_iou
from .analysis_text import cost_cells, percent, prefixed
from .comparisons import agree, length_of, task_of


class ModelCost(NamedTuple):
    """Parameters, multiply-adds of a validation image, median milliseconds of validating one."""

    parameters: int | None
    multiply_adds: int | None
    milliseconds: float | None


class TradeOff(NamedTuple):
    """Accuracy against one cost: by group ``costs``, None where it or the score is not known.

    ``shown`` are these as text, ``log`` is whether they span more than a factor of ten, and ``front`` are the
    places of the groups on the Pareto front, cheapest first.
    """

    title: str
    costs: list[float | None]
    shown: list[str]
    log: bool
    front: list[int]
    sentence: str


def cost_table(analysis: Analysis) -> Cells:
    """What each experiment took to get there and to its end; columns without a value are left out."""
    score = leading(analysis.groups)[0]
    ends = {f'to {analysis.iou:g} %': (score, to_iou(analysis.iou)), 'to half the best': (score, HALF)}
    ends['in all'] = ('cost', 'iterations')
    columns: dict[str, list[str]] = {}
    for end, (subject, measure) in ends.items():
        for group in analysis.groups:
            for part, text in cost_cells(group.figures[subject], measure).items():
                columns.setdefault(f'{part}, {end}', []).append(text)
    known = {title: texts for title, texts in columns.items() if set(texts) != {'-'}}
    rows = zip((group.label for group in analysis.groups), *known.values(), strict=True)
    return ['experiment', *known], list(rows)


def model_cost(group: Group) -> ModelCost:
    """What a group's model costs; the time is over the validations of all its runs."""
    headers = [run.history.header for run in group.runs]
    model = next((header['model'] for header in headers if header.get('model')), {})
    times = [
        1000 * row['seconds'] / row['images']
        for run in group.runs
        for row in run.history.validations
        if row.get('seconds') and row.get('images')
    ]
    return ModelCost(model.get('parameters'), model.get('multiply_adds'), median(times) if times else None)


def common_times(costs: Sequence[ModelCost]) -> list[float | None]:
    """Milliseconds by model: what two runs of one model differ in is the machine's."""
    return [
        time if time is None else median(t for *other, t in costs if other == model and t is not None)
        for *model, time in costs
    ]


def same_hardware(groups: Sequence[Group]) -> bool:
    """Whether times may be compared."""
    return agree(groups, lambda run: repr(run.history.header.get('hardware')))


def pareto_front(costs: Sequence[float | None], scores: Sequence[float | None]) -> list[int]:
    """Places that none beats, cheapest first: with no more cost and no less score, one of them better.

    What is equal in both is on the front together. A place where either is None is not.
    """
    known = [(place, *pair) for place, pair in enumerate(zip(costs, scores, strict=True)) if None not in pair]
    front = [
        (cost, place)
        for place, cost, score in known
        if not any(c <= cost and s >= score and (c, s) != (cost, score) for _, c, s in known)
    ]
    return [place for _, place in sorted(front)]


def trade_offs(groups: Sequence[Group]) -> list[TradeOff]:
    """The last leading mIoU against each cost in which at least two experiments differ.

    Of one task alone; against what a model costs only where all are equally far and long, against time only
    on the same hardware.
    """
    if not agree(groups, task_of):
        return []
    models = [model_cost(group) for group in groups]
    costs = {
        'multiply-adds of all training': [mean(group.figures['cost']['multiply_adds']) for group in groups]
    }
    if agree(groups, length_of):
        operations = {'multiply-adds of a validation image': [model.multiply_adds for model in models]}
        costs = {**operations, 'parameters': [model.parameters for model in models], **costs}
        if same_hardware(groups):
            costs['milliseconds of validating an image'] = common_times(models)
    score = leading(groups)[0]
    scores = [mean(group.figures[score]['last']) for group in groups]
    return [off for title, values in costs.items() if (off := _trade_off(title, groups, values, scores))]


def _trade_off(
    title: str, groups: Sequence[Group], costs: Sequence[float | None], scores: Sequence[float | None]
) -> TradeOff | None:
    # As floats, which means over seeds are: large integers are not equal to their own.
    costs = [
        None if None in (cost, score) else float(cost) for cost, score in zip(costs, scores, strict=True)
    ]
    known = {cost for cost in costs if cost is not None}
    if len(known) < 2:
        return None
    show = '{:.0f} ms'.format if title.startswith('milliseconds') else prefixed
    shown = ['-' if cost is None else show(cost) for cost in costs]
    # As the page shows scores: what cannot be seen makes none better.
    front = pareto_front(costs, [None if score is None else round(score, 1) for score in scores])
    names = ', '.join(f'{groups[i].label} ({shown[i]}, {percent(scores[i])} %)' for i in front)
    log = max(known) > 10 * min(known) > 0
    return TradeOff(title, costs, shown, log, front, f'On the Pareto front by {title}: {names}.')
