"""How well a source model would transfer, scored from sampled pixels before any training.

Every score takes a row per pixel and the image that each is of, and comes with an interval over images: the
pixels of one image are alike, so images are resampled. The draws depend on the number of images alone, so
that models scored on the same pixels share them.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..datasets.label_spaces import Match
from .image_sums import Moments, Pixels, Score, over_images, read_pixels, with_interval
from .metrics.across_spaces import source_scores
from .metrics.scores import LABELLED, scores_from_confusion

# LogME's iteration ends when alpha / beta of no class changes by more than this part of it.
TOLERANCE = 1e-6
MAX_ITERATIONS = 200
# Where labels have nothing to do with features alpha / beta grows without bound: the most, in the largest
# eigenvalue. A perfect fit has evidence without bound: the least residual, in the labels' squares.
_MOST_RATIO, _LEAST_RESIDUAL = 1e12, 1e-12
# Strengths of the ridge that are tried, in mean variances of a feature.
RIDGES = 10.0 ** np.arange(-6, 2)
FOLDS = 5
# Eigenvalues up to this part of the largest are rounding, of directions that the features do not have.
_ROUNDING = 1e-12


def leep(probabilities: np.ndarray, labels: np.ndarray, images: np.ndarray) -> Score:
    """Log expected empirical prediction, in nats per pixel: at most 0, higher is better.

    With ``theta(x)_z`` the source's probability of its class z::

        mean over pixels i of  log sum_z P(y_i | z) theta(x_i)_z
        P(y | z) = P(y, z) / sum_y P(y, z),   P(y, z) = 1/N sum of theta(x_i)_z over pixels with y_i = y

    Args:
        probabilities: of the source's classes, ``(N, S)``; rows sum to 1 within 0.01, as in half precision.
        labels: of the target's classes, ``(N,)``, 0 to 254 and without ignored pixels.
        images: the image that each pixel is of, ``(N,)``.

    Raises:
        ValueError: as ``read_pixels``, and for rows that are no probabilities.

    Source: Nguyen et al., LEEP, ICML 2020, section 3, arXiv 2002.12462.
    """
    pixels = read_pixels('probabilities', probabilities, labels, images)
    least, sums = pixels.values.min(), pixels.values.sum(axis=1)
    if least < 0 or abs(sums - 1).max() > 0.01:
        raise ValueError(
            f'probabilities have a least value of {least:.3g} and sums from {sums.min():.3g} to '
            f'{sums.max():.3g}; expected at least 0 and sums of 1: take the softmax over classes'
        )

    def score(weights: np.ndarray) -> np.ndarray:
        counts, joint = pixels.class_sums(weights)
        conditional = _ratio(joint, joint.sum(axis=1, keepdims=True))
        total = np.zeros(len(weights))
        for label, (theta, of_image) in enumerate(pixels.by_class()):
            own = weights[:, of_image].T
            expected = theta @ conditional[:, label].T
            # A pixel of an image that was not drawn may have 0.
            logs = np.log(expected, out=np.zeros_like(expected), where=own > 0)
            total += (own * logs).sum(axis=0)
        return _if_several(total / counts.sum(axis=1), counts)

    return with_interval(pixels, score)


def h_score(features: np.ndarray, labels: np.ndarray, images: np.ndarray) -> Score:
    """H-score, from 0 to the lesser of D and C - 1: higher is better.

    ``trace(cov(f)^-1 cov(E[f | y]))``, inverted on the directions that the features have. No invertible
    linear map of the features alters it.

    Args:
        features: ``(N, D)``.
        labels: of C classes, ``(N,)``, 0 to 254 and without ignored pixels.
        images: the image that each pixel is of, ``(N,)``.

    Raises:
        ValueError: as ``read_pixels``.

    Source: Bao et al., An Information-Theoretic Approach to Transferability in Task Transfer Learning, ICIP
        2019, the definition of the H-score.
    """
    return _h_score(features, labels, images, shrunk=False)


def regularised_h_score(features: np.ndarray, labels: np.ndarray, images: np.ndarray) -> Score:
    """H-score with a covariance shrunk to ``s I``, s the mean variance: higher is better.

    ``trace(((1 - a) cov(f) + a s I)^-1 (1 - a) cov(E[f | y]))``. The shrinkage a is Ledoit and Wolf's,
    estimated anew in every resample, for pixels that are independent: too little for those of few images.
    Rotating or scaling all features does not alter the score, other maps do. Arguments and errors are
    ``h_score``'s.

    Source: Ibrahim et al., Newer is not always better, ECML PKDD 2022, arXiv 2110.06893; Ledoit and Wolf, A
        well-conditioned estimator for large-dimensional covariance matrices, J. Multivariate Analysis 88,
        2004, section 3.
    """
    return _h_score(features, labels, images, shrunk=True)


def log_me(features: np.ndarray, labels: np.ndarray, images: np.ndarray) -> Score:
    """Log of the maximum evidence, in nats per pixel: higher is better.

    A Bayesian linear model ``y = F w + noise`` without an intercept of each class's one-hot labels y, w of
    precision alpha and noise of precision beta. The log evidence over N, averaged over the classes there::

        N/2 log(beta / 2 pi) + D/2 log alpha - beta/2 |F m - y|^2 - alpha/2 m^T m - 1/2 log |A|
        A = alpha I + beta F^T F,   m = beta A^-1 F^T y

    is maximised by the fixed point ``alpha = g / m^T m``, ``beta = (N - g) / |F m - y|^2`` with ``g = sum_i
    beta s_i / (alpha + beta s_i)`` over the eigenvalues s_i of ``F^T F``. From ``alpha = beta = 1`` on, it
    ends when no ``alpha / beta`` changes by more than ``TOLERANCE`` of it, or after ``MAX_ITERATIONS``.
    Labels that have nothing to do with the features get the evidence of ``w = 0``. A perfect fit has evidence
    without bound, so at least 1e-12 of ``y^T y`` counts as residual. Arguments and errors are ``h_score``'s.

    Source: You et al., LogME, ICML 2021, section 4 and algorithm 1, arXiv 2102.11005.
    """
    pixels = read_pixels('features', features, labels, images)

    def score(weights: np.ndarray) -> np.ndarray:
        counts, sums = pixels.class_sums(weights)
        eigenvalues, axes = np.linalg.eigh(pixels.grams(weights))
        return _if_several(_evidence(counts, eigenvalues, sums @ axes), counts)

    return with_interval(pixels, score)


def linear_miou(features: np.ndarray, labels: np.ndarray, images: np.ndarray, seed: int = 0) -> Score:
    """mIoU in percent of a linear classifier on frozen features, on images that it has not seen.

    Ridge regression to one-hot labels, with an intercept, in closed form. ``seed`` shuffles the images; the
    first half, the larger, trains and the rest evaluates. The ridge is that of ``RIDGES``, in units of the
    features' mean variance, with the least squared error in cross-validation over ``FOLDS`` parts of the
    training images. The mean is over the classes that evaluated pixels have. The interval resamples both
    halves, each in itself, and keeps the ridge. Arguments are ``h_score``'s.

    Raises:
        ValueError: as ``read_pixels``, and for fewer than three images.

    Source: A. Hoerl, R. Kennard, Ridge Regression, Technometrics 12, 1970.
    """
    pixels = read_pixels('features', features, labels, images).centred()
    number, classes, _ = pixels.shape
    if number < 3:
        raise ValueError(f'pixels are of {number} images; expected at least 3, two of them to train on')
    train, test = np.array_split(np.random.default_rng(seed).permutation(number), 2)
    in_train = np.isin(np.arange(number), train)
    ridge = _choose_ridge(pixels, train)
    values, true, of_image = (array[~in_train[pixels.images]] for array in pixels)
    names = [str(label) for label in range(classes)]

    def score(weights: np.ndarray) -> np.ndarray:
        found = []
        models = _fit_ridge(pixels.moments(weights * in_train), ridge)
        for own, slope, intercept in zip(weights, *models, strict=True):
            pairs = true * classes + (values @ slope + intercept).argmax(axis=1)
            confusion = np.bincount(pairs, own[of_image], classes**2).reshape(classes, classes)
            found.append(scores_from_confusion(confusion, names, ())['mIoU.labelled'])
        return np.array(found)

    return with_interval(pixels, score, train, test)


def source_view(
    confusions: np.ndarray, target: Sequence[str], source: Sequence[str], matches: Mapping[str, Match]
) -> Score:
    """mIoU in percent of the source model's own predictions, over the labelled target classes.

    ``confusions`` ``(I, T, S)`` count each image's target labels by source predictions; ``source_scores``
    reads them by name, so that what the source never named counts as 0.
    """

    def score(weights: np.ndarray) -> np.ndarray:
        sums = np.tensordot(weights, confusions, 1)
        found = (source_scores(one, target, source, matches, ())[LABELLED[0]] for one in sums)
        return np.array([np.nan if value is None else value for value in found])

    return over_images(len(confusions), score)


def principal_components(features: np.ndarray, count: int) -> np.ndarray:
    """Features ``(N, D)`` on their first principal components ``(N, count)``; as they are if D is not more.

    Scores of features cost D cubed in every resample, and the H-score grows with D whatever the features say.
    """
    if features.shape[1] <= count:
        return features
    centred = features - features.mean(axis=0, dtype=np.float64)
    axes = np.linalg.eigh(centred.T @ centred)[1]
    # Not centred: LogME has no intercept, and narrower layers are as they are.
    return features @ axes[:, : -count - 1 : -1]


def _h_score(features: np.ndarray, labels: np.ndarray, images: np.ndarray, shrunk: bool) -> Score:
    pixels = read_pixels('features', features, labels, images).centred()

    def score(weights: np.ndarray) -> np.ndarray:
        moments = pixels.moments(weights)
        number = moments.counts.sum(axis=1)
        variances, axes = np.linalg.eigh(moments.covariance)
        shares = (moments.counts / number[:, None])[..., None]
        between = _ratio((moments.cross @ axes) ** 2, shares).sum(axis=1)
        kept = _spanned(variances)
        if shrunk:
            alpha = _shrinkage(pixels, weights, moments, variances)[:, None]
            variances = (1 - alpha) * variances + alpha * variances.mean(axis=1, keepdims=True)
            between *= 1 - alpha
        return _if_several(_ratio(between * kept, variances * kept).sum(axis=1), moments.counts)

    return with_interval(pixels, score)


def _shrinkage(pixels: Pixels, weights: np.ndarray, moments: Moments, variances: np.ndarray) -> np.ndarray:
    """Ledoit and Wolf's, ``(R,)``: how uncertain a covariance is, in its squared distance from ``s I``."""
    number = moments.counts.sum(axis=1)
    # Of each pixel from each resample's mean, squared, (N, R).
    distances = (pixels.values**2).sum(axis=1)[:, None] - 2 * pixels.values @ moments.mean.T
    distances += (moments.mean**2).sum(axis=1)
    fourth = (distances**2 * weights[:, pixels.images].T).sum(axis=0) / number
    uncertain = (fourth - (variances**2).sum(axis=1)) / number
    spread = ((variances - variances.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return _ratio(np.clip(uncertain, 0, spread), spread)


def _evidence(counts: np.ndarray, eigenvalues: np.ndarray, projected: np.ndarray) -> np.ndarray:
    """LogME ``(R,)`` from ``V^T F^T y (R, C, D)`` for the eigenvectors V.

    The evidence depends on ``t = alpha / beta`` alone where beta is the best for it, as at a fixed point:
    ``N / (|F m - y|^2 + t m^T m)``.
    """
    number = counts.sum(axis=1, keepdims=True)
    kept = _spanned(eigenvalues)[:, None]
    s, power = eigenvalues[:, None] * kept, projected**2 * kept
    fitted = _ratio(power, s)
    squares = np.maximum(counts, 1)  # of one-hot labels, and something for absent classes
    outside = np.maximum(squares - fitted.sum(axis=2), _LEAST_RESIDUAL * squares)
    largest = s.max(axis=2)
    most = np.where(largest > 0, _MOST_RATIO * largest, 1) * np.ones_like(counts)
    t = np.ones_like(counts)
    for _ in range(MAX_ITERATIONS):
        left = kept * t[..., None] / (s + t[..., None])  # of a direction, 1 where its weight is 0
        residual = outside + (fitted * left**2).sum(axis=2)
        norm = (power / (s + t[..., None]) ** 2).sum(axis=2)
        effective = (kept - left).sum(axis=2)
        # N - g without a difference of what may be equal.
        free = number - kept.sum(axis=2) + left.sum(axis=2)
        before, t = t, np.minimum(_ratio(effective * residual, norm * free, most), most)
        if (abs(t - before) <= TOLERANCE * before).all():
            break
    beta = number / (residual + before * norm)
    logs = np.log(left, out=np.zeros_like(left), where=left > 0).sum(axis=2)
    evidence = number / 2 * (np.log(beta / (2 * np.pi)) - 1) + logs / 2
    present = counts > 0
    return (evidence * present).sum(axis=1) / present.sum(axis=1) / number[:, 0]


def _choose_ridge(pixels: Pixels, train: np.ndarray) -> float:
    """The ridge with the least squared error on training images, each held out once."""
    folds = [train[fold::FOLDS] for fold in range(min(FOLDS, len(train)))]
    images = np.arange(pixels.shape[0])
    moments = pixels.moments(np.stack([np.isin(images, np.setdiff1d(train, fold)) * 1.0 for fold in folds]))
    rows = [np.isin(pixels.images, fold) for fold in folds]
    one_hot = np.eye(pixels.shape[1])[pixels.labels]
    errors = [
        sum(
            ((pixels.values[own] @ slope + intercept - one_hot[own]) ** 2).sum()
            for own, slope, intercept in zip(rows, *_fit_ridge(moments, ridge), strict=True)
        )
        for ridge in RIDGES
    ]
    return RIDGES[int(np.argmin(errors))]


def _fit_ridge(moments: Moments, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Slopes ``(R, D, C)`` and intercepts ``(R, C)``; ``ridge`` in mean variances."""
    size = moments.covariance.shape[1]
    strength = ridge * moments.covariance.trace(axis1=1, axis2=2) / size
    # Features that are constant have no variance, and then the slope is 0.
    penalty = np.maximum(strength, np.finfo(float).tiny)[:, None, None] * np.eye(size)
    slope = np.linalg.solve(moments.covariance + penalty, moments.cross.swapaxes(1, 2))
    shares = moments.counts / moments.counts.sum(axis=1, keepdims=True)
    return slope, shares - (moments.mean[:, None] @ slope)[:, 0]


def _spanned(eigenvalues: np.ndarray) -> np.ndarray:
    return eigenvalues > _ROUNDING * eigenvalues[:, -1:]


def _if_several(scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """NaN for a resample with one class only, which says nothing."""
    return np.where((counts > 0).sum(axis=1) > 1, scores, np.nan)


def _ratio(numerator: np.ndarray, denominator: np.ndarray, otherwise: np.ndarray | float = 0) -> np.ndarray:
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    out = np.array(np.broadcast_to(otherwise, shape), float)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)
