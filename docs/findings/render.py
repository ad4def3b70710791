"""Make docs/findings.md, and with --figures its pictures, from the records beside this file.

python docs/findings/render.py [--figures]
"""

import argparse
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mmseg_deeplab_study.atomic_file import write_atomically
from mmseg_deeplab_study.evaluation.bootstrap import QUANTILES, SAMPLES
from mmseg_deeplab_study.evaluation.score_curves import score_curve
from mmseg_deeplab_study.evaluation.seeds import Estimate, estimate_difference, estimate_over_seeds
from mmseg_deeplab_study.report.analysis import Analysis, analyse
from mmseg_deeplab_study.report.analysis_text import percent
from mmseg_deeplab_study.report.runs import read_runs
from mmseg_deeplab_study.runs.history import Kind

HERE = Path(__file__).resolve().parent
RECORDS, PAGE = HERE / 'records', HERE.parent / 'findings.md'
COUNTS = HERE / 'photographs.json.gz'
# What was trained once and belongs to several studies: the study's own settings.
SHARED = {'copy-background': 'real_backbones', 'tenth': 'real_backbones'}


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

    def seeds(self, experiment: str) -> list[int]:
        """The seeds of an experiment's runs."""
        return [run.seed for run in self.experiments[experiment]]

    def values(self, experiment: str, subject: str, measure: str) -> list[float | None]:
        """A figure of each run."""
        return [run.figures[subject].get(measure) for run in self.experiments[experiment]]

    def mean(self, experiment: str, subject: str, measure: str) -> Estimate:
        """A figure's mean over seeds, with its interval."""
        return estimate_over_seeds(self.values(experiment, subject, measure), self.seeds(experiment))

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
        iterations = [row['iter'] for row in self.experiments[experiment][0].history.select(kind)]
        return iterations, [self.at(experiment, score, i, kind) for i in iterations]

    @cache  # noqa: B019: one object for the whole page
    def photographs(self, *experiments: str) -> tuple[float, float]:
        """95 % bootstrap interval over photographs of the last ``mIoU.labelled``, mean over seeds, in percent.

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

    @property
    def counts(self) -> Mapping[str, list]:
        """Of each run's last weights, by photograph: pixels hit, labelled and predicted, by class."""
        return json.loads(gzip.decompress(COUNTS.read_bytes()))


def interval(low_high: Sequence[float]) -> str:
    """Two ends as the page shows them."""
    return f'[{low_high[0]:.1f}, {low_high[1]:.1f}]'
