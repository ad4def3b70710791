"""Make docs/rank.md, and with --figures its picture, from the records kept beside it.

python docs/rank/validate.py [--figures]
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from scipy.stats import kendalltau, rankdata

from mmseg_deeplab_study.atomic_file import write_atomically
from mmseg_deeplab_study.evaluation.bootstrap import QUANTILES
from mmseg_deeplab_study.evaluation.metrics.scores import LABELLED
from mmseg_deeplab_study.evaluation.score_curves import score_curve
from mmseg_deeplab_study.report.runs import read_run
from mmseg_deeplab_study.runs.history import History
from mmseg_deeplab_study.studies.ranking import score_text

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / 'rank.md'
RESAMPLES = 2000
SETTING = 'real_backbones'
YARDSTICKS = {
    'parameters': 'parameters',
    'multiply_adds': 'multiply-adds',
    'source_view': "source's view",
}
SCORES = {
    'linear_miou': 'linear classifier, mIoU',
    'leep': 'LEEP',
    'h_score': 'H-score',
    'regularised_h_score': 'regularised H-score',
    'log_me': 'LogME',
}
LAYERS = {'backbone': 'backbone', 'classifier': "classifier's input"}
SAMPLES = ('as they come', 'balanced')


class Tau(NamedTuple):
    """Kendall's tau-b over ``count`` sources, with a 95 % interval; NaN where there is no order."""

    value: float
    low: float
    high: float
    count: int


class Sources:
    """Sources of one target: what was predicted of each, and the adaptations that were observed.

    Args:
        ranking: the JSON of tools/rank.py.
        records: a folder of ``SOURCE/seedN`` with records.
    """

    def __init__(self, ranking: Path, records: Path) -> None:
        self.ranking: Mapping[str, Any] = json.loads(ranking.read_text())
        self.sources = {source['name']: source for source in self.ranking['sources']}
        self.histories: dict[str, list[History]] = {
            name: [read_run(path) for path in sorted(records.glob(f'{name}/seed*'))] for name in self.sources
        }

    def predictors(self) -> Iterator[tuple[str, str, str, list[float | None]]]:
        """Title, layer, sample, and the value of each source in order."""
        for key, title in YARDSTICKS.items():
            yield title, '', '', [_value(source[key]) for source in self.sources.values()]
        for layer, name in LAYERS.items():
            for sample in SAMPLES:
                for key, title in SCORES.items():
                    if key != 'leep' or layer == 'classifier':
                        found = [
                            source['scores'][sample].get(layer, {}).get(key)
                            for source in self.sources.values()
                        ]
                        yield title, name, sample, [_value(score) for score in found]

    @cached_property
    def moments(self) -> dict[str, int]:
        """The iterations at which scores are observed."""
        return {'at 0': 0, 'at 25': 25, 'at the end': self.last}

    @cached_property
    def last(self) -> int:
        """The last iteration of all runs."""
        (last,) = {run.header['max_iters'] for runs in self.histories.values() for run in runs}
        return last

    def observed(self, iteration: int) -> np.ndarray:
        """mIoU over labelled classes in percent of each source and seed, ``(n, seeds)``."""
        return np.array(
            [
                [dict(score_curve(run.validations, LABELLED[0]))[iteration] for run in runs]
                for runs in self.histories.values()
            ]
        )

    def taus(self, values: Sequence[float | None]) -> list[Tau]:
        """Of a predictor with the observations at each moment."""
        has = np.array([value is not None for value in values])
        known = np.array([value for value in values if value is not None], float)
        return [tau(known, self.observed(iteration)[has]) for iteration in self.moments.values()]

    @cached_property
    def table(self) -> list[tuple[str, str, str, list[Tau]]]:
        """Each predictor with its taus."""
        return [(*words, self.taus(values)) for *words, values in self.predictors()]

    def winners(self) -> list[str]:
        """Scores whose tau at the end is above those of both yardsticks, intervals apart."""
        by = {tuple(words): taus[-1] for *words, taus in self.table}
        found = []
        for (title, layer, sample), own in by.items():
            others = [by['parameters', '', ''], by.get((SCORES['linear_miou'], layer, sample))]
            if title in list(SCORES.values())[1:] and all(own.low > other.high for other in others):
                found.append(f'{title} ({layer}, {sample})')
        return found


def _value(score: Any) -> float | None:
    return score[0] if isinstance(score, list) else score


