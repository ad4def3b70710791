"""Scores of transferability: by hand, beside the papers' formulas as written, and their properties."""

from math import log, pi

import numpy as np
import pytest

from mmseg_deeplab_study.datasets.label_spaces import match_classes
from mmseg_deeplab_study.evaluation import image_sums
from mmseg_deeplab_study.evaluation.transferability import (
    RIDGES,
    h_score,
    leep,
    linear_miou,
    log_me,
    principal_components,
    regularised_h_score,
    source_view,
)

OF_FEATURES = [h_score, regularised_h_score, log_me, linear_miou]
RNG = np.random.default_rng(5)
# 12 images of 10 to 30 pixels, 3 classes, not by image; features 4 and 5 are of one direction, 6 is constant.
IMAGES = RNG.permutation(np.repeat(np.arange(12) * 7, RNG.integers(10, 31, 12)))
LABELS = RNG.integers(0, 3, len(IMAGES)) * 2
FEATURES = RNG.normal(size=(len(IMAGES), 6)) @ RNG.normal(size=(6, 6)) + 0.7 * LABELS[:, None] * np.arange(6)
FEATURES = np.column_stack([FEATURES[:, :5], FEATURES[:, 4] * 2 + 1, np.full(len(IMAGES), 0.3)])
PROBABILITIES = RNG.dirichlet([0.3] * 4, len(IMAGES))


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(image_sums, 'RESAMPLES', 8)


def plain_leep(theta, y):
    joint = np.array([[theta[y == c, z].sum() for z in range(theta.shape[1])] for c in range(y.max() + 1)])
    conditional = joint / len(y) / (joint.sum(axis=0) / len(y))
    return np.mean([log(conditional[c] @ row) for c, row in zip(y, theta, strict=True)])


def means_by_class(f, y):
    return np.stack([f[y == c].mean(axis=0) for c in y])


def plain_h_score(f, y):
    return np.trace(np.linalg.pinv(np.cov(f.T), rcond=1e-10) @ np.cov(means_by_class(f, y).T))


def plain_regularised_h_score(f, y):
    f = f - f.mean(axis=0)
    n, size = f.shape
    s = f.T @ f / n
    target = np.trace(s) / size * np.eye(size)
    uncertain = sum(((np.outer(row, row) - s) ** 2).sum() for row in f) / n**2
    a = min(uncertain / ((s - target) ** 2).sum(), 1)
    between = (1 - a) * np.cov(means_by_class(f, y).T, bias=True)
    return np.trace(np.linalg.inv((1 - a) * s + a * target) @ between)


def log_evidence(f, y, alpha, beta):
    n, size = f.shape
    a = alpha * np.eye(size) + beta * f.T @ f
    m = beta * np.linalg.solve(a, f.T @ y)
    logs = n * log(beta / (2 * pi)) + size * log(alpha) - np.linalg.slogdet(a)[1]
    return (logs - beta * ((f @ m - y) ** 2).sum() - alpha * m @ m) / 2


def plain_log_me(f, y):
    found = []
    for c in np.unique(y):
        one, alpha, beta = (y == c) * 1.0, 1.0, 1.0
        eigenvalues = np.linalg.svd(f, compute_uv=False) ** 2
        for _ in range(100):
            m = beta * np.linalg.solve(alpha * np.eye(f.shape[1]) + beta * f.T @ f, f.T @ one)
            g = (beta * eigenvalues / (alpha + beta * eigenvalues)).sum()
            alpha, beta = g / (m @ m), (len(y) - g) / ((f @ m - one) ** 2).sum()
        found.append(log_evidence(f, one, alpha, beta) / len(y))
    return np.mean(found)


def plain_ridge(f, y, ridge, classes):
    """Slope and intercept, by least squares with rows added for the penalty."""
    mean, one_hot = f.mean(axis=0), np.eye(classes)[y]
    share = one_hot.mean(axis=0)
    strength = len(y) * ridge * f.var(axis=0).mean()
    rows = np.vstack([f - mean, np.sqrt(strength) * np.eye(f.shape[1])])
    slope = np.linalg.lstsq(rows, np.vstack([one_hot - share, np.zeros((f.shape[1], classes))]), None)[0]
    return slope, share - mean @ slope


