"""Whether seen classes are lost by the new head, or by the features that it reads."""

from typing import NamedTuple

from ..runs.history import History, Kind
from .adaptation import source_row
from .score_curves import find_score, over_labelled, score_curve


class HeadOrFeatures(NamedTuple):
    """A score in percent where the new head's curve is lowest, and its drops in percentage points.

    With ``s`` the source's own view, ``h_i`` the new head's score at iteration i, and ``f_i`` that of the
    same features through the source's own classifier, over the iterations that have both::

        iteration = min {i : h_i = min_k h_k}
        source = s     head = h_iteration     features = f_iteration
        head_drop = s - head     features_drop = s - features

    If the head drops and the features do not, the classes are still in the features. Drops are negative above
    the source's view.
    """

    iteration: int
    source: float
    head: float
    features: float
    head_drop: float
    features_drop: float


def seen_mean(history: History) -> str:
    """The mean over the seen classes that rows of the source's classifier have, labelled where known."""
    return over_labelled(history.select(Kind.SOURCE_CLASSIFIER), 'mIoU.seen')


def both_curves(history: History, score: str) -> list[tuple[int, float, float]]:
    """Points (iteration, new head, features through the source's classifier) in percent.

    Of the iterations that have a score of both; empty without rows of the source's classifier.
    """
    features = dict(score_curve(history.select(Kind.SOURCE_CLASSIFIER), score))
    head = score_curve(history.validations, score)
    return [(i, value, features[i]) for i, value in head if i in features]


def compare_head_and_features(history: History, score: str | None = None) -> HeadOrFeatures | None:
    """Compare the two at the new head's lowest, by ``score``, such as ``'IoU.car'``, or the ``seen_mean``.

    None where the record lacks the source's view or rows of its classifier with that score.
    """
    score = score or seen_mean(history)
    source, points = find_score(source_row(history) or {}, score), both_curves(history, score)
    if source is None or not points:
        return None
    iteration, head, features = min(points, key=lambda point: point[1])
    return HeadOrFeatures(iteration, source, head, features, source - head, source - features)
