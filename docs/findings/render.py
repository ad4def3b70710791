"""Make docs/findings.md, and with --figures its pictures, from the records beside this file.

python docs/findings/render.py [--figures]
"""

import argparse
import gzip
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from mmseg_deeplab_study.atomic_file import write_atomically
from mmseg_deeplab_study.evaluation.bootstrap import QUANTILES, SAMPLES
from mmseg_deeplab_study.evaluation.costs import training_cost
from mmseg_deeplab_study.evaluation.metrics.scores import LABELLED
from mmseg_deeplab_study.evaluation.score_curves import MIN_BEST, score_curve
from mmseg_deeplab_study.evaluation.seeds import Estimate, estimate_difference, estimate_over_seeds
from mmseg_deeplab_study.report.analysis import Analysis, analyse
from mmseg_deeplab_study.report.curves import COLOURS
from mmseg_deeplab_study.report.paper_pictures import film_figure
from mmseg_deeplab_study.report.runs import read_runs
from mmseg_deeplab_study.runs.history import Kind

HERE = Path(__file__).resolve().parent
RECORDS, PAGE = HERE / 'records', HERE.parent / 'findings.md'
COUNTS = HERE / 'photographs.json.gz'
# What was trained once and belongs to several studies: the study's own settings.
SHARED = {'copy-background': 'real_backbones', 'tenth': 'real_backbones'}
# What the page calls the experiments.
BACKBONES = {
    'x1-os16': 'x1.0, stride 16',
    'x0p5-os16': 'x0.5, stride 16',
    'x0p5-os8': 'x0.5, stride 8',
    'x1-os16-imagenet': 'x1.0, ImageNet alone',
    'x1-os16-backbone': "x1.0, PASCAL's backbone alone",
}
HEADS = {'': 'transferred', 'new-head': 'new', 'copy-zero': 'copied, others zero'}
RATES = {'frozen': 'frozen', '': "a tenth of the head's", 'same': "the head's"}
OVERVIEW = ('x1-os16', 'x0p5-os16', 'x1-os16-imagenet')  # those of README's picture
DPI = 110
LEGEND = dict(loc='outside lower center', ncols=4, frameon=False, fontsize=8)


