"""Label maps and photographs side by side, drawn by matplotlib for a paper."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..datasets.palettes import UNLABELLED, colour_table
from ..evaluation.adaptation import class_names
from ..evaluation.score_curves import score_curve, summarise_adaptation
from ..runs.history import read_history
from .analysis import Analysis, MeasuredRun, leading_scores
from .curves import marks
from .pictures import choose_iterations, shrink
from .runs import RunFolder

COLUMN, PAGE = 3.3, 6.9  # inches: one and two columns of a paper
SCREEN = 11  # inches: what a notebook shows without a scroll bar
GAP = 0.03  # inches between pictures
IMAGES = 3  # rows of a figure of predictions
PIXELS = 720  # width of a picture, beyond which a paper shows no more of it
LINE = 0.14  # inches that a line of text takes
GREY = '0.4'
LEGEND = dict(loc='outside lower center', frameon=False, borderpad=0.1, labelspacing=0.3, columnspacing=1)
RC = {
    **dict.fromkeys(('font.size', 'axes.titlesize', 'legend.fontsize'), 7),
    **dict.fromkeys(('axes.linewidth', 'grid.linewidth', 'xtick.major.width', 'ytick.major.width'), 0.5),
    'text.parse_math': False,  # names of runs and classes may have a $
    'pdf.fonttype': 42,  # TrueType; publishers refuse Type 3, matplotlib's own choice
}


class Picture(NamedTuple):
    """``pixels`` uint8 (H, W, 3), and (id, name, RGB) of a label map's classes."""

    pixels: np.ndarray
    classes: frozenset[tuple[int, str, tuple[int, ...]]] = frozenset()


@rc_context(RC)
def source_figure(analysis: Analysis) -> Figure | None:
    """What the source model sees, a row per experiment; None without pictures."""
    rows = []
    for group in analysis.groups:
        views = (
            (run, run.folder.photograph(image), run.folder.prediction(image, None))
            for run in group.runs
            for image in run.folder.images
        )
        for run, photograph, prediction in [view for view in views if None not in view][:1]:
            classes = run.history.header.get('source_classes') or ()
            rows.append((run.name, [_photograph(photograph), _label_map(prediction, classes)]))
    width = PAGE if any(len(name) > 24 for name, _ in rows) else COLUMN
    return _grid(width, ['photograph', "source model's prediction"], rows) if rows else None


@rc_context(RC)
def predictions_figure(run: MeasuredRun, score: str) -> Figure:
    """A run's predictions at each of the study's mIoU, and its last, by photograph."""
    folder = run.folder
    titles = _column_titles(run, list(folder.snapshots)[-1], score)
    classes = class_names(run.history)
    rows = []
    for image in folder.images[:IMAGES]:
        paths = [folder.truth(image), *(folder.prediction(image, iteration) for iteration in titles)]
        maps = (_label_map(path, classes) for path in paths)
        rows.append(('', [_photograph(folder.photograph(image)), *maps]))
    return _grid(PAGE, ['photograph', 'truth', *titles.values()], rows)


def plot_film(work_dir: str | Path, image: str | None = None, frames: int = 5) -> Figure:
    """Draw how the predictions of one image change, in a row: photograph, label maps, truth.

    The label maps are the source's view, in the colours of ``film_figure``, and the predictions at
    iteration 0, where mIoU is lowest and best, and last; others evenly spaced, up to ``frames`` of them.
    ``image`` is the stem of its file, the first with pictures if not given.

    Raises:
        FileNotFoundError: the folder has no record, or no snapshots.
        ValueError: the record cannot be read, or the run has no snapshots of ``image``.
    """
    folder = RunFolder(Path(work_dir), read_history(work_dir))
    if not (folder.images and folder.snapshots):
        raise FileNotFoundError(
            f'{folder.folder / "snapshots"}: no label maps of the iterations in the record; expected those '
            'that AdaptationHook(snapshots=N) keeps of N images'
        )
    if image is not None and image not in folder.images:
        raise ValueError(f'image={image!r}: no snapshots; expected one of {", ".join(folder.images)}')
    rows, wanted = folder.history.validations, []
    score = leading_scores([folder.history])[0]
    if score_curve(rows, score):
        found = summarise_adaptation(rows, score)
        wanted = [found.lowest_iter, found.best_iter]
    iterations = choose_iterations(list(folder.snapshots), wanted, frames)
    return film_figure({'': folder}, iterations, image or folder.images[0], photograph=True, width=SCREEN)


