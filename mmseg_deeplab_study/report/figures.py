"""Figures of an adaptation, drawn by matplotlib."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

from matplotlib.figure import Figure

from ..evaluation.adaptation import over_labelled, score_curve, summarise_adaptation, unlabelled_classes
from ..evaluation.history import PROBE, History
from .comparisons import SHOWN
from .curves import COLOURS

# score: line style, line width in points, what the legend adds to the run's name
LINES = {
    'mIoU': ('-', 2.2, ''),
    'mIoU.seen': ('--', 1.0, ', seen classes'),
    'mIoU.unseen': (':', 1.2, ', unseen classes'),
}


def adaptation_figure(histories: Mapping[str, History], title: str = '') -> Figure:
    """Plot the mIoU of one or more runs over the iterations.

    The key of a run names it in the legend. Thin lines are the means over its seen (dashed) and unseen
    (dotted) classes, and the mIoU of its probe if it has one (dash-dotted); a ring marks the lowest point of
    an mIoU that fell below iteration 0's. A record without iteration 0, such as the original study's, has
    none. Where a set lacks classes, means are over the labelled ones.

    Raises:
        ValueError: there is no run, or one has no validation with an mIoU; names the run.
    """
    if not histories:
        raise ValueError('a figure of adaptation needs at least one run, but got none')
    figure = Figure(figsize=(8, 4.8), layout='constrained')
    axes = figure.add_subplot()
    lacking = any(map(unlabelled_classes, histories.values()))
    for (name, history), colour in zip(histories.items(), cycle(COLOURS)):  # noqa: B905
        rows = history.validations
        names = {score: over_labelled(rows, score) if lacking else score for score in LINES}
        try:
            found = summarise_adaptation(rows, names['mIoU'])
        except ValueError as error:
            raise ValueError(f'{name}: {error}') from error
        for score, (style, width, suffix) in LINES.items():
            if curve := score_curve(rows, names[score]):
                axes.plot(
                    *zip(*curve, strict=True), style, color=colour, linewidth=width, label=name + suffix
                )
        if probed := score_curve(history.select('validation', PROBE)):
            label = f'{name}, probe'
            axes.plot(*zip(*probed, strict=True), '-.', color=colour, linewidth=0.8, label=label)
        if (found.dip or 0) >= SHOWN:
            axes.plot(found.lowest_iter, found.lowest, 'o', color=colour, markersize=9, fillstyle='none')
    axes.set(
        xlabel='iteration (updates done)',
        ylabel='mIoU over labelled classes (%)' if lacking else 'mIoU (%)',
        title=title,
    )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(fontsize='small', frameon=False)
    return figure


def draw_adaptation(histories: Mapping[str, History], path: str | Path, title: str = '') -> Path:
    """Write ``adaptation_figure`` to ``path``, whose suffix decides the format, and return the path."""
    figure = adaptation_figure(histories, title)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