class Findings:
    """The records by experiment, such as ``'x1-os16'`` or ``'x1-os16/new-head'``, and what they say."""

    def __init__(self, records: Path = RECORDS) -> None:
        folders = sorted(path.parent for path in records.glob('**/adaptation.jsonl*'))
        names = [folder.relative_to(records) for folder in folders]
        runs = read_runs(folders).values()
        self.analysis: Analysis = analyse(dict(zip(map(str, names), runs, strict=True)))
        by_name = {run.name: run for run in self.analysis.runs}
        self.experiments: dict[str, list] = {}
        for name in names:
            self.experiments.setdefault('/'.join(name.parts[1:-1]), []).append(by_name[str(name)])
        self.seconds = json.loads((HERE / 'seconds.json').read_text())

    @property
    def labelled(self) -> list[str]:
        """The classes that have labelled pixels, in the target's order."""
        row = self.analysis.runs[0].history.validations[0]
        classes = self.analysis.runs[0].history.header['target_classes']
        return [name for name, counts in zip(classes, row['confusion'], strict=True) if any(counts)]

    @property
    def seen(self) -> list[str]:
        """Those of them that PASCAL VOC has."""
        return [n for n in self.labelled if n in self.analysis.runs[0].history.header['seen_classes']]

    def never(self) -> list[str]:
        """The labelled classes that no run of ``BACKBONES`` has at ``MIN_BEST``."""
        runs = [run for name in BACKBONES for run in self.experiments[name]]
        return [n for n in self.labelled if max(r.figures[f'IoU.{n}']['best'] for r in runs) < MIN_BEST]

    def model(self, experiment: str) -> Mapping[str, Any]:
        """Parameters and multiply-adds, as the header has them."""
        return self.experiments[experiment][0].history.header['model']

    def step(self, experiment: str) -> float:
        """Seconds of an iteration, measured alone on the machine."""
        return self.seconds[experiment.split('/')[0].removesuffix('-imagenet').removesuffix('-backbone')]

    def seeds(self, experiment: str) -> list[int]:
        """The seeds of an experiment's runs."""
        return [run.seed for run in self.experiments[experiment]]

    def values(self, experiment: str, subject: str, measure: str) -> list[float | None]:
        """A figure of each run."""
        return [run.figures[subject].get(measure) for run in self.experiments[experiment]]

    def mean(self, experiment: str, subject: str, measure: str) -> Estimate:
        """A figure's mean over seeds, with its interval."""
        return estimate_over_seeds(self.values(experiment, subject, measure), self.seeds(experiment))

    def back_at(self, experiment: str) -> Estimate:
        """The first iteration from the lowest on at which the seen mean is at the source's view."""
        found = []
        for run in self.experiments[experiment]:
            curve, source = (
                score_curve(run.history.validations, LABELLED[1]),
                run.figures[LABELLED[1]]['source'],
            )
            lowest = min(curve, key=lambda point: point[1])[0]
            found.append(next((i for i, value in curve if i >= lowest and value >= source), None))
        return estimate_over_seeds(found, self.seeds(experiment))

    def less(self, first: str, second: str, subject: str, measure: str) -> Estimate:
        """The first's figure less the second's, paired by seeds."""
        one, other = ((self.values(name, subject, measure), self.seeds(name)) for name in (first, second))
        return estimate_difference(one, other)

    def at(self, experiment: str, score: str, iteration: int, kind: str = Kind.VALIDATION) -> Estimate:
        """A score's mean over seeds at an iteration."""
        curves = [dict(score_curve(run.history.select(kind), score)) for run in self.experiments[experiment]]
        return estimate_over_seeds([curve.get(iteration) for curve in curves], self.seeds(experiment))

    def curve(self, experiment: str, score: str, kind: str = Kind.VALIDATION) -> tuple[list, list[Estimate]]:
        """Iterations, and a score's means over seeds there."""
        iterations = [i for i, _ in score_curve(self.experiments[experiment][0].history.select(kind), score)]
        return iterations, [self.at(experiment, score, i, kind) for i in iterations]

    def less_at(self, first: str, second: str, score: str, iteration: int) -> Estimate:
        """As ``less``, of a score at an iteration."""
        pairs = []
        for name in (first, second):
            curves = [dict(score_curve(run.history.validations, score)) for run in self.experiments[name]]
            pairs.append(([curve.get(iteration) for curve in curves], self.seeds(name)))
        return estimate_difference(*pairs)

    def cost(self, experiment: str, measure: str) -> dict[str, Estimate]:
        """What it took to get there: images, seconds, and 10^12 multiply-adds."""
        runs, seeds = self.experiments[experiment], self.seeds(experiment)
        costs = [
            training_cost(
                run.history.header, run.figures[LABELLED[0]][measure], self.step(experiment)
            )._asdict()
            for run in runs
        ]
        found = {key: estimate_over_seeds([cost[key] for cost in costs], seeds) for key in costs[0]}
        flops = [cost['multiply_adds'] for cost in costs]
        found['multiply_adds'] = estimate_over_seeds([f if f is None else f / 1e12 for f in flops], seeds)
        return found

    def dips(self) -> dict[str, str]:
        """The experiments whose features were read through the source's classifier, by way to begin."""
        found = {name: f'{title}, transferred' for name, title in BACKBONES.items()}
        for name, title in BACKBONES.items():
            found |= {f'{name}/{variant}': f'{title}, {HEADS[variant]}' for variant in HEADS if variant}
        return {name: title for name, title in found.items() if self._reads(name)}

    def largest_dip(self) -> str:
        """The largest fall of mIoU below iteration 0 in any run that began from PASCAL's head."""
        runs = [run for name in list(BACKBONES)[:3] for run in self.experiments[name]]
        return f'{max(run.figures[LABELLED[0]]["dip"] for run in runs):.1f}'

    def _reads(self, experiment: str) -> bool:
        return any(run.figures['source_classifier'] for run in self.experiments.get(experiment, ()))

    def photographs(self, *experiments: str) -> tuple[float, float]:
        """95 % bootstrap interval over photographs of the last ``mIoU.labelled``, a mean over seeds, in %.

        Of one experiment, or of the first less the second, each resample of the photographs scoring both.
        Percentiles, as ``bootstrap_interval``.
        """
        found = []
        for experiment in experiments:
            parts = np.array([self.counts[run.name] for run in self.experiments[experiment]], float)
            images = parts.shape[1]  # (seeds, N, 3, C)
            weights = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), SAMPLES)
            hits, labelled, predicted = np.einsum('rn,snpc->prsc', weights, parts)
            with np.errstate(invalid='ignore'):
                iou = 100 * hits / (labelled + predicted - hits)
            # A class that a resample has no label of is left out, as in the whole set.
            found.append(np.nanmean(np.where(labelled > 0, iou, np.nan), axis=2).mean(axis=1))
        low, high = np.quantile(found[0] - (found[1] if len(found) > 1 else 0), QUANTILES)
        return float(low), float(high)

    @cached_property
    def counts(self) -> Mapping[str, list]:
        """Of each run's last weights, by photograph: pixels hit, labelled and predicted, by class."""
        return json.loads(gzip.decompress(COUNTS.read_bytes()))


