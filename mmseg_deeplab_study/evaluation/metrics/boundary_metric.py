"""Scores of boundaries, which mIoU hardly sees: Boundary IoU, mIoU in trimaps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from mmseg.registry import METRICS

from .confusion import SparseCounts, add_sparse, as_uint8, check_counts, check_ids, to_sparse
from .per_image import PerImageMetric
from .scores import mean_known, scores_from_confusion

WIDTHS = (1, 2, 4, 8, 16, 32)
_3X3 = np.ones((3, 3), np.uint8)


class BoundaryCounts(NamedTuple):
    """Pixels of one image, int64.

    ``intersection`` and ``union`` (C,) are those of Boundary IoU. ``rings`` (W, C, C) counts pixels by ring,
    true and predicted class; a pixel's ring is that of the narrowest band that it is in.
    """

    intersection: np.ndarray
    union: np.ndarray
    rings: SparseCounts


def distance_to_change(labels: np.ndarray) -> np.ndarray:
    """Distance of each pixel (H, W) to one of another label, in float32; else inf.

    In pixels, by the larger of both axes (Chebyshev): neighbours, diagonal ones too, are 1 away. Outside the
    image there is no label.
    """
    # A pixel at distance k has one with a differing neighbour at k - 1, so one transform does for all labels.
    changes = cv2.dilate(labels, _3X3) != cv2.erode(labels, _3X3)
    if not changes.any():
        return np.full(labels.shape, np.inf, np.float32)
    return cv2.distanceTransform((~changes).astype(np.uint8), cv2.DIST_C, 3) + 1


def boundary_width(size: tuple[int, int], dilation_ratio: float) -> int:
    """Width of Boundary IoU's band in pixels: a share of the diagonal, at least 1."""
    return max(1, round(dilation_ratio * math.hypot(*size)))


def count_boundaries(
    prediction: np.ndarray,
    label: np.ndarray,
    num_classes: int,
    dilation_ratio: float = 0.02,
    widths: Sequence[int] = WIDTHS,
    ignore_index: int = 255,
) -> BoundaryCounts:
    """Count one image's pixels along boundaries, from maps (H, W).

    Raises:
        ValueError: the shapes differ, an id is neither a class nor ``ignore_index`` of the label, or there
            are more than 256 classes.
    """
    check_ids(num_classes, ignore_index)
    label, prediction = as_uint8(label, prediction, num_classes, ignore_index, num_classes)
    valid = label != ignore_index
    prediction = np.where(valid, prediction, np.uint8(ignore_index))
    for name, ids in (('label', label), ('prediction', prediction)):
        check_counts(name, np.bincount(ids[valid]), num_classes, ignore_index)
    apart = distance_to_change(label)
    # Boundary IoU takes the edge of the image for a boundary, a trimap does not.
    inside = apart > (width := boundary_width(label.shape, dilation_ratio))
    near_label = valid & _with_frame(~inside, width)
    near_prediction = valid & _with_frame(distance_to_change(prediction) <= width, width)

    def count(where: np.ndarray) -> np.ndarray:
        return np.bincount(where, minlength=num_classes).astype(np.int64)

    intersection = count(label[near_label & near_prediction & (label == prediction)])
    union = count(label[near_label]) + count(prediction[near_prediction]) - intersection
    # Trimaps, in rings.
    near = valid & (apart <= widths[-1])
    ring = np.searchsorted(widths, apart[near])
    joint = np.bincount((ring * num_classes + label[near]) * num_classes + prediction[near])
    return BoundaryCounts(intersection, union, to_sparse(joint))


def _with_frame(band: np.ndarray, width: int) -> np.ndarray:
    band[:width] = band[-width:] = True
    band[:, :width] = band[:, -width:] = True
    return band


