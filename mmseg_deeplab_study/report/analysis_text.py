"""Analyses of adaptations as tables for a terminal."""

from collections.abc import Collection, Mapping

from rich.table import Table

from ..evaluation.adaptation import classes_early_to_late
from ..evaluation.metrics.scores import LABELLED, MEAN_IOUS
from ..evaluation.score_curves import CLASS_PREFIX
from ..evaluation.seeds import Estimate
from ..runs.history import SubsetName
from ..tables import duration_text, make_table, table_text
from .analysis import (
    HALF,
    NO_SOURCE,
    Analysis,
    Group,
    Value,
    cost_to,
    leading,
    mean,
    to_iou,
    to_share,
    whose_drop,
)

# Two falls, and the names that both have wherever they are shown.
SOURCE_DROP, DIP = "drop from source's view", 'dip from iteration 0'
# Columns of both tables: what they are called, and the measure.
BEFORE = {"source's view": 'source', 'at 0': 'start'}
FALLS = {SOURCE_DROP: 'source_drop', DIP: 'dip'}
AFTER = {'best (iteration)': 'best', 'last': 'last'}
PREFIXES = ((1e15, 'P'), (1e12, 'T'), (1e9, 'G'), (1e6, 'M'))


def as_text(analysis: Analysis) -> str:
    """Tables and lines for a terminal: percentages with one decimal, ``-`` for none."""
    texts = []
    for group in analysis.groups:
        several = f' [95 % interval of the mean, n = {group.seeds}]' if group.several else ''
        found = [group.name + several, *([NO_SOURCE] if any(run.no_source for run in group.runs) else [])]
        found += [table_text(table) for table in (score_table(group), class_table(group, analysis))]
        texts.append('\n'.join([*found, *lines(group, analysis)]))
    return '\n\n'.join(texts)


def score_table(group: Group) -> Table:
    """The scores of each run of a group and, of several runs, their mean.

    Where the set lacks classes, means over the labelled ones come first; elsewhere they are the same.
    """
    columns = {**BEFORE, 'lowest (iteration)': 'lowest', **FALLS, 'recovered at': 'recovery_iter'}
    columns |= {**AFTER, 'area': 'area'}
    names = ['%', 'run'] if group.several else ['%']
    table = make_table([*names, *columns], left=len(names))
    means = [*LABELLED, *MEAN_IOUS] if leading([group]) == LABELLED else MEAN_IOUS
    for score in (*means, 'BIoU', *(f'{SubsetName.PROBE}/{score}' for score in means)):
        rows = [(run.name, run.figures) for run in group.runs]
        rows += [('mean', group.figures)] if group.several else []
        for name, figures in rows:
            if row := figures.get(score):
                cells = (cell(row, measure) for measure in columns.values())
                table.add_row(
                    *(score, name)[: len(names)], *cells, end_section=group.several and name == 'mean'
                )
    return table


def class_table(group: Group, analysis: Analysis, without: Collection[str] = ()) -> Table:
    """The classes of a group, early to late, then those below ``MIN_BEST``; ``without`` some."""
    columns = {**BEFORE, **FALLS, **AFTER, f'iterations to {analysis.iou:g} %': to_iou(analysis.iou)}
    columns[f'to {100 * analysis.share:g} % of best'] = to_share(analysis.share)
    table = make_table(['IoU (%), early to late', 'seen', *columns], left=2)
    seen = {timing.name: timing.seen for run in group.runs for timing in classes_early_to_late(run.history)}

    def earliness(name: str) -> tuple[bool, float]:
        half = mean(group.figures[CLASS_PREFIX + name][HALF])
        return half is None, half or 0

    for name in sorted((name for name in seen if name not in without), key=earliness):
        row = group.figures[CLASS_PREFIX + name]
        table.add_row(name, yes_or_no(seen[name]), *(cell(row, measure) for measure in columns.values()))
    return table


def lines(group: Group, analysis: Analysis) -> list[str]:
    """Lead of the seen classes, forgetting, probe, cost and source's classifier if read, a line each."""
    figures = group.figures
    lead, forgetting, probe = (figures[subject] for subject in ('seen_lead', 'forgetting', 'probe'))
    seen, unseen = (count(lead[f'{part}_iter']) for part in ('seen', 'unseen'))
    found = [
        f'lead of the seen classes: {count(lead["iterations"])} iterations '
        f'(half their best at {seen}, the unseen at {unseen})',
        'forgetting: -',
        'probe: -',
        _cost_line(group, analysis),
    ]
    if forgetting:
        last = f'{percent(forgetting["last"])} ({count(forgetting["last_iter"])})'
        drop = fall(forgetting['drop'])
        found[1] = (
            f"forgetting: mIoU on the source's data {percent(forgetting['start'])} at 0, {last} last, "
            f'{drop if "rise" in drop else f"drop {drop}"} points'
        )
    if probe:
        found[2] = (
            f'probe: mIoU off by {percent(probe["mean"])} points in the mean, {percent(probe["largest"])} '
            f'at most, over {count(probe["points"])} validations; full mIoU inside its interval at '
            f'{count(probe["inside"])} of {count(probe["intervals"])}'
        )
    if row := figures['source_classifier']:
        found.append(_source_classifier_line(row))
    return found[1:] if all(run.no_source for run in group.runs) else found


