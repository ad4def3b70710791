"""The figures of adaptations, for a look and for a paper, drawn by matplotlib."""

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import count, cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from ..atomic_file import write_atomically
from ..evaluation.adaptation import class_names, source_row
from ..evaluation.head_or_features import both_curves, seen_mean
from ..evaluation.score_curves import (
    CLASS_PREFIX,
    find_score,
    rows_with,
    score_curve,
    summarise_adaptation,
)
from ..evaluation.seeds import Estimate
from ..runs.history import History
from .analysis import SHOWN, Analysis, Group, leading, leading_scores, mean
from .costs import trade_offs
from .curves import COLOURS, series_csv
from .paper_pictures import COLUMN, GREY, LEGEND, LINE, RC, predictions_figure, source_figure

# Of a quick figure: line style, line width in points, what the legend adds to the run's name.
LINES = (('-', 2.2, ''), ('--', 1.0, 'seen classes'), ('-.', 1.0, 'unseen classes'))
# Of coprime lengths, so that lines differ in one of them, also in grey, long after the colours repeat.
STYLES, MARKERS = ('-', '--', '-.', ':'), ('s', '^', 'D', 'v', 'P', 'X', '*')
RING = dict(marker='o', markersize=7, markeredgewidth=1, fillstyle='none', linestyle='none')


def plot_curves(
    history: History | Mapping[str, History], classes: Sequence[str] = (), title: str = ''
) -> Figure:
    """Plot the leading mIoU (%) of a record, or of several by name, over the iterations.

    Thin lines are the means over seen (dashed) and unseen (dash-dotted) classes, those with marks the IoU of
    ``classes`` and the probe's mIoU. A dotted line is the source's view, of the leading mIoU and of
    ``classes``. A ring marks the lowest point of a fall below iteration 0.

    Raises:
        ValueError: there is no record, one has no validation with an mIoU, or none of them knows a class.
    """
    runs = {'': history} if isinstance(history, History) else history
    _check_records(runs, classes)
    figure = Figure(figsize=(8, 4.8), layout='constrained')
    axes = figure.add_subplot()
    scores = leading_scores(runs.values())
    colours = cycle(COLOURS)
    for name, run in runs.items():
        colour = next(colours)
        rows = run.validations
        for score, (style, width, what) in zip(scores, LINES, strict=True):
            look = dict(color=colour, linestyle=style, linewidth=width)
            _draw_curve(axes, rows, score, _label(name, what), look)
        _draw_curve(axes, run.probed, 'mIoU', _label(name, 'probe'), dict(color=colour, lw=0.8, marker='.'))
        _draw_source(axes, run, scores[0], _label(name, "source's view"), colour)
        for place, one in enumerate(classes):
            look = dict(
                color=next(colours), linewidth=1.0, marker=MARKERS[place % len(MARKERS)], markersize=3
            )
            score = CLASS_PREFIX + one
            _draw_curve(axes, rows, score, _label(name, one), look)
            _draw_source(axes, run, score, _label(name, f"{one}, source's view"), look['color'])
        if score_curve(rows, scores[0]):
            found = summarise_adaptation(rows, scores[0])
            if (found.dip or 0) >= SHOWN:
                look = dict(color=colour, markersize=9, fillstyle='none')
                axes.plot(found.lowest_iter, found.lowest, 'o', **look)
    _set_axes(axes, scores[0])
    axes.set_title(title)
    axes.legend(fontsize='small', frameon=False)
    return figure


def _check_records(runs: Mapping[str, History], classes: Sequence[str]) -> None:
    if not runs:
        raise ValueError('history={}: expected a record, or several by name; read one by read_history')
    for name, run in runs.items():
        if not rows_with(run.validations, 'mIoU'):
            raise ValueError(
                f'history{f"[{name!r}]" if name else ""}: expected a validation with an mIoU, but none of '
                f'{len(run.validations)} has one; draw it once iteration 0 is validated'
            )
    known = list(dict.fromkeys(name for run in runs.values() for name in class_names(run)))
    if unknown := [name for name in classes if name not in known]:
        raise ValueError(f'classes={unknown}: not in the record; expected some of {", ".join(known)}')


def _label(name: str, what: str) -> str:
    return ', '.join(part for part in (name, what) if part) or 'all classes'


