"""Search the dense CRF's parameters in the ranges of DeepLab's paper."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmseg.registry import DATASETS
from torch import nn
from torch.utils.data import Dataset

from ..datasets.subsets import image_paths
from ..evaluation.metrics.adaptation_metric import AdaptationMetric
from ..evaluation.metrics.boundary_metric import BoundaryMetric
from ..evaluation.metrics.counted import find_metric, metric_config
from ..evaluation.metrics.scores import mean_known, scores_from_confusion
from ..models.dense_crf import DenseCRF
from .trained_model import dataset_to_test

# Of the bilateral Gaussian: weight, pixels, units of an 8-bit channel (Chen et al. 2017, section 4.1).
RANGES = {
    'bilateral_weight': (3, 4, 5, 6),
    'bilateral_sigma_xy': tuple(range(30, 101, 10)),
    'bilateral_sigma_rgb': (3, 4, 5, 6),
}

Setting = Mapping[str, float]
Scores = Mapping[str, float]


def search(
    score: Callable[[Setting], float], ranges: Mapping[str, Sequence[float]] = RANGES
) -> tuple[Setting, float]:
    """Find the best setting and its score: every second value, then around the best.

    Around it, moves to the best setting that is one value away in one range, while that is better. ``score``
    is called once for each setting.
    """

    @cache
    def ask(place: tuple[int, ...]) -> float:
        return score(_setting(place, ranges))

    coarse = product(*(range(0, len(values), 2) for values in ranges.values()))
    best = max(coarse, key=ask)
    while (better := max(_around(best, ranges), key=ask)) and ask(better) > ask(best):
        best = better
    return _setting(best, ranges), ask(best)


def coarse_trials() -> int:
    """The number of settings that ``search`` tries at first."""
    return math.prod((len(values) + 1) // 2 for values in RANGES.values())


def _around(place: tuple[int, ...], ranges: Mapping[str, Sequence[float]]) -> Iterator[tuple[int, ...]]:
    for i, values in enumerate(ranges.values()):
        for step in (-1, 1):
            if 0 <= place[i] + step < len(values):
                yield (*place[:i], place[i] + step, *place[i + 1 :])


def _setting(place: tuple[int, ...], ranges: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: values[i] for i, (name, values) in zip(place, ranges.items(), strict=True)}


def training_images(cfg: Config) -> Dataset:
    """Build the training split with the test pipeline.

    Raises:
        ValueError: the config has no training data, or several datasets.
    """
    outer = copy.deepcopy((cfg.get('train_dataloader') or {}).get('dataset'))
    inner = outer
    while inner and 'dataset' in inner:
        inner = inner['dataset']
    if not inner or 'datasets' in inner:
        raise ValueError('the config has no train_dataloader with one dataset, whose images are needed')
    inner['pipeline'] = dataset_to_test(cfg)['pipeline']
    return DATASETS.build(outer)


class Trials:
    """Evaluate a model with different CRFs on a few images of a dataset.

    Args:
        model: in evaluation mode, with ``DenseCRFMixin``.
        dataset: of ``training_images``.
        images: how many, at most.
        fixed: arguments of ``DenseCRF`` that no trial changes.
        evaluators: the config's; trials score as its ``AdaptationMetric`` and ``BoundaryMetric`` do.

    Raises:
        ValueError: the dataset is empty, or ``DenseCRF`` refuses ``fixed``.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Dataset,
        images: int,
        fixed: Mapping[str, Any],
        evaluators: dict | Sequence[dict] | None = None,
    ) -> None:
        if not len(dataset):
            raise ValueError('the training split has no image')
        places = np.linspace(0, len(dataset) - 1, min(images, len(dataset))).round().astype(int).tolist()
        paths = image_paths(dataset)
        self.paths = [paths[place] for place in places]
        self.fixed = {name: value for name, value in fixed.items() if name not in RANGES}
        DenseCRF(**self.fixed)
        self._model = model
        self._dataset = dataset
        self._places = places
        self._metrics = [metric_config(evaluators, kind) for kind in (AdaptationMetric, BoundaryMetric)]

    def evaluate(self, setting: Setting | None, tick: Callable[[], None] = lambda: None) -> Scores:
        """``mIoU``, ``BIoU`` and ``trimap.<width>`` in percent; None is without CRF.

        Means over the classes that the images have labels of: the usual ones move when the CRF takes away the
        last pixel of a class without. ``tick`` is called after each image.

        Raises:
            ValueError: an image cannot be read, resized or held in memory; names it.
        """
        self._model.dense_crf = None if setting is None else DenseCRF(**self.fixed, **setting)
        evaluator = Evaluator(self._metrics)
        evaluator.dataset_meta = self._dataset.metainfo
        with torch.no_grad():
            for place, path in zip(self._places, self.paths, strict=True):
                try:
                    batch = pseudo_collate([self._dataset[place]])
                    evaluator.process(data_samples=self._model.test_step(batch), data_batch=batch)
                except Exception as error:
                    raise ValueError(f'{path}: cannot be scored ({type(error).__name__}: {error})') from error
                tick()
        evaluator.evaluate(len(self._places))
        metric = find_metric(evaluator, AdaptationMetric)
        labelled = [
            name for name, pixels in zip(metric.classes, metric.confusion.sum(axis=1), strict=True) if pixels
        ]
        edges = find_metric(evaluator, BoundaryMetric).scores(range(metric.images))
        by_class = {
            'mIoU': scores_from_confusion(metric.confusion, metric.classes, ())['class_iou'],
            'BIoU': edges['class_biou'],
            **{f'trimap.{width}': scores['class_iou'] for width, scores in edges['trimap'].items()},
        }
        means = {key: mean_known([iou[name] for name in labelled]) for key, iou in by_class.items()}
        return {key: value for key, value in means.items() if value is not None}
