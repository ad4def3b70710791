"""What the metrics of an evaluator counted last."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from mmengine.evaluator import BaseMetric, Evaluator
from mmseg.registry import METRICS

from .adaptation_metric import AdaptationMetric
from .boundary_metric import BoundaryMetric
from .confusion import SparseCounts, add_sparse


class Counted(NamedTuple):
    """What a pass over images counted; ``counts`` are None but on the main process.

    ``counts`` are ``AdaptationMetric``'s of each image, ``confusion`` (C, C) is their sum; ``boundaries`` are
    the scores of a ``BoundaryMetric``.
    """

    counts: Sequence[SparseCounts] | None
    seconds: float
    confusion: np.ndarray | None = None
    boundaries: Mapping[str, Any] = MappingProxyType({})


def count_pass(evaluator: Evaluator, seconds: float, images: Sequence[int] | None = None) -> Counted:
    """What an evaluator counted last, of all images or of some by their places."""
    metric = find_metric(evaluator, AdaptationMetric)
    if metric.counts is None:
        return Counted(None, seconds)
    images = range(metric.images) if images is None else images
    counts = [metric.counts[i] for i in images]
    boundary = find_metric(evaluator, BoundaryMetric)
    confusion = add_sparse(counts, metric.shape)
    return Counted(counts, seconds, confusion, boundary.scores(images) if boundary else {})


def find_metric(
    evaluator: Evaluator, kind: type[BaseMetric], predictions: str = 'pred_sem_seg'
) -> BaseMetric | None:
    """The evaluator's metric of a class that reads those predictions, or None."""
    return next((m for m in evaluator.metrics if isinstance(m, kind) and m.predictions == predictions), None)


def metric_config(evaluators: dict | Sequence[dict] | None, kind: type[BaseMetric]) -> dict[str, Any]:
    """The config of a metric of a class, else one of its default arguments."""
    for config in as_list(evaluators):
        name = config['type']
        if issubclass(METRICS.get(name) if isinstance(name, str) else name, kind):
            return dict(config)
    return dict(type=kind.__name__)


def as_list(evaluators: dict | Sequence[dict] | None) -> list[dict]:
    """List an evaluator's configs, whether it is one, a list or None."""
    return list(evaluators) if isinstance(evaluators, list | tuple) else [evaluators] if evaluators else []