def plain_linear_miou(f, y, in_train, ridge, classes=3):
    slope, intercept = plain_ridge(f[in_train], y[in_train], ridge, classes)
    guess, y = (f[~in_train] @ slope + intercept).argmax(axis=1), y[~in_train]
    iou = [((y == c) & (guess == c)).sum() / ((y == c) | (guess == c)).sum() for c in np.unique(y)]
    return 100 * np.mean(iou)


def resampled_rows(*parts):
    """Rows of every resample, an image's as often as it is drawn: the first has each once."""
    names, of_image = np.unique(IMAGES, return_inverse=True)
    times = np.ones((9, len(names)), int)
    rng = np.random.default_rng(0)
    for part in parts or (range(len(names)),):
        times[1:, part] = rng.multinomial(len(part), [1 / len(part)] * len(part), 8)
    return [np.repeat(np.arange(len(IMAGES)), own[of_image]) for own in times]


def assert_score(found, values):
    assert found == pytest.approx((values[0], *np.percentile(values[1:], [2.5, 97.5])), rel=1e-7)
    assert all(type(number) is float for number in found)


@pytest.mark.parametrize(
    ('score', 'plain', 'values'),
    [
        (leep, plain_leep, PROBABILITIES),
        (h_score, plain_h_score, FEATURES),
        (regularised_h_score, plain_regularised_h_score, FEATURES),
        (log_me, plain_log_me, FEATURES),
    ],
)
def test_equals_the_formula_on_every_resample(score, plain, values, monkeypatch):
    expected = [plain(values[rows], LABELS[rows] // 2) for rows in resampled_rows()]
    before = values.copy()
    found = score(values, LABELS, IMAGES)
    assert_score(found, expected)
    assert np.array_equal(values, before)
    # In chunks of resamples and of images
    monkeypatch.setattr(image_sums, '_HELD', 3 * len(IMAGES))
    assert score(values, LABELS, IMAGES) == pytest.approx(found, rel=1e-9)


def test_linear_miou_equals_ridge_by_least_squares(monkeypatch):
    # Noise that makes the strengths differ, and a slope that is 0 for the constant feature
    values = FEATURES + 20 * np.random.default_rng(1).normal(size=FEATURES.shape)
    names, of_image = np.unique(IMAGES, return_inverse=True)
    order = np.random.default_rng(4).permutation(12)
    train, test = order[:6], order[6:]
    y = LABELS // 2
    errors = np.zeros(len(RIDGES))
    for fold in range(5):
        out = np.isin(of_image, train[fold::5])
        into = np.isin(of_image, train) & ~out
        for place, ridge in enumerate(RIDGES):
            slope, intercept = plain_ridge(values[into], y[into], ridge, 3)
            errors[place] += ((values[out] @ slope + intercept - np.eye(3)[y[out]]) ** 2).sum()
    ridge = RIDGES[errors.argmin()]
    assert RIDGES[0] < ridge  # else any rule would do
    expected = [
        plain_linear_miou(values[rows], y[rows], np.isin(of_image[rows], train), ridge)
        for rows in resampled_rows(train, test)
    ]
    assert_score(linear_miou(values, LABELS, IMAGES, seed=4), expected)


def test_leep_by_hand():
    # P(y, z) = 1/2 [[.75, .25], [.25, .75]], P(z) = 1/2 each, so P(y | z) = [[.75, .25], [.25, .75]].
    # Both pixels: .75 * .75 + .25 * .25 = .625.
    found = leep(np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([0, 1]), np.array([0, 0]))
    assert found == pytest.approx((log(0.625),) * 3)
    # Columns: z=0 has 1 + .5 of y=0 and .5 of y=1, so P(y | z=0) = 3/4, 1/4; z=1 has .5 and 1.5: 1/4, 3/4.
    # Pixels: 3/4; (3/4 + 1/4) / 2 = 1/2; (1/4 + 3/4) / 2 = 1/2; 3/4.
    theta = np.array([[1, 0], [0.5, 0.5], [0.5, 0.5], [0, 1]])
    assert leep(theta, np.array([0, 0, 1, 1]), np.zeros(4)).value == pytest.approx(log(3 / 8) / 2)


def test_leep_is_0_for_a_relation_and_minus_the_entropy_without_one():
    y = np.array([0, 0, 0, 1, 2, 2])
    # Source classes 0 and 3 are both the target's 0; 4 is never predicted.
    certain = np.eye(5)[[0, 3, 0, 1, 2, 2]]
    assert leep(certain, y, np.arange(6)) == (0, 0, 0)
    # All alike: P(y | z) = P(y) = 1/2, 1/6, 1/3.
    alike = np.tile([0.7, 0.3], (6, 1))
    entropy = -(log(1 / 2) / 2 + log(1 / 6) / 6 + log(1 / 3) / 3)
    assert leep(alike, y, np.zeros(6)).value == pytest.approx(-entropy)


def test_leep_is_over_its_bound():
    # Section 4: at least NCE, mean log P(y | z) of the likeliest z, and the mean log theta of these.
    y, z = LABELS // 2, PROBABILITIES.argmax(axis=1)
    joint = np.array([PROBABILITIES[y == c].sum(axis=0) for c in range(3)])
    given = (joint / joint.sum(axis=0))[y, z]
    bound = np.log(given).mean() + np.log(PROBABILITIES.max(axis=1)).mean()
    assert bound < leep(PROBABILITIES, LABELS, IMAGES).value < 0


def test_h_score_by_hand():
    # Means 1 and 5 about 3: between 4; covariance (9 + 1 + 1 + 9) / 4 = 5.
    found = h_score(np.array([[0], [2], [4], [6]]), np.array([0, 0, 1, 1]), np.zeros(4))
    assert found == pytest.approx((0.8,) * 3)


def test_regularised_h_score_by_hand():
    # S = diag(4, 1), s = 2.5, |x|^2 = 5: a = ((25 - 17) / 4) / (1.5^2 + 1.5^2) = 2 / 4.5 = 4/9.
    # Class means (2, 0) and (-2, 0): between diag(4, 0). Shrunk: 5/9 * 4 + 4/9 * 2.5 = 10/3.
    # 5/9 * 4 / (10/3) = 2/3, and without shrinkage 4 / 4.
    f, y = np.array([[2, 1], [2, -1], [-2, 1], [-2, -1]]), np.array([3, 3, 7, 7])
    assert regularised_h_score(f, y, np.zeros(4)).value == pytest.approx(2 / 3)
    assert h_score(f, y, np.zeros(4)).value == pytest.approx(1)


def test_how_far_a_covariance_is_shrunk():
    # S = I, which is s I: a = 0. Between diag(1, 0).
    f, y = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]), np.array([0, 0, 1, 1])
    assert regularised_h_score(f, y, np.zeros(4)).value == pytest.approx(1)
    # S = diag(16, 4) / 8, s = 5/4, |x|^4 = 16 or 1: a = ((64 + 4) / 8 - 17/4) / 8 / (2 * (3/4)^2) = 17/36.
    # Class means (2, 0) and (-2/3, 0) of 2 and 6 pixels: between 1/4 * 4 + 3/4 * 4/9 = 4/3.
    # Shrunk: 19/36 * 2 + 17/36 * 5/4 = 237/144.
    f = np.array([[2, 0], [-2, 0], [2, 0], [-2, 0], [0, 1], [0, -1], [0, 1], [0, -1]])
    found = regularised_h_score(f, np.array([0, 1, 0, 1, 1, 1, 1, 1]), np.zeros(8))
    assert found.value == pytest.approx(19 / 36 * 4 / 3 / (237 / 144))
    # S = diag(18, 8) / 4, s = 13/4, |x|^4 = 81 or 16: (97/2 - 97/4) / 4 > 6 of 2 * (5/4)^2 = 25/8: a = 1.
    f = np.array([[3, 0], [-3, 0], [0, 2], [0, -2]])
    found = regularised_h_score(f, np.array([0, 1, 0, 1]), np.zeros(4))
    assert found.value == 0