def _draw_curve(
    axes: Axes, rows: Sequence[Mapping[str, Any]], score: str, label: str, look: Mapping[str, Any]
) -> None:
    if curve := score_curve(rows, score):
        axes.plot(*zip(*curve, strict=True), label=label, **look)


def _draw_source(axes: Axes, run: History, score: str, label: str, colour: str) -> None:
    value = find_score(source_row(run) or {}, score)
    if value is not None:
        axes.axhline(value, color=colour, linestyle=':', linewidth=1.2, label=label)


def draw_adaptation(analysis: Analysis, path: Path, title: str = '') -> Path:
    """Write ``plot_curves`` of the runs in the format of the suffix; ValueError for another."""
    kinds = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds or path.is_dir():
        raise ValueError(f'{path}: expected a file name that ends in one of .{", .".join(sorted(kinds))}')
    path.parent.mkdir(parents=True, exist_ok=True)
    histories = {run.name: run.history for run in analysis.runs}
    plot_curves(histories, title=title).savefig(path, dpi=150)
    return path


def _set_axes(axes: Axes, score: str) -> None:
    axes.set(xlabel='iteration (updates done)', ylabel=f'{score} (%)', xlim=(0, None), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)


def write_figures(analysis: Analysis, folder: Path) -> list[Path]:
    """Write the figures as PDF and PNG, and ``series.csv``; returns what was written.

    Numbers are the study's: 3 the source's view, from 4 on each experiment's predictions, then the curves,
    accuracy against cost, and the new head or the features. Figures of what no run has are left out. The same
    runs give the same bytes.
    """
    source = source_figure(analysis)
    score = leading(analysis.groups)[0]
    figures = {'figure3_source_view': source} if source else {}
    numbers = count(4)
    for group in analysis.groups:
        for run in [r for r in group.runs if r.folder.images and r.folder.snapshots][:1]:
            slug = re.sub(r'[^A-Za-z0-9._-]+', '-', run.name).strip('-.')[:80] or 'run'
            figures[f'figure{next(numbers)}_predictions_{slug}'] = predictions_figure(run, score)
    figures[f'figure{next(numbers)}_curves'] = curves_figure(analysis)
    if cost := cost_figure(analysis):
        figures[f'figure{next(numbers)}_cost'] = cost
    if readout := head_or_features_figure(analysis):
        figures[f'figure{next(numbers)}_head_or_features'] = readout
    paths = [path for name, figure in figures.items() for path in _save(figure, folder, name)]
    write_atomically(folder / 'series.csv', series_csv(analysis).encode())
    return [*paths, folder / 'series.csv']


@rc_context(RC)
def curves_figure(analysis: Analysis) -> Figure:
    """Plot the leading mIoU of every experiment, of seeds their mean and range.

    Over the iterations that all seeds have. Rings are at iteration 0 and at the lowest point of a fall.
    """
    figure = Figure(layout='constrained')
    axes = figure.add_subplot()
    score = leading(analysis.groups)[0]
    lines = (_draw_group(axes, group, place, score) for place, group in enumerate(analysis.groups))
    handles = [line for line in lines if line]
    if axes.collections:
        handles.append(Patch(color=GREY, alpha=0.3, linewidth=0, label='lowest to highest seed'))
    if any(line.get_marker() == RING['marker'] for line in axes.lines):
        handles.append(Line2D([], [], color=GREY, label='iteration 0, and lowest point of a fall', **RING))
    figure.set_size_inches(COLUMN, 2.1 + LINE * sum(1 + h.get_label().count('\n') for h in handles))
    figure.legend(handles=handles, **LEGEND)
    axes.locator_params('x', nbins=6, integer=True)
    _set_axes(axes, score)
    return figure


