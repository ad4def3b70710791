"""Pixels whose images are resampled: sums over them, and the interval of a score of such sums.

A resample of images is a weight for each, and what a score needs is a sum over pixels. Shapes: N pixels of I
images, D values, C classes, R resamples.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from .bootstrap import QUANTILES

RESAMPLES = 200
# Numbers held at once in an array over resamples, 64 MB of float64.
_HELD = 2**23


class Score(NamedTuple):
    """A score and its 95 % percentile interval over images."""

    value: float
    low: float
    high: float


class Moments(NamedTuple):
    """Of each resample, with ``p`` the share of a class and ``m`` its mean.

    ``counts (R, C)`` of pixels, ``mean (R, D)``, ``cross (R, C, D)`` as ``p (m - mean)``, and ``covariance
    (R, D, D)``, which divides by the number of pixels.
    """

    counts: np.ndarray
    mean: np.ndarray
    cross: np.ndarray
    covariance: np.ndarray


class Pixels(NamedTuple):
    """Float64 ``values (N, D)`` by image, and from 0 without gaps ``labels`` and ``images (N,)``."""

    values: np.ndarray
    labels: np.ndarray
    images: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """I, C and D."""
        return int(self.images[-1]) + 1, int(self.labels.max()) + 1, self.values.shape[1]

    def centred(self) -> 'Pixels':
        """Values less their mean, without which a covariance from sums would lose digits."""
        return self._replace(values=self.values - self.values.mean(axis=0))

    def by_class(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Values and images of each class's pixels."""
        for label in range(self.shape[1]):
            rows = self.labels == label
            yield self.values[rows], self.images[rows]

    def class_sums(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts ``(R, C)`` and sums of values ``(R, C, D)``, under weights of images ``(R, I)``."""
        _, classes, size = self.shape
        counts, sums = np.empty((len(weights), classes)), np.empty((len(weights), classes, size))
        for label, (values, images) in enumerate(self.by_class()):
            own = weights[:, images]
            counts[:, label], sums[:, label] = own.sum(axis=1), own @ values
        return counts, sums

    def grams(self, weights: np.ndarray) -> np.ndarray:
        """``X^T W X``, ``(R, D, D)``, as sums of one product an image: W is the same on all its pixels."""
        images, _, size = self.shape
        ends = np.searchsorted(self.images, np.arange(images + 1))
        total = np.zeros((len(weights), size * size))
        step = max(1, _HELD // (2 * size * size))
        for start in range(0, images, step):
            places = range(start, min(start + step, images))
            rows = [self.values[ends[place] : ends[place + 1]] for place in places]
            total += weights[:, places] @ np.stack([(own.T @ own).reshape(-1) for own in rows])
        return total.reshape(-1, size, size)

    def moments(self, weights: np.ndarray) -> Moments:
        """The moments under weights of images ``(R, I)``."""
        counts, sums = self.class_sums(weights)
        number = counts.sum(axis=1)[:, None, None]
        sums /= number
        mean = sums.sum(axis=1)
        covariance = self.grams(weights)
        covariance /= number
        covariance -= mean[:, :, None] * mean[:, None]
        return Moments(counts, mean, sums - (counts[..., None] / number) * mean[:, None], covariance)


def read_pixels(name: str, values: np.ndarray, labels: np.ndarray, images: np.ndarray) -> Pixels:
    """Check and sort pixels: ``values (N, D)``, called ``name`` in errors, ``labels`` and ``images (N,)``.

    Raises:
        ValueError: shapes that do not fit, no pixel, values that are not finite, a label that is none of 0 to
            254, or one class only.
    """
    values, labels, images = np.asarray(values), np.asarray(labels), np.asarray(images)
    if values.ndim != 2 or not values.shape[1] or not labels.shape == images.shape == values.shape[:1]:
        raise ValueError(
            f'{name} {values.shape}, labels {labels.shape} and images {images.shape} do not fit; '
            'expected (N, D), (N,) and (N,), one row per pixel'
        )
    if not len(labels):
        raise ValueError('no labelled pixel; expected some of at least two classes')
    if not np.isfinite(values).all():
        raise ValueError(
            f'{name} have {(~np.isfinite(values)).sum()} values that are not finite; expected none'
        )
    if labels.dtype.kind not in 'iu' or labels.min() < 0 or labels.max() > 254:
        raise ValueError(
            f'labels are {labels.dtype} from {labels.min()} to {labels.max()}; expected integers from 0 to '
            '254: leave ignored pixels out'
        )
    ids, labels = np.unique(labels, return_inverse=True)
    if len(ids) < 2:
        raise ValueError(f'all pixels are of class {ids[0]}; expected at least two classes')
    images = np.unique(images, return_inverse=True)[1]
    order = np.argsort(images, kind='stable')
    return Pixels(values[order].astype(np.float64), labels[order], images[order])


def with_interval(pixels: Pixels, score: Callable[[np.ndarray], np.ndarray], *parts: np.ndarray) -> Score:
    """A score of pixels with its interval, as ``over_images``.

    A resample repeats images. A score of how well pixels fit themselves, as the H-score, is higher there: the
    fewer the pixels for the features, the more the interval is above the value.
    """
    images, _, size = pixels.shape
    return over_images(images, score, *parts, step=max(1, _HELD // max(size * size, len(pixels.labels))))


def over_images(
    images: int, score: Callable[[np.ndarray], np.ndarray], *parts: np.ndarray, step: int = RESAMPLES
) -> Score:
    """A score and its percentile bootstrap over images.

    Args:
        images: how many there are.
        score: takes weights of images ``(R, I)`` to scores ``(R,)``; NaN, for no score, is left out.
        parts: images that are drawn among themselves; all in one part if there are none.
        step: how many resamples are scored at once.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    weights = np.ones((1 + RESAMPLES, images))
    rng = np.random.default_rng(0)
    for part in parts or (np.arange(images),):
        weights[1:, part] = rng.multinomial(len(part), np.full(len(part), 1 / len(part)), RESAMPLES)
    scores = np.concatenate([score(weights[i : i + step]) for i in range(0, len(weights), step)])
    return Score(float(scores[0]), *np.nanquantile(scores[1:], QUANTILES).tolist())