def mean(value: Estimate, digits: int = 1) -> str:
    """A mean over seeds with its interval, where that can be seen."""
    texts = ['-' if number is None else f'{round(number, digits) + 0:.{digits}f}' for number in value[:3]]
    some = f' ({value.count} of {value.seeds})' if 0 < value.count < value.seeds else ''
    return texts[0] + (f' [{texts[1]}, {texts[2]}]' if texts[1] != texts[2] else '') + some


def fine(value: Estimate) -> str:
    """As ``mean``, of what is small."""
    return mean(value, 2)


def point(value: Estimate) -> str:
    """What no seed changes."""
    return '-' if value.mean is None else f'{value.mean:.1f}'


def signed(value: Estimate) -> str:
    """A difference as the page shows it."""
    if value.low is None:
        return '-'
    return f'{value.mean:+.1f} [{value.low:+.1f}, {value.high:+.1f}]'


def interval(low_high: Sequence[float]) -> str:
    """Two ends as the page shows them."""
    return f'[{low_high[0]:.1f}, {low_high[1]:.1f}]'


def draw_curves(axes: Axes, findings: Findings, experiment: str, score: str, **look: Any) -> None:
    """Draw a score's mean over seeds with its interval."""
    kind, unit = look.pop('kind', Kind.VALIDATION), look.pop('unit', 1)
    iterations, means = findings.curve(experiment, score, kind)
    places = [unit * i for i in iterations]
    axes.plot(places, [m.mean for m in means], **look)
    if kind == Kind.VALIDATION:
        low, high = zip(*((m.low, m.high) for m in means), strict=True)
        axes.fill_between(places, low, high, color=look['color'], alpha=0.2, linewidth=0)
    axes.set_ylim(bottom=0, auto=True)


def panels(columns: int, titles: Sequence[str], height: float = 2.7) -> tuple[Figure, list[Axes]]:
    """A row of plots with percent upwards."""
    figure = Figure(figsize=(3.4 * columns, height), layout='constrained')
    axes = list(figure.subplots(1, columns))
    for one, title in zip(axes, titles, strict=True):
        one.set_title(title, fontsize=9)
        one.set(xlabel='iteration (updates done)')
        one.grid(alpha=0.3)
        one.spines[['top', 'right']].set_visible(False)
        one.tick_params(labelsize=8)
    axes[0].set_ylabel('%')
    return figure, axes


def draw_backbones(findings: Findings, names: Sequence[str] = tuple(BACKBONES)) -> Figure:
    """mIoU of each source, over all, seen and unseen classes."""
    parts = ('all labelled classes', 'seen in PASCAL VOC', 'not seen')
    figure, axes = panels(3, [f'mIoU, {part}' for part in parts])
    for one, score in zip(axes, LABELLED, strict=True):
        for name, colour in zip(names, COLOURS):  # noqa: B905
            draw_curves(one, findings, name, score, color=colour, label=BACKBONES[name])
    figure.legend(*axes[0].get_legend_handles_labels(), **LEGEND)
    return figure


def draw_head_or_features(findings: Findings) -> Figure:
    """mIoU of the seen classes by the new head and by the source's own, for two ways to begin."""
    names = [name for name in BACKBONES if f'{name}/new-head' in findings.experiments]
    figure, axes = panels(len(names), [f'{BACKBONES[name]}: seen classes' for name in names])
    score = LABELLED[1]
    for one, name in zip(axes, names, strict=True):
        for (variant, title), colour in zip(HEADS.items(), COLOURS):  # noqa: B905
            experiment = f'{name}/{variant}' if variant else name
            draw_curves(one, findings, experiment, score, color=colour, label=f'head: {title}')
            dashed = dict(color=colour, linestyle='--', kind=Kind.SOURCE_CLASSIFIER)
            draw_curves(one, findings, experiment, score, **dashed)
        view = findings.at(name, score, 0, Kind.SOURCE).mean
        one.axhline(view, color='0.4', linestyle=':', label="source's view")
    handles, labels = axes[0].get_legend_handles_labels()
    handles.insert(-1, Line2D([], [], color='0.4', linestyle='--'))
    labels.insert(-1, "the source's classifier on the same features")
    figure.legend(handles, labels, **LEGEND | dict(ncols=3))
    return figure