def _source_classifier_line(row: Mapping[str, Value]) -> str:
    return (
        f"source's classifier: at {count(row['iteration'])}, the lowest of the seen classes, new classifier "
        f"{percent(row['head'])}, source's on the same features {percent(row['features'])}, source's view "
        f"{percent(row['source'])} ({whose_drop(row)}); last through the source's {percent(row['last'])}"
    )


def _cost_line(group: Group, analysis: Analysis) -> str:
    score = leading([group])[0]
    parts = []
    for end, measure in ((f'{analysis.iou:g} % {score}', to_iou(analysis.iou)), ('half its best', HALF)):
        cells = cost_cells(group.figures[score], measure)
        spent = (
            f'{text} {part}'.removesuffix(' training time') for part, text in cells.items() if text != '-'
        )
        parts.append(f'{end} after {", ".join(spent) or "-"}')
    return f'cost: {"; ".join(parts)}'


def cost_cells(row: Mapping[str, Value], measure: str) -> dict[str, str]:
    """What it took to where ``measure`` counts iterations to, by what is counted; ``-`` for none.

    Of several seeds the iterations have their interval, the others are means.
    """
    shows = {
        'images': ('images', lambda value: f'{value:,.0f}'),
        'seconds': ('training time', lambda value: duration_text(round(value))),
        'multiply_adds': ('multiply-adds', prefixed),
    }
    cells = {'iterations': count(row[measure])}
    for part, (title, show) in shows.items():
        value = mean(row[cost_to(measure, part)])
        cells[title] = '-' if value is None else show(value)
    return cells


def prefixed(value: float) -> str:
    """A large number in the largest of ``PREFIXES`` that it reaches: ``1.20 T``."""
    unit, prefix = next((found for found in PREFIXES if value >= found[0]), PREFIXES[-1])
    return f'{value / unit:.2f} {prefix}'


def yes_or_no(value: bool | None) -> str:
    """The cell of something that is so or not; ``-`` where it is not known."""
    return {True: 'yes', False: 'no', None: '-'}[value]


def cell(row: Mapping[str, Value], measure: str) -> str:
    """A measure of a row of figures: with its iteration, as a count, or in percent."""
    value = row.get(measure)
    if measure in ('lowest', 'best') and mean(value) is not None:
        return f'{percent(value)} ({count(row[f"{measure}_iter"])})'
    if 'drop' in measure:
        return fall(value)
    return count(value) if 'iter' in measure else percent(value)


def percent(value: Value) -> str:
    """One decimal; of several seeds the mean and, unless all agree, its interval; ``-`` for none."""
    if not isinstance(value, Estimate):
        return '-' if value is None else _rounded(value)
    if value.mean is None:
        return '-'
    interval = '' if value.low == value.high else f' [{_rounded(value.low)}, {_rounded(value.high)}]'
    fewer = f' ({value.count} of {value.seeds})' if value.count < value.seeds else ''
    return f'{_rounded(value.mean)}{interval}{fewer}'


def fall(value: Value) -> str:
    """As ``percent``, of a fall in points; a negative one is a rise, and called that."""
    middle = mean(value)
    if middle is None or float(_rounded(middle)) >= 0:
        return percent(value)
    return f'rise {percent(negated(value))}'


def negated(value: float | Estimate) -> float | Estimate:
    """The same with the other sign, its interval too."""
    if not isinstance(value, Estimate):
        return -value
    low, high = (None if end is None else -end for end in (value.high, value.low))
    return value._replace(mean=-value.mean, low=low, high=high)


def below(drop: Value) -> str:
    """How far something is below, or, of a negative drop, above: ``7.4 points below``."""
    text = fall(drop)
    return f'{text.removeprefix("rise ")} points {"above" if text.startswith("rise ") else "below"}'


def count(value: Value) -> str:
    """A whole number; of several seeds as ``percent``; ``-`` for none."""
    return percent(value) if value is None or isinstance(value, Estimate) else str(value)


def _rounded(value: float) -> str:
    text = f'{value:.1f}'
    return '0.0' if text == '-0.0' else text
