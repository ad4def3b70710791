"""How sure a score is, given the images it was measured on."""

from collections.abc import Iterable, Sequence

import numpy as np

# Weights held at once, 32 MB of int64.
_WEIGHTS = 2**22


def bootstrap_interval(
    counts: Iterable[np.ndarray],
    classes: Sequence[str],
    seen: Sequence[str],
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, list[float] | None]:
    """Percentile bootstrap over images: intervals of resampled scores.

    A resample draws N of the N images with replacement, sums their confusion matrices and scores the sum as
    ``scores_from_confusion`` does. The interval is from quantile ``(1 - level) / 2`` to ``(1 + level) / 2``
    of the resamples that have the score. It says what other images of the same kind would give, not what
    another training would.

    Args:
        counts: one confusion matrix per image, int64 ``(C, C)``, true class by row.
        classes: the C names.
        seen: those of them that the source model knew.
        samples: number of resamples.
        seed: of the draws; the same images in the same order give the same interval.
        level: in (0, 1).

    Returns:
        ``mIoU``, ``mIoU.seen``, ``mIoU.unseen`` and ``aAcc``, each ``[low, high]`` in percent, or None if no
        resample has the score.

    Raises:
        ValueError: an argument is out of range, or the matrices do not fit the classes.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    num_classes = len(classes)
    if samples < 1:
        raise ValueError(f'samples must be at least 1, but got {samples}')
    if not 0 < level < 1:
        raise ValueError(f'level must lie between 0 and 1, but got {level}')
    # All that the scores need is linear in a matrix: resampled matrices are never formed.
    parts, shape = [], (0,)
    for matrix in counts:
        if (shape := np.shape(matrix)) != (num_classes, num_classes):
            break
        matrix = np.asarray(matrix, np.int64)
        parts.append(np.concatenate([matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)]))
    if shape != (num_classes, num_classes):
        raise ValueError(
            f'counts must be (N, {num_classes}, {num_classes}) with N at least 1, one matrix per image over '
            f'{num_classes} classes, but got {"a matrix " if parts else ""}{shape}'
        )
    parts, images = np.stack(parts), len(parts)
    is_seen = np.array([name in seen for name in classes])
    rng = np.random.default_rng(seed)
    chunk = max(1, _WEIGHTS // images)
    scores = []
    for start in range(0, samples, chunk):
        size = min(chunk, samples - start)
        weights = rng.multinomial(images, np.full(images, 1 / images), size)
        scores.append(_scores((weights @ parts).reshape(size, 3, num_classes), is_seen))
    quantiles = [(1 - level) / 2, (1 + level) / 2]
    intervals = {}
    for key in scores[0]:
        values = np.concatenate([part[key] for part in scores])
        values = values[~np.isnan(values)]
        intervals[key] = np.quantile(values, quantiles).tolist() if len(values) else None
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