def draw_classes(findings: Findings) -> Figure:
    """IoU of each labelled class, of the seen ones dashed."""
    # Only once our package has made it importable.
    from mmseg.utils import get_classes, get_palette

    palette = dict(zip(get_classes('cityscapes'), get_palette('cityscapes'), strict=True))
    names = ['x1-os16', 'x1-os16-imagenet']
    figure, axes = panels(2, [f'IoU by class: {BACKBONES[name]}' for name in names], 3.2)
    for one, name in zip(axes, names, strict=True):
        for title in findings.labelled:
            colour = np.divide(palette[title], 255)
            style = '--' if title in findings.seen else '-'
            _, means = findings.curve(name, f'IoU.{title}')
            iterations, _ = findings.curve(name, 'mIoU')
            one.plot(
                iterations, [m.mean for m in means], color=colour, linestyle=style, label=title, linewidth=1.2
            )
    for one in axes:
        one.set_ylim(bottom=0, auto=True)
    figure.legend(*axes[0].get_legend_handles_labels(), **LEGEND | dict(ncols=6))
    return figure


def draw_cost(findings: Findings) -> Figure:
    """mIoU against seconds of training, and the last against multiply-adds of an image."""
    figure, axes = panels(2, ['mIoU against training time', 'last mIoU against the cost of an image'])
    for (name, title), colour in zip(BACKBONES.items(), COLOURS):  # noqa: B905
        draw_curves(axes[0], findings, name, LABELLED[0], unit=findings.step(name), color=colour, label=title)
        last = findings.mean(name, LABELLED[0], 'last')
        bars = [[last.mean - last.low], [last.high - last.mean]]
        axes[1].errorbar(
            findings.model(name)['multiply_adds'] / 1e9, last.mean, bars, marker='o', capsize=2, color=colour
        )
    axes[0].set_xlabel('seconds on two cores, without validations')
    axes[1].set(xlabel='10^9 multiply-adds of a photograph')
    axes[1].set_ylim(bottom=0, auto=True)
    figure.legend(*axes[0].get_legend_handles_labels(), **LEGEND | dict(ncols=2))
    return figure


def draw_ablations(findings: Findings) -> Figure:
    """mIoU by what the head begins as, and by the backbone's learning rate."""
    names = ['x1-os16', 'x0p5-os16']
    figure, axes = panels(4, [f'{BACKBONES[name]}: {what}' for what in ('head', 'rate') for name in names])
    for place, variants in enumerate((HEADS, RATES)):
        for one, name in zip(axes[2 * place :], names):  # noqa: B905
            for (variant, title), colour in zip(variants.items(), COLOURS):  # noqa: B905
                experiment = f'{name}/{variant}' if variant else name
                draw_curves(one, findings, experiment, LABELLED[0], color=colour, label=title)
            one.legend(fontsize=7, frameon=False, loc='lower right')
    return figure


def draw_film(findings: Findings, names: Sequence[str] = tuple(BACKBONES), **options: Any) -> Figure:
    """The label maps of one photograph by each source, of the first seed."""
    folders = {BACKBONES[name]: findings.experiments[name][0].folder for name in names}
    return film_figure(folders, (0, 5, 25, 100), next(iter(folders.values())).images[0], **options)


def draw_overview(findings: Findings) -> Image.Image:
    """README's picture: the curves of three sources, and their label maps below."""
    parts = []
    for figure in (draw_backbones(findings, OVERVIEW), draw_film(findings, OVERVIEW, width=10.2)):
        file = io.BytesIO()
        figure.savefig(file, dpi=DPI)
        parts.append(Image.open(file))
    picture = Image.new('RGB', (max(p.width for p in parts), sum(p.height for p in parts)), 'white')
    for above, part in enumerate(parts):
        picture.paste(part, ((picture.width - part.width) // 2, sum(p.height for p in parts[:above])))
    return picture


FIGURES: Mapping[str, Callable[[Findings], Figure]] = {
    'backbones': draw_backbones,
    'head_or_features': draw_head_or_features,
    'classes': draw_classes,
    'cost': draw_cost,
    'ablations': draw_ablations,
    'film': draw_film,
}


def render(findings: Findings) -> str:
    """The page, every number of it from the records."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=mean, fine=fine, point=point, interval=interval, signed=signed)
    page = environment.get_template('findings.md.jinja').render(
        f=findings,
        backbones=BACKBONES,
        heads=HEADS,
        rates=RATES,
        all=LABELLED[0],
        seen=LABELLED[1],
        unseen=LABELLED[2],
    )
    return re.sub(' +\n', '\n', page)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--figures', action='store_true', help='draw the pictures, too')
    findings = Findings()
    if parser.parse_args().figures:
        for name, draw in FIGURES.items():
            draw(findings).savefig(HERE / f'{name}.png', dpi=DPI)
        draw_overview(findings).save(HERE / 'overview.png', optimize=True)
    write_atomically(PAGE, render(findings).encode())


if __name__ == '__main__':
    main()