def test_log_me_by_hand():
    # One feature, F^T F = s. For t = alpha / beta the evidence is greatest with beta = N / Q, Q = y^T y -
    # z^2 / (s + t), z = F^T y: N/2 log(N / (2 pi Q)) - N/2 + log(t / (s + t)) / 2. Its derivative is 0 at
    # t = s (s y^T y - z^2) / (N z^2 - s y^T y). Here N = 4 and s = 3.
    f, y = np.array([[1], [1], [1], [0]]), np.array([0, 0, 1, 1])
    # Class 0: y^T y = z = 2, t = 3 (6 - 4) / (16 - 6) = 0.6, Q = 2 - 4 / 3.6 = 8/9.
    first = 2 * log(4 / (2 * pi * 8 / 9)) - 2 + log(0.6 / 3.6) / 2
    # Class 1: y^T y = 2, z = 1, 4 - 6 < 0: t grows without bound, w = 0 and Q = 2.
    second = 2 * log(4 / (2 * pi * 2)) - 2
    assert log_me(f, y, np.zeros(4)).value == pytest.approx((first + second) / 2 / 4, rel=1e-6)
    # The pair that this comes from is the greatest evidence of class 0.
    beta, one = 4 / (8 / 9), np.array([1, 1, 0, 0])
    assert log_evidence(f, one, 0.6 * beta, beta) == pytest.approx(first)
    for alpha, other in ((0.55 * beta, beta), (0.65 * beta, beta), (0.6 * beta, 1.1 * beta)):
        assert log_evidence(f, one, alpha, other) < first


