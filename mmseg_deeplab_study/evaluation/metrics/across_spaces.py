"""Scores of predictions that are made in another label space than the labels'."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...datasets.label_spaces import Match
from .scores import scores_from_confusion


def read_as_target(matches: Mapping[str, Match]) -> dict[str, str]:
    """The target class that each source class is read as, where there is one.

    Where a source class matches several target classes (``class_map={'rider': 'person'}``), the one of its
    own name wins, then alias, class map, approximate, and in each the target's order.
    """
    # From the strongest match to the weakest.
    rights = ('exact', 'alias', 'class_map', 'approximate')
    reading = {}

    def right(name: str) -> tuple[bool, int]:
        return name != matches[name].source, rights.index(matches[name].kind)

    for target in sorted(matches, key=right):
        reading.setdefault(matches[target].source, target)
    return reading


def translate(
    confusion: np.ndarray,
    classes: Sequence[str],
    predicted: Sequence[str],
    reading: Mapping[str, str],
) -> tuple[np.ndarray, np.ndarray]:
    """Read the columns of a confusion matrix in the label space of its rows.

    ``confusion`` (L, P) counts labels ``classes`` by predictions ``predicted``; ``reading`` gives the label
    class that a predicted class is read as. Returns the square matrix (L, L), and for each class (L,) the
    pixels that were predicted as something that is read as none.
    """
    square = np.zeros((len(classes), len(classes)), np.int64)
    missed = np.zeros(len(classes), np.int64)
    for column, name in zip(np.asarray(confusion, np.int64).T, predicted, strict=True):
        if name in reading:
            square[:, classes.index(reading[name])] += column
        else:
            missed += column
    return square, missed


def source_scores(
    confusion: np.ndarray,
    target: Sequence[str],
    source: Sequence[str],
    matches: Mapping[str, Match],
    seen: Sequence[str],
) -> dict[str, Any]:
    """Scores of the source model in the target's label space, in percent.

    ``confusion`` (T, S) counts target labels by source predictions. Background and source classes without a
    target class are always wrong, so a target class without a source class has IoU 0 where it is labelled;
    from VOC to Cityscapes mIoU is at most 6/19 = 31.6 %. Keys are those of ``scores_from_confusion``.
    """
    square, missed = translate(confusion, target, source, read_as_target(matches))
    return scores_from_confusion(square, target, seen, missed)


def forgetting_scores(
    confusion: np.ndarray,
    source: Sequence[str],
    target: Sequence[str],
    matches: Mapping[str, Match],
) -> dict[str, Any]:
    """Scores of the adapting model on the source's data, of shared classes, in %.

    ``confusion`` (S, T) counts source labels by target predictions. A shared class's IoU counts its false
    positives on the pixels of every source class; accuracies are over the pixels labelled with a shared
    class.

    Returns:
        ``mIoU``, ``aAcc``, ``mAcc``, ``mIoU.labelled`` (over the shared classes that have labelled pixels)
        and ``class_iou``, a dict by the source's name of each shared class.
    """
    reading = {target_name: match.source for target_name, match in matches.items()}
    shared = [name for name in source if name in reading.values()]
    square, missed = translate(confusion, source, target, reading)
    every = scores_from_confusion(square, source, shared, missed)
    # Accuracies of a shared class do not depend on the other rows.
    is_shared = np.isin(source, shared)
    own = scores_from_confusion(square * is_shared[:, None], source, shared, missed * is_shared)
    return {
        'mIoU': every['mIoU.seen'],
        'aAcc': own['aAcc'],
        'mAcc': own['mAcc'],
        'mIoU.labelled': every['mIoU.seen.labelled'],
        'class_iou': {name: every['class_iou'][name] for name in shared},
    }
