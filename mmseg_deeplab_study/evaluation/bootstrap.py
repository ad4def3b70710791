"""How sure a score is, given the images it was measured on."""

from collections.abc import Iterable, Sequence

import numpy as np

SAMPLES = 1000
LEVEL = 0.95
QUANTILES = (1 - LEVEL) / 2, (1 + LEVEL) / 2
# Weights held at once, 32 MB of int64.
_WEIGHTS = 2**22


def bootstrap_interval(
    counts: Iterable[np.ndarray], classes: Sequence[str], seen: Sequence[str]
) -> dict[str, list[float] | None]:
    """Percentile bootstrap over images: 95 % intervals of resampled scores.

    Each of ``SAMPLES`` resamples draws N of the N images with replacement, sums their confusion matrices and
    scores the sum as ``scores_from_confusion`` does. The interval is between ``QUANTILES`` of the resamples
    that have the score; the same images in the same order give the same interval. It says what other images
    of the same kind would give, not what another training would.

    Args:
        counts: one confusion matrix per image, int64 ``(C, C)``, true class by row.
        classes: the C names.
        seen: those of them that the source model knew.

    Returns:
        ``mIoU``, ``mIoU.seen``, ``mIoU.unseen`` and ``aAcc``, each ``[low, high]`` in percent, or None if no
        resample has the score.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    # All that the scores need is linear in a matrix: resampled matrices are never formed.
    parts = np.stack([np.concatenate([m.diagonal(), m.sum(axis=1), m.sum(axis=0)]) for m in counts])
    images, is_seen = len(parts), np.array([name in seen for name in classes])
    rng = np.random.default_rng(0)
    chunk = max(1, _WEIGHTS // images)
    scores = []
    for start in range(0, SAMPLES, chunk):
        size = min(chunk, SAMPLES - start)
        weights = rng.multinomial(images, np.full(images, 1 / images), size)
        scores.append(_scores((weights @ parts).reshape(size, 3, len(classes)), is_seen))
    intervals = {}
    for key in scores[0]:
        values = np.concatenate([part[key] for part in scores])
        values = values[~np.isnan(values)]
        intervals[key] = np.quantile(values, QUANTILES).tolist() if len(values) else None
    return intervals


def _scores(sums: np.ndarray, is_seen: np.ndarray) -> dict[str, np.ndarray]:
    """Scores ``(S,)`` in percent, NaN for none, of hits, labelled and predicted pixels ``(S, 3, C)``."""
    hits, labelled, predicted = sums[:, 0], sums[:, 1], sums[:, 2]
    union = labelled + predicted - hits
    iou, present = _ratio(100 * hits, union), union > 0
    return {
        'mIoU': _mean(iou, present),
        'mIoU.seen': _mean(iou, present & is_seen),
        'mIoU.unseen': _mean(iou, present & ~is_seen),
        'aAcc': _ratio(100 * hits.sum(axis=1), labelled.sum(axis=1)),
    }


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def _mean(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    return _ratio(np.where(counted, values, 0).sum(axis=1), counted.sum(axis=1))