def boundary_scores(
    images: Iterable[BoundaryCounts], classes: Sequence[str], widths: Sequence[int] = WIDTHS
) -> dict[str, Any]:
    """Score images together, in percent; a class without a boundary pixel has None.

    Returns:
        ``BIoU`` (mean over the classes that have one), ``class_biou`` by name, and ``trimap``: of each width,
        as a string, ``mIoU`` and ``class_iou``.
    """
    images = list(images)
    shared, union = (
        sum((getattr(image, name) for image in images), np.zeros(len(classes), np.int64))
        for name in ('intersection', 'union')
    )
    pairs = zip(classes, shared, union, strict=True)
    class_biou = {name: 100 * int(part) / int(whole) if whole else None for name, part, whole in pairs}
    rings = add_sparse((image.rings for image in images), (len(widths), len(classes), len(classes)))
    trimap = {}
    for width, confusion in zip(widths, rings.cumsum(axis=0), strict=True):
        scores = scores_from_confusion(confusion, classes, ())
        trimap[str(width)] = {key: scores[key] for key in ('mIoU', 'class_iou')}
    return {'BIoU': mean_known(list(class_biou.values())), 'class_biou': class_biou, 'trimap': trimap}


def flat_boundary_scores(scores: Mapping[str, Any]) -> dict[str, float]:
    """Flatten to ``BIoU``, ``BIoU.<class>`` and ``trimap.<width>``, without nulls."""
    flat = {'BIoU': scores.get('BIoU')}
    flat |= {f'trimap.{width}': values['mIoU'] for width, values in scores.get('trimap', {}).items()}
    flat |= {f'BIoU.{name}': value for name, value in scores.get('class_biou', {}).items()}
    return {key: value for key, value in flat.items() if value is not None}


@METRICS.register_module()
class BoundaryMetric(PerImageMetric):
    """Boundary IoU and trimap mIoU, for any config of MMSegmentation.

    Boundary IoU (Cheng et al. 2021) is the IoU of a class's pixels within a band inside its boundary, in
    label and prediction, summed over all images as mIoU is. Trimap mIoU is that of all pixels within a band
    around the label's boundaries, on both sides, as in DeepLab's paper. Unlabelled pixels count nowhere;
    their edge is a boundary, in the prediction as in the label. Distances are Chebyshev's. ``counts`` are
    ``BoundaryCounts``.

    Args:
        dilation_ratio: width of Boundary IoU's band as a share of the image's diagonal. The authors' 0.02 is
            46 pixels at 1024x2048, 0.005 is 11.
        widths: of the trimaps, in pixels, ascending.
        kwargs: those of ``PerImageMetric``.

    Raises:
        ValueError: a ratio or width out of range; on evaluation, if an id is outside the label space; names
            the file.
    """

    def __init__(self, dilation_ratio: float = 0.02, widths: Sequence[int] = WIDTHS, **kwargs) -> None:
        super().__init__(**kwargs)
        if not 0 < dilation_ratio <= 1:
            raise ValueError(f'BoundaryMetric: dilation_ratio must be in (0, 1], but got {dilation_ratio}')
        widths = tuple(widths)
        if not widths or widths[0] < 1 or widths != tuple(sorted(set(widths))):
            raise ValueError(
                f'BoundaryMetric: widths must ascend from at least 1 pixel, but got {list(widths)}'
            )
        self.dilation_ratio = dilation_ratio
        self.widths = widths

    def count(self, prediction: np.ndarray, label: np.ndarray) -> BoundaryCounts:
        """Count one image's pixels along boundaries."""
        num_classes = len(self.dataset_meta['classes'])
        return count_boundaries(
            prediction, label, num_classes, self.dilation_ratio, self.widths, self.ignore_index
        )

    def compute_metrics(self, results: list[BoundaryCounts]) -> dict[str, float]:
        """Flat scores of the evaluation, in percent."""
        # MMEngine moves what is in a tuple to the CPU by making another tuple.
        self.counts = [BoundaryCounts(*parts) for parts in results]
        return flat_boundary_scores(self.scores(range(len(results))))

    def scores(self, images: Sequence[int]) -> dict[str, Any]:
        """``boundary_scores`` of some evaluated images, by their places in the dataset."""
        classes = self.dataset_meta['classes']
        return boundary_scores((self.counts[i] for i in images), classes, self.widths)