@rc_context(RC)
def film_figure(
    runs: Mapping[str, RunFolder],
    iterations: Sequence[int],
    image: str,
    photograph: bool = False,
    width: float = PAGE,
) -> Figure:
    """Label maps of one image, a row per run by name: the source's view, ``iterations``, the truth.

    The source's classes have the colours of the target's that they are read as, all others are black. The
    source's view is left out where no run has one. ``photograph`` adds the image itself before them;
    ``width`` is in inches.
    """
    views = any(folder.prediction(image, None) for folder in runs.values())
    rows = []
    for name, folder in runs.items():
        header, classes, truth = folder.history.header, class_names(folder.history), folder.truth(image)
        row = [_photograph(folder.photograph(image))] if photograph else []
        if views:
            known = {match['source']: target for target, match in (header.get('matches') or {}).items()}
            names = [known.get(source) for source in header.get('source_classes') or ()]
            row.append(_read_map(folder.prediction(image, None), truth, names, classes))
        row += [_label_map(folder.prediction(image, i), classes) for i in iterations]
        rows.append((name, [*row, _label_map(truth, classes)]))
    titles = ['photograph'] * photograph + ["source's view"] * views
    return _grid(width, [*titles, *(f'iteration {i}' for i in iterations), 'truth'], rows)


def _read_map(
    path: Path | None, truth: Path, names: Sequence[str | None], classes: Sequence[str]
) -> Picture | None:
    """A label map of other classes in the ``truth``'s colours; ``names`` say what they are read as."""
    image = shrink(path, PIXELS)
    if image is None:
        return None
    colours = np.reshape(shrink(truth, PIXELS).getpalette(), (-1, 3))
    colours = [colours[classes.index(name)] if name else np.zeros(3) for name in names]
    ids = np.asarray(image)
    seen = frozenset(
        (classes.index(names[i]), names[i], tuple(map(int, colours[i]))) for i in np.unique(ids) if names[i]
    )
    return Picture(np.array(colours, np.uint8)[ids], seen)


def _column_titles(run: MeasuredRun, last: int, score: str) -> dict[int, str]:
    reached: dict[int, list[str]] = {}
    for threshold, iteration in marks(run, score).items():
        reached.setdefault(iteration, []).append(f'{threshold / 100:g}')
    titles = {iteration: f'{score} {", ".join(texts)}' for iteration, texts in reached.items()}
    if last not in titles:
        scores = dict(score_curve(run.history.validations, score))
        # One that only a probe was validated at has no mIoU of the whole set.
        titles[last] = f'last, {score} {scores[last] / 100:.2f}' if last in scores else 'last'
    return {iteration: f'{titles[iteration]}\n(iteration {iteration})' for iteration in sorted(titles)}


def _photograph(path: Path | None) -> Picture | None:
    image = shrink(path, PIXELS, photograph=True)
    return Picture(np.asarray(image)) if image else None


def _label_map(path: Path | None, names: Sequence[str]) -> Picture | None:
    image = shrink(path, PIXELS)
    if image is None or image.mode != 'P':
        return None
    # Ids after the classes are those of pixels without a label.
    ids, names = np.minimum(np.asarray(image, int), len(names)), [*names, 'unlabelled']
    colours = colour_table(np.reshape(image.getpalette(), (-1, 3))[: len(names) - 1], UNLABELLED)
    classes = frozenset((int(i), names[i], tuple(colours[i].tolist())) for i in np.unique(ids))
    return Picture(colours[ids], classes)


def _grid(
    width: float, titles: Sequence[str], rows: Sequence[tuple[str, Sequence[Picture | None]]]
) -> Figure:
    """Labelled rows of pictures, ``width`` inches wide, and a legend of their classes."""
    pictures = [picture for _, row in rows for picture in row if picture]
    aspect = max((p.pixels.shape[0] / p.pixels.shape[1] for p in pictures), default=0.5)
    classes = sorted({entry for picture in pictures for entry in picture.classes})
    handles = [Patch(fc=np.divide(rgb, 255), ec=GREY, lw=0.4, label=name) for _, name, rgb in classes]
    columns = max(1, int(width / (0.055 * max((len(name) for _, name, _ in classes), default=0) + 0.4)))
    labels = [textwrap.fill(name, max(1, int(aspect * width / len(titles) / 0.07))) for name, _ in rows]
    aside = LINE * max(1 + name.count('\n') if name else 0 for name in labels)
    lines = max(1 + title.count('\n') for title in titles) + math.ceil(len(handles) / columns) + 0.5
    height = len(rows) * (aspect * ((width - aside) / len(titles) - GAP) + GAP) + LINE * lines
    figure = Figure(figsize=(width, height), layout='constrained')
    figure.get_layout_engine().set(w_pad=GAP / 2, h_pad=GAP / 2, wspace=0, hspace=0)
    grid = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, name, (_, row) in zip(grid, labels, rows, strict=True):
        line[0].set_ylabel(name)
        for axes, picture in zip(line, row, strict=True):
            axes.set(xticks=[], yticks=[])
            if picture:
                # Colours of classes are not to be mixed.
                axes.imshow(picture.pixels, interpolation='none' if picture.classes else 'antialiased')
            else:
                axes.set_box_aspect(aspect)
                centre = dict(ha='center', va='center', color=GREY, transform=axes.transAxes)
                axes.text(0.5, 0.5, 'no picture', **centre)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, pad=3)
    figure.legend(handles=handles, ncols=columns, **LEGEND)
    return figure