def _draw_group(axes: Axes, group: Group, place: int, score: str) -> Line2D | None:
    curves = [dict(score_curve(run.history.validations, score)) for run in group.runs]
    iterations = sorted(set.intersection(*map(set, curves)))
    if not iterations:
        return None
    values = [[curve[i] for curve in curves] for i in iterations]
    means = [sum(scores) / len(scores) for scores in values]
    colour = COLOURS[place % len(COLOURS)]
    look = dict(linestyle=STYLES[place % len(STYLES)], marker=MARKERS[place % len(MARKERS)], color=colour)
    look |= dict(linewidth=1.2, markersize=3, markevery=max(1, len(iterations) // 10))
    (line,) = axes.plot(iterations, means, label=textwrap.fill(group.label, 48), **look)
    if len(curves) > 1:
        axes.fill_between(iterations, [*map(min, values)], [*map(max, values)], color=colour, alpha=0.2, lw=0)
    found = summarise_adaptation([{'iter': i, 'mIoU': m} for i, m in zip(iterations, means, strict=True)])
    if found.start is not None:
        # One ring where it never fell: the lowest is the start then.
        rings = {0: found.start, found.lowest_iter: found.lowest}
        axes.plot(list(rings), list(rings.values()), color=colour, clip_on=False, **RING)
    return line


@rc_context(RC)
def cost_figure(analysis: Analysis) -> Figure | None:
    """Plot the last leading mIoU against the first of ``trade_offs``, with its front; None without one.

    Bars are the intervals of means over seeds.
    """
    found = trade_offs(analysis.groups)
    if not found:
        return None
    title, costs, _, log, front, _ = found[0]
    figure = Figure(layout='constrained')
    axes = figure.add_subplot()
    score = leading(analysis.groups)[0]
    last = [group.figures[score]['last'] for group in analysis.groups]
    steps = dict(drawstyle='steps-post', color=GREY, linewidth=1, label='Pareto front')
    handles = axes.plot([costs[i] for i in front], [mean(last[i]) for i in front], **steps)
    for place, (group, cost, value) in enumerate(zip(analysis.groups, costs, last, strict=True)):
        if cost is not None:
            interval = isinstance(value, Estimate) and value.low is not None
            bars = [[value.mean - value.low], [value.high - value.mean]] if interval else None
            look = dict(color=COLOURS[place % len(COLOURS)], marker=MARKERS[place % len(MARKERS)], capsize=2)
            look |= dict(markersize=5, linestyle='none', label=textwrap.fill(group.label, 48))
            handles.append(axes.errorbar(cost, mean(value), bars, **look))
    figure.set_size_inches(COLUMN, 2.1 + LINE * sum(1 + h.get_label().count('\n') for h in handles))
    figure.legend(handles=handles, **LEGEND)
    axes.set(xlabel=title, ylabel=f'last {score} (%)', xscale='log' if log else 'linear')
    if log:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set(major_formatter=EngFormatter(), minor_formatter=NullFormatter())
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    return figure


@rc_context(RC)
def head_or_features_figure(analysis: Analysis) -> Figure | None:
    """Plot the mean over seen classes through the new classifier and the source's own.

    Of several seeds their mean, over the iterations that all have. None without rows of the source's
    classifier.
    """
    figure = Figure(layout='constrained')
    axes = figure.add_subplot()
    handles = []
    for place, group in enumerate(analysis.groups):
        row = group.figures['source_classifier']
        curves = [
            {i: scores for i, *scores in both_curves(run.history, seen_mean(run.history))}
            for run in group.runs
        ]
        iterations = sorted(set.intersection(*map(set, curves)))
        if not row or not iterations:
            continue
        means = np.mean([[curve[i] for i in iterations] for curve in curves], axis=0)
        colour = COLOURS[place % len(COLOURS)]
        look = dict(color=colour, marker=MARKERS[place % len(MARKERS)], linewidth=1.2, markersize=3)
        look |= dict(markevery=max(1, len(iterations) // 10))
        handles += axes.plot(iterations, means[:, 0], label=textwrap.fill(group.label, 48), **look)
        axes.plot(iterations, means[:, 1], '--', **look)
        axes.axhline(mean(row['source']), color=colour, linestyle=':', linewidth=0.8)
    if not handles:
        return None
    styles = {'-': 'new classifier', '--': "source's own classifier", ':': "source's view"}
    handles += [Line2D([], [], color=GREY, linestyle=style, label=label) for style, label in styles.items()]
    figure.set_size_inches(COLUMN, 2.1 + LINE * sum(1 + h.get_label().count('\n') for h in handles))
    figure.legend(handles=handles, **LEGEND)
    axes.locator_params('x', nbins=6, integer=True)
    _set_axes(axes, 'mIoU of seen classes')
    axes.autoscale(axis='y')  # what counts is how far the lines are apart
    return figure


@rc_context(RC)
def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    paths = [folder / f'{name}.{kind}' for kind in ('pdf', 'png')]
    for path in paths:
        content = io.BytesIO()
        # A date would make other bytes of the same figure.
        figure.savefig(content, format=path.suffix[1:], dpi=300, metadata={'CreationDate': None})
        write_atomically(path, content.getvalue())
    return paths
