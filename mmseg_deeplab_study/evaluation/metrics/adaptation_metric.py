"""The metric of an adaptation: one exact confusion matrix."""

from collections.abc import Mapping, Sequence

import numpy as np
from mmseg.registry import METRICS

from ...datasets.label_spaces import Match, match_classes, resolve_classes, seen_matches
from .confusion import SparseCounts, add_sparse, confusion_matrix, to_sparse
from .per_image import PerImageMetric
from .scores import flat_scalars, scores_from_confusion


class ConfusionMetric(PerImageMetric):
    """One int64 confusion matrix per image: the sum is exact on any number of ranks.

    ``counts`` are the ``SparseCounts`` of each image.

    Args:
        num_classes: classes of the labels; the evaluated dataset's if not given.
        num_predicted: classes of the predictions, if they are not the labels'.
        kwargs: those of ``PerImageMetric``.

    Raises:
        ValueError: on evaluation, if a label or prediction lies outside its label space; names the file.
    """

    def __init__(self, num_classes: int | None = None, num_predicted: int | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.num_predicted = num_predicted

    @property
    def shape(self) -> tuple[int, int]:
        """Of a confusion matrix: label classes, predicted classes."""
        num_classes = self.num_classes or len(self.dataset_meta['classes'])
        return num_classes, self.num_predicted or num_classes

    @property
    def confusion(self) -> np.ndarray | None:
        """The sum over all images; None where there are no ``counts``."""
        return None if self.counts is None else add_sparse(self.counts, self.shape)

    @property
    def images(self) -> int:
        """How many images were counted."""
        return 0 if self.counts is None else len(self.counts)

    def count(self, prediction: np.ndarray, label: np.ndarray) -> SparseCounts:
        """The confusion matrix of one image."""
        num_classes, num_predicted = self.shape
        return to_sparse(confusion_matrix(prediction, label, num_classes, self.ignore_index, num_predicted))

    def compute_metrics(self, results: list[SparseCounts]) -> dict[str, float]:
        """Keep the counts; there are no scores without names of classes."""
        self.counts = results
        return {}


@METRICS.register_module()
class AdaptationMetric(ConfusionMetric):
    """mIoU, its parts over seen and unseen classes, and every class's IoU, in percent.

    Args:
        source: label space of the source model, a dataset's name known to MMSeg or a list of names.
        kwargs: those of ``PerImageMetric``.

    Attributes:
        transferred: the matches of the run's ``HeadTransferHook``, which sets them; None without one.

    Raises:
        ValueError: on evaluation, if a label or prediction lies outside the label space; names the file.
    """

    def __init__(self, source: str | Sequence[str] = 'voc', **kwargs) -> None:
        super().__init__(**kwargs)
        self.source = resolve_classes(source)
        self.transferred: Mapping[str, Match] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The evaluated dataset's classes."""
        return tuple(self.dataset_meta['classes'])

    @property
    def matches(self) -> Mapping[str, Match]:
        """Source classes by target class: as transferred, else by name and alias."""
        return match_classes(self.source, self.classes) if self.transferred is None else self.transferred

    @property
    def seen(self) -> tuple[str, ...]:
        """The classes that the source model has seen, in order; see ``seen_matches``.

        Also with rows that start at random (``matched='reinit'``): the backbone has learnt from them.
        """
        seen = seen_matches(self.matches)
        return tuple(name for name in self.classes if name in seen)

    def compute_metrics(self, results: list[SparseCounts]) -> dict[str, float]:
        """Flat scores of the evaluation, in percent."""
        super().compute_metrics(results)
        return flat_scalars(scores_from_confusion(self.confusion, self.classes, self.seen))
