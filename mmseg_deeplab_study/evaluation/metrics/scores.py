"""Segmentation scores from one exact confusion matrix."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# mIoU over all classes that have an IoU, over the seen and over the others; then of the labelled ones alone.
MEAN_IOUS = ('mIoU', 'mIoU.seen', 'mIoU.unseen')
LABELLED = tuple(f'{score}.labelled' for score in MEAN_IOUS)


def scores_from_confusion(
    confusion: np.ndarray, classes: Sequence[str], seen: Sequence[str], missed: np.ndarray | None = None
) -> dict[str, Any]:
    """Compute the scores of a validation, in percent and unrounded.

    With intersection ``tp = C[i, i]``, IoU is ``tp / (row + column - tp)`` and accuracy ``tp / row``. A class
    absent from labels and predictions has IoU None and is left out of every mean; one absent from labels only
    has IoU 0, and is left out of mAcc. A mean over no class is None. ``missed`` (C,) counts each class's
    labelled pixels that were predicted, wrongly, as something outside the label space.

    Returns:
        ``mIoU``, ``aAcc``, ``mAcc``, ``mIoU.seen`` and ``mIoU.unseen`` (means over the classes in ``seen``
        and over the others), the ``labelled_means`` of the mIoUs, and ``class_iou``, a dict by class name.
    """
    confusion = np.asarray(confusion, np.int64)
    hits, labelled = confusion.diagonal(), confusion.sum(axis=1)
    if missed is not None:
        labelled = labelled + missed
    union = labelled + confusion.sum(axis=0) - hits
    iou = [100 * int(h) / int(u) if u else None for h, u in zip(hits, union, strict=True)]
    accuracy = [100 * int(h) / int(n) for h, n in zip(hits, labelled, strict=True) if n]
    class_iou = dict(zip(classes, iou, strict=True))
    return {
        'mIoU': mean_known(iou),
        'aAcc': 100 * int(hits.sum()) / int(labelled.sum()) if labelled.any() else None,
        'mAcc': mean_known(accuracy),
        'mIoU.seen': mean_known([class_iou[name] for name in classes if name in seen]),
        'mIoU.unseen': mean_known([class_iou[name] for name in classes if name not in seen]),
        **labelled_means(class_iou, [name for name, n in zip(classes, labelled, strict=True) if n], seen),
        'class_iou': class_iou,
    }


def labelled_means(
    class_iou: Mapping[str, float | None], labelled: Sequence[str], seen: Sequence[str]
) -> dict[str, float | None]:
    """mIoU and its parts over the classes that have labelled pixels alone, in percent.

    The other means move when the first pixel is predicted as a class without labels, whose IoU is then 0, and
    when the last is gone. Where all classes are labelled, both are the same.
    """
    iou = {name: class_iou[name] for name in labelled}
    parts = (iou, [name for name in iou if name in seen], [name for name in iou if name not in seen])
    return {key: mean_known([iou[name] for name in part]) for key, part in zip(LABELLED, parts, strict=True)}


def mean_known(scores: Sequence[float | None]) -> float | None:
    """The mean of the scores that are not None; None if all are."""
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def flat_scalars(scores: Mapping[str, Any]) -> dict[str, float]:
    """Flatten scores to one number a key, classes as ``IoU.<class>``, without nulls."""
    flat = {key: value for key, value in scores.items() if key != 'class_iou'}
    flat.update({f'IoU.{name}': value for name, value in scores['class_iou'].items()})
    return {key: value for key, value in flat.items() if value is not None}