def tau(predicted: np.ndarray, observed: np.ndarray, seed: int = 0) -> Tau:
    """Tau-b of ``predicted (n,)`` with the mean over seeds of ``observed (n, seeds)``.

    The interval is a percentile bootstrap: each resample draws n of the sources with replacement, and for all
    of them the same seeds. One that has no order, as of a single source, is left out.
    """
    count, seeds = observed.shape
    if count < 3:
        return Tau(float('nan'), float('nan'), float('nan'), count)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)
    shares = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    of_seeds = shares @ observed.T  # (R, n)
    first = np.sign(predicted[:, None] - predicted)
    second = np.sign(of_seeds[:, :, None] - of_seeds[:, None])
    agreed = np.einsum('ri,rj,ij,rij->r', weights, weights, first, second)
    ordered = np.einsum('ri,rj,ij->r', weights, weights, first**2) * np.einsum(
        'ri,rj,rij->r', weights, weights, second**2
    )
    found = agreed[ordered > 0] / np.sqrt(ordered[ordered > 0])
    value = float(kendalltau(predicted, observed.mean(axis=1)).statistic)
    if not len(found):
        return Tau(value, float('nan'), float('nan'), count)
    return Tau(value, *np.quantile(found, QUANTILES).tolist(), count)


def tau_text(value: Tau) -> str:
    """A tau with its interval and, where not all sources have the score, their number."""
    if np.isnan(value.value):
        return '-'
    return f'{value.value:+.2f} [{value.low:+.2f}, {value.high:+.2f}]'


class Settings:
    """Pairs of real sources that were adapted alike, over all settings that are recorded."""

    def __init__(self, real: Sources, records: Path) -> None:
        self.real = real
        self.pairs: list[tuple[str, str, float]] = []  # and by how much the first was better at the end
        found: dict[str, dict[str, list[float]]] = {}
        for path in sorted(records.glob('*/**/seed*/adaptation.jsonl*')):
            study, source, *variant = path.parent.relative_to(records).parts[:-1]
            last = score_curve(read_run(path.parent).validations, LABELLED[0])[-1][1]
            found.setdefault('/'.join([study, *variant]), {}).setdefault(source, []).append(last)
        self.names = list(found)
        for of_sources in found.values():
            means = {source: float(np.mean(values)) for source, values in of_sources.items()}
            names = list(means)
            for place, one in enumerate(names):
                self.pairs += [(one, other, means[one] - means[other]) for other in names[place + 1 :]]

    def right(self, values: Sequence[float | None]) -> str:
        """How many of the pairs that a predictor tells apart it orders as observed, such as ``9 of 14``."""
        by_name = dict(zip(self.real.sources, values, strict=True))
        told = [
            (by_name[one] - by_name[other]) * difference
            for one, other, difference in self.pairs
            if None not in (by_name[one], by_name[other]) and by_name[one] != by_name[other]
        ]
        return f'{sum(product > 0 for product in told)} of {len(told)}' if told else '-'


def draw(sets: Mapping[str, Sources]) -> Figure:
    """Rank by the default score against rank by the last mIoU, 1 the best."""
    figure = Figure(figsize=(4.2 * len(sets), 4), layout='constrained')
    for axes, (title, sources) in zip(
        figure.subplots(1, len(sets), squeeze=False)[0], sets.items(), strict=True
    ):
        order = sources.ranking['order']
        scores = [
            s['scores'][order['sample']][order['layer']][order['score']] for s in sources.sources.values()
        ]
        predicted = rankdata([-score[0] for score in scores])
        observed = rankdata(-sources.observed(sources.last).mean(axis=1))
        ends = [0.5, len(predicted) + 0.5]
        axes.plot(ends, ends, color='0.7', linewidth=1)
        axes.scatter(predicted, observed)
        for name, x, y in zip(sources.sources, predicted, observed, strict=True):
            axes.annotate(name, (x, y), textcoords='offset points', xytext=(4, 3), fontsize=6)
        axes.set(xlim=ends, ylim=ends, xlabel='predicted rank, by the linear classifier', title=title)
        axes.invert_xaxis()
        axes.invert_yaxis()
        axes.spines[['top', 'right']].set_visible(False)
    figure.axes[0].set_ylabel('observed rank, by mIoU at the end')
    return figure


def load() -> tuple[dict[str, Sources], Settings]:
    """What is kept, by title of the set, and the settings of the real one."""
    findings = HERE.parent / 'findings/records'
    real = Sources(HERE / 'real.json', findings / SETTING)
    sets = {'real': real}
    if (HERE / 'drawn.json').exists():
        sets['drawn'] = Sources(HERE / 'drawn.json', HERE / 'records')
    return sets, Settings(real, findings)


def render(sets: Mapping[str, Sources], settings: Settings) -> str:
    """The page, every number of it from what is kept."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(tau=tau_text, score=score_text)
    tables = [sources.table for sources in sets.values()]
    return environment.get_template('rank.md.jinja').render(
        sets=sets,
        settings=settings,
        rows=[(*row[0][:3], [one[3] for one in row]) for row in zip(*tables, strict=True)],
        pairs=[settings.right(values) for *_, values in sets['real'].predictors()],
        winners={title: sources.winners() for title, sources in sets.items()},
    )


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--figures', action='store_true', help='draw the picture, too')
    sets, settings = load()
    if parser.parse_args().figures:
        draw(sets).savefig(HERE / 'predicted.png', dpi=110)
    write_atomically(PAGE, render(sets, settings).encode())


if __name__ == '__main__':
    main()
