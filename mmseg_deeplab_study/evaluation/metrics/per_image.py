"""Metrics that keep what they count of each image."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from .confusion import check_ids

# Why a sample may lack what is counted.
_ABSENT = {
    'pred_sem_seg': 'nothing predicted',
    'gt_sem_seg': 'the pipeline has no LoadAnnotations, or the images no labels',
}


class PerImageMetric(BaseMetric):
    """Counts of each image's predictions against its labels, from every rank.

    Args:
        ignore_index: label of the pixels that do not count.
        predictions: the field of a sample that has its predicted labels.
        kwargs: those of ``BaseMetric``.

    Attributes:
        counts: after an evaluation, on the main process, what ``count`` gave for each image, in the order of
            the dataset.

    Raises:
        ValueError: an ``ignore_index`` that no label map can hold; on evaluation, a sample that lacks
            predictions or label, and what ``count`` raises; names the file.
    """

    def __init__(self, ignore_index: int = 255, predictions: str = 'pred_sem_seg', **kwargs) -> None:
        super().__init__(**kwargs)
        check_ids(0, ignore_index)
        self.ignore_index = ignore_index
        self.predictions = predictions
        self.counts: list | None = None

    @abstractmethod
    def count(self, prediction: np.ndarray, label: np.ndarray) -> Any:
        """Count one image's pixels, from integers (H, W)."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the images of a batch."""
        fields = (self.predictions, 'gt_sem_seg')
        for sample in data_samples:
            for name in fields:
                if name not in sample:
                    hint = _ABSENT.get(name, 'the model has no test_cfg.crf')
                    raise ValueError(f'{sample.get("img_path")}: no {name} to count: {hint}')
            maps = [sample[name]['data'].squeeze(0).cpu().numpy() for name in fields]
            try:
                self.results.append(self.count(*maps))
            except ValueError as error:
                raise ValueError(f'{sample.get("seg_map_path")}: {error}') from error
