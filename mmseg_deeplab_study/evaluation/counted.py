"""What the metrics of an evaluator have just counted."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from mmengine.evaluator import BaseMetric, Evaluator

from .adaptation_metric import AdaptationMetric
from .boundary_metric import BoundaryMetric


class Counted(NamedTuple):
    """What a pass over a set of images counted, on the main process.

    ``counts`` (images, C, C); ``boundaries`` are the scores of ``BoundaryMetric``, where there is one.
    """

    counts: np.ndarray | None
    seconds: float
    boundaries: Mapping[str, Any] = MappingProxyType({})


def count_pass(evaluator: Evaluator, seconds: float, images: Sequence[int] | None = None) -> Counted:
    """What ``evaluator`` has just counted, of all images or of some by their places in the dataset."""
    counts = find_metric(evaluator, AdaptationMetric).counts
    if counts is None:
        return Counted(None, seconds)
    images = range(len(counts)) if images is None else images
    boundary = find_metric(evaluator, BoundaryMetric)
    return Counted(counts[images], seconds, boundary.scores(images) if boundary else {})


def find_metric(
    evaluator: Evaluator, kind: type[BaseMetric], predictions: str = 'pred_sem_seg'
) -> BaseMetric | None:
    """The evaluator's metric of a class that looks at those predictions, or None."""
    return next((m for m in evaluator.metrics if isinstance(m, kind) and m.predictions == predictions), None)