def test_log_me_of_nothing_and_of_all():
    # Features of 0: w = 0, Q = y^T y = 2 of N = 4.
    y = np.array([0, 0, 1, 1])
    nothing = (2 * log(4 / (2 * pi * 2)) - 2) / 4
    assert log_me(np.zeros((4, 2)), y, np.zeros(4)).value == pytest.approx(nothing)
    # A perfect fit ends at the residual's limit, also with more features than pixels.
    assert np.isfinite(log_me(np.eye(2)[y], y, np.arange(4))).all()
    assert np.isfinite(log_me(np.random.default_rng(0).normal(size=(4, 9)), y, np.arange(4))).all()


def test_linear_miou_by_hand():
    # Every image: x = 0 of class 0, x = 1 of classes 1, 1 and 0. The line for class 1 is 0 at 0 and 2/3 at 1,
    # so that x = 1 is taken for class 1: IoU 1/2 and 2/3, whatever is drawn.
    x, y = np.tile([0, 1, 1, 1], 4)[:, None], np.tile([0, 1, 1, 0], 4)
    assert linear_miou(x, y, np.repeat(np.arange(4), 4)) == pytest.approx((100 * 7 / 12,) * 3)


def test_linear_miou_of_images_with_classes_that_were_not_trained():
    # Images 0 to 3 have a class each: of the two or one that are evaluated, none is known.
    assert linear_miou(np.arange(4)[:, None], np.arange(4), np.arange(4)) == (0, 0, 0)
    # Constant features: the commonest class of the training images.
    y = np.tile([0, 0, 1], 4)
    constant = linear_miou(np.ones((12, 2)), y, np.repeat(np.arange(4), 3))
    assert constant == pytest.approx((100 * 2 / 3 / 2,) * 3)


def test_source_view_by_hand(monkeypatch):
    target, source = ('road', 'car', 'rider'), ('background', 'car')
    # Rows are road, car, rider; no pixel is labelled rider.
    images = np.array([[[6, 2], [1, 3], [0, 0]], [[4, 0], [2, 0], [0, 0]]])
    matches = match_classes(source, target)
    found = source_view(images, target, source, matches)
    # Road was never named: 0. Car: 3 of 3 + 1 + 2 in the first, 2 more of the second are missed.
    assert found.value == pytest.approx(100 * (0 + 3 / 8) / 2)
    # The first image twice, the second twice, or both.
    weights = np.random.default_rng(0).multinomial(2, [0.5, 0.5], 8)
    iou = {(2, 0): 3 / 6, (0, 2): 0, (1, 1): 3 / 8}
    drawn = [100 * iou[tuple(own)] / 2 for own in weights.tolist()]
    assert found[1:] == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))


def test_principal_components():
    # Variances 9, 4 and 1 along rotated axes, and a mean that stays.
    values = RNG.normal(size=(50, 3))
    values = np.linalg.qr(values - values.mean(axis=0))[0] * [1, 3, 2]
    rotation = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    mean = np.array([5.0, -2, 1])
    found = principal_components(values @ rotation + mean, 2)
    expected = (values + mean @ rotation.T)[:, [1, 2]]
    assert np.abs(found) == pytest.approx(np.abs(expected))
    assert principal_components(values, 3) is values


