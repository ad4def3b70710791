"""Tables of the experiments side by side: their scores, and accuracy beside what a model costs."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .analysis import Group, leading, mean
from .analysis_text import DIP, SOURCE_DROP, cell, count
from .comparisons import agree, best_of, length_of, recovery_of, same_source, task_of
from .costs import common_times, model_cost, same_hardware


class Cell(NamedTuple):
    """What is shown of an experiment in a column, whether it is the best, and its bar: a share in percent."""

    shown: str
    best: bool
    bar: float | None = None


Column = tuple[str, Sequence[Cell]]


def side_by_side(groups: Sequence[Group], columns: Iterator[Column]) -> dict[str, Any]:
    """The experiments as rows of a table; columns without any value are left out."""
    known = [column for column in columns if any(cell.shown != '-' for cell in column[1])]
    return {
        'columns': [title for title, _ in known],
        'rows': [
            {'name': group.label, 'seeds': group.seeds, 'cells': [cells[place] for _, cells in known]}
            for place, group in enumerate(groups)
        ],
    }


def cost_columns(groups: Sequence[Group]) -> Iterator[Column]:
    """Accuracy, and what a model costs, with bars where there is something to compare."""
    costs = [model_cost(group) for group in groups]
    parameters, operations, times = zip(*costs, strict=True)
    # Only like is compared with like: images of one set, and time on one machine.
    small = False if agree(groups, task_of) else None
    soon = small if same_hardware(groups) else None

    def column(
        title: str,
        values: Sequence[float | None],
        unit: float,
        shape: str,
        largest: bool | None,
        ranked: Sequence[float | None] | None = None,
    ) -> Column:
        most = max((value for value in values if value is not None), default=0)
        bars = [round(100 * value / most, 1) if value and len(values) > 1 else None for value in values]
        shown = ['-' if value is None else shape.format(value / unit) for value in values]
        best = [False] * len(values) if largest is None else best_of(ranked or values, largest)
        return title, [Cell(*cell) for cell in zip(shown, best, bars, strict=True)]

    score = leading(groups)[0]
    last = [mean(group.figures[score]['last']) for group in groups]
    high = True if agree(groups, task_of) and agree(groups, length_of) else None
    yield column(f'last {score} (%)', last, 1, '{:.1f}', high)
    yield column('parameters', parameters, 1e6, '{:.2f} M', False)
    yield column('multiply-adds an image', operations, 1e9, '{:.2f} G', small)
    yield column('validation, ms an image', times, 1, '{:.0f}', soon, common_times(costs))


def _group_column(
    groups: Sequence[Group], title: str, subject: str, measure: str, largest: bool | None
) -> Column:
    rows = [group.figures.get(subject, {}) for group in groups]
    values = [row.get(measure) for row in rows]
    best = [False] * len(values) if largest is None else best_of(values, largest)
    return title, [Cell(cell(row, measure), first) for row, first in zip(rows, best, strict=True)]


def score_columns(groups: Sequence[Group]) -> Iterator[Column]:
    """What matters most, as many columns as fit on a screen."""
    miou, seen, unseen = leading(groups)
    # Only like is compared with like.
    start = True if agree(groups, task_of) else None
    high, low = (start, False) if start and agree(groups, length_of) else (None, None)
    yield _group_column(groups, "source's view", miou, 'source', start)
    yield _group_column(groups, 'at iteration 0', miou, 'start', start)
    yield _group_column(groups, DIP, miou, 'dip', low)
    # Who never fell has none.
    back = [recovery_of(group, miou).value for group in groups]
    yield 'recovered at', [Cell(count(value), False) for value in back]
    yield _group_column(groups, 'last', miou, 'last', high)
    yield _group_column(groups, 'seen classes, last', seen, 'last', high)
    yield _group_column(groups, 'unseen classes, last', unseen, 'last', high)
    yield _group_column(groups, 'lead of seen classes', 'seen_lead', 'iterations', None)


def more_columns(groups: Sequence[Group]) -> Iterator[Column]:
    """The other scores of the summary."""
    miou, alike = leading(groups)[0], same_source(groups)
    start = True if agree(groups, task_of) else None
    high, low = (start, False) if start and agree(groups, length_of) else (None, None)
    yield _group_column(groups, SOURCE_DROP, miou, 'source_drop', low)
    yield _group_column(groups, 'best (iteration)', miou, 'best', high)
    yield _group_column(groups, 'area', miou, 'area', high)
    yield _group_column(groups, 'Boundary IoU, last', 'BIoU', 'last', high)
    yield _group_column(groups, "on the source's data, at 0", 'forgetting', 'start', start if alike else None)
    yield _group_column(groups, 'of that forgotten', 'forgetting', 'drop', low if alike else None)
