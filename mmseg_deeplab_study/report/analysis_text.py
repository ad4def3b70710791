"""Analyses of adaptations as tables for a terminal."""

from collections.abc import Mapping

from rich.table import Table

from ..evaluation.adaptation import CLASS_PREFIX, classes_early_to_late
from ..evaluation.history import PROBE
from ..evaluation.scores import LABELLED, MEAN_IOUS
from ..evaluation.seeds import Estimate
from ..tables import make_table, table_text
from .analysis import (
    HALF,
    NO_SOURCE,
    Analysis,
    Group,
    Value,
    leading,
    mean,
    to_iou,
    to_share,
)

# Two falls, and the names that both have wherever they are shown.
SOURCE_DROP, DIP = "drop from source's view", 'dip from iteration 0'


def as_text(analysis: Analysis) -> str:
    """Tables and lines for a terminal: percentages with one decimal, ``-`` for none."""
    return '\n\n'.join(_group_as_text(group, analysis) for group in analysis.groups)


def _group_as_text(group: Group, analysis: Analysis) -> str:
    several = len(group.runs) > 1
    title = f'{group.name} [95 % interval of the mean, n = {group.seeds}]' if several else group.name
    return '\n'.join(
        [
            title,
            *([NO_SOURCE] if any(run.no_source for run in group.runs) else []),
            table_text(score_table(group)),
            table_text(class_table(group, analysis)),
            *lines(group),
        ]
    )


def score_table(group: Group) -> Table:
    """The scores of each run of a group and, of several runs, their mean.

    Where the set lacks classes, means over the labelled ones come first; elsewhere they are the same.
    """
    columns = ("source's view", 'at 0', 'lowest (iteration)', SOURCE_DROP, DIP, 'recovered at')
    several = len(group.runs) > 1
    first = ['%', 'run'] if several else ['%']
    table = make_table([*first, *columns, 'best (iteration)', 'last', 'area'], left=len(first))
    means = [*LABELLED, *MEAN_IOUS] if leading([group]) == LABELLED else MEAN_IOUS
    for score in (*means, 'BIoU', *(f'{PROBE}/{score}' for score in means)):
        rows = [(run.name, run.figures) for run in group.runs]
        rows += [('mean', group.figures)] if several else []
        for name, figures in rows:
            row = figures.get(score)
            if row is None:
                continue
            table.add_row(
                *([score, name] if several else [score]),
                percent(row['source']),
                percent(row['start']),
                percent_at(row, 'lowest'),
                percent(row['source_drop']),
                percent(row['dip']),
                count(row['recovery_iter']),
                percent_at(row, 'best'),
                percent(row['last']),
                percent(row['area']),
                end_section=several and name == 'mean',
            )
    return table


def class_table(group: Group, analysis: Analysis) -> Table:
    """The classes of a group, early to late; one whose best is below ``MIN_BEST`` is neither."""
    columns = ("source's view", 'at 0', SOURCE_DROP, DIP, 'best (iteration)', 'last')
    reached = (f'iterations to {analysis.iou:g} %', f'to {100 * analysis.share:g} % of best')
    table = make_table(['IoU (%), early to late', 'seen', *columns, *reached], left=2)
    seen = {timing.name: timing.seen for run in group.runs for timing in classes_early_to_late(run.history)}
    subjects = {CLASS_PREFIX + name: name for name in seen}

    def earliness(subject: str) -> tuple[bool, float]:
        half = mean(group.figures[subject][HALF])
        return half is None, half or 0

    for subject in sorted(subjects, key=earliness):
        row, name = group.figures[subject], subjects[subject]
        table.add_row(
            name,
            yes_or_no(seen[name]),
            percent(row['source']),
            percent(row['start']),
            percent(row['source_drop']),
            percent(row['dip']),
            percent_at(row, 'best'),
            percent(row['last']),
            count(row[to_iou(analysis.iou)]),
            count(row[to_share(analysis.share)]),
        )
    return table


def lines(group: Group) -> list[str]:
    """Lead of the seen classes, where there was a source model, forgetting and probe, a line each."""
    figures = group.figures
    lead, forgetting, probe = (figures[subject] for subject in ('seen_lead', 'forgetting', 'probe'))
    seen, unseen = (count(lead[f'{part}_iter']) for part in ('seen', 'unseen'))
    found = [
        f'lead of the seen classes: {count(lead["iterations"])} iterations '
        f'(half their best at {seen}, the unseen at {unseen})',
        'forgetting: -',
        'probe: -',
    ]
    if forgetting:
        found[1] = (
            f"forgetting: mIoU on the source's data {percent(forgetting['start'])} at 0, "
            f'{percent_at(forgetting, "last")} last, drop {percent(forgetting["drop"])} points'
        )
    if probe:
        found[2] = (
            f'probe: mIoU off by {percent(probe["mean"])} points in the mean, {percent(probe["largest"])} '
            f'at most, over {count(probe["points"])} validations; full mIoU inside its interval at '
            f'{count(probe["inside"])} of {count(probe["intervals"])}'
        )
    return found[1:] if all(run.no_source for run in group.runs) else found


def yes_or_no(value: bool | None) -> str:
    """The cell of something that is so or not; ``-`` where it is not known."""
    return {True: 'yes', False: 'no', None: '-'}[value]


def percent(value: Value) -> str:
    """One decimal; of several seeds the mean and its interval; ``-`` for none."""
    if isinstance(value, Estimate):
        return _estimate(value)
    return '-' if value is None else _rounded(value)


def count(value: Value) -> str:
    """A whole number; of several seeds the mean and its interval; ``-`` for none."""
    if isinstance(value, Estimate):
        return _estimate(value)
    return '-' if value is None else str(value)


def percent_at(row: Mapping[str, Value], measure: str) -> str:
    """A score with the iteration it stands at."""
    if row[measure] is None or (isinstance(row[measure], Estimate) and row[measure].mean is None):
        return '-'
    return f'{percent(row[measure])} ({count(row[f"{measure}_iter"])})'


def _estimate(value: Estimate) -> str:
    if value.mean is None:
        return '-'
    interval = '' if value.low is None else f' [{_rounded(value.low)}, {_rounded(value.high)}]'
    fewer = f' ({value.count} of {value.seeds})' if value.count < value.seeds else ''
    return f'{_rounded(value.mean)}{interval}{fewer}'


def _rounded(value: float) -> str:
    text = f'{value:.1f}'
    return '0.0' if text == '-0.0' else text