@pytest.mark.parametrize('score', OF_FEATURES)
def test_no_shift_scale_or_rotation_alters_what_it_should_not(score):
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(7, 7)))[0]
    found = score(FEATURES, LABELS, IMAGES)
    # LogME has no intercept, and starts from a scale that its end does not depend on.
    shift = 0 if score is log_me else 5
    assert score(3 * FEATURES @ rotation + shift, LABELS, IMAGES) == pytest.approx(found, rel=1e-5)
    # Names and the order of pixels and images' classes say nothing.
    order = np.random.default_rng(3).permutation(len(LABELS))
    assert score(FEATURES[order], 100 - LABELS[order], IMAGES[order]) == pytest.approx(found, rel=1e-9)


def test_no_invertible_map_alters_the_h_score():
    mapped = FEATURES @ np.random.default_rng(2).normal(size=(7, 7)) + 3
    found = h_score(FEATURES, LABELS, IMAGES)
    assert h_score(mapped, LABELS, IMAGES) == pytest.approx(found, rel=1e-6)
    assert not np.isclose(
        regularised_h_score(mapped, LABELS, IMAGES).value,
        regularised_h_score(FEATURES, LABELS, IMAGES).value,
        rtol=1e-4,
    )
    assert 0 < found.value < 2


@pytest.mark.parametrize('score', OF_FEATURES)
def test_features_that_are_the_label_are_best(score):
    one_hot = 3 * np.eye(3)[LABELS // 2]
    noise = np.random.default_rng(6).normal(size=(len(LABELS), 3))
    perfect, good, none = (score(part * one_hot + noise * (part < 1), LABELS, IMAGES) for part in (1, 0.9, 0))
    assert perfect.value > good.value > none.value
    if score is h_score:
        assert perfect == pytest.approx((2, 2, 2))  # C - 1
    if score is linear_miou:
        assert perfect == (100, 100, 100)


def test_a_resample_of_one_class_is_left_out():
    # Half of the resamples have one image and one class; the others are the whole.
    images, f = np.array([0, 0, 1, 1]), np.array([[0], [2], [4], [6]])
    assert h_score(f, images, images) == pytest.approx((0.8,) * 3)
    assert leep(np.full((4, 1), 1.0), images, images) == pytest.approx((log(0.5),) * 3)


@pytest.mark.parametrize('score', [leep, *OF_FEATURES])
@pytest.mark.parametrize(
    ('values', 'labels', 'images', 'message'),
    [
        (np.ones((0, 2)), np.ones(0, int), np.ones(0), 'no labelled pixel; expected some of at least two'),
        (np.ones((3, 1)), [4, 4, 4], [0, 1, 2], 'all pixels are of class 4; expected at least two classes'),
        (
            np.ones((2, 1)),
            [0, 255],
            [0, 1],
            'labels are int64 from 0 to 255; expected integers from 0 to 254',
        ),
        (np.ones((2, 1)), [-1, 0], [0, 1], 'labels are int64 from -1 to 0'),
        (np.ones((2, 1)), [0.0, 1], [0, 1], 'labels are float64 from 0.0 to 1.0'),
        ([[1], [np.nan]], [0, 1], [0, 1], '(features|probabilities) have 1 values that are not finite'),
        (np.ones((3, 1)), [0, 1], [0, 1], r'\(3, 1\), labels \(2,\) and images \(2,\) do not fit; expected'),
        (np.ones((2, 1)), [0, 1], [0], r'labels \(2,\) and images \(1,\) do not fit'),
        (np.ones(2), [0, 1], [0, 1], r'(features|probabilities) \(2,\), labels'),
        (np.ones((2, 0)), [0, 1], [0, 1], r'\(2, 0\), labels'),
    ],
)
def test_errors(score, values, labels, images, message):
    with pytest.raises(ValueError, match=message):
        score(values, labels, images)


@pytest.mark.parametrize(
    ('theta', 'message'),
    [
        (
            [[1, 0], [0.5, 0.4]],
            'a least value of 0 and sums from 0.9 to 1; expected at least 0 and sums of 1',
        ),
        ([[1, 0], [1.5, -0.5]], 'a least value of -0.5 and sums from 1 to 1'),
    ],
)
def test_errors_of_probabilities(theta, message):
    with pytest.raises(ValueError, match=message):
        leep(theta, [0, 1], [0, 1])


def test_too_few_images_to_train_on():
    with pytest.raises(ValueError, match='pixels are of 2 images; expected at least 3, two of them to train'):
        linear_miou(np.ones((2, 1)), [0, 1], [0, 1])
