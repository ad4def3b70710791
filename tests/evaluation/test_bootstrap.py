"""The bootstrap over images, against a loop that scores every resample with the metric's own function."""

import numpy as np
import pytest

from mmseg_deeplab_study.evaluation import bootstrap
from mmseg_deeplab_study.evaluation.bootstrap import bootstrap_interval
from mmseg_deeplab_study.evaluation.metrics.scores import scores_from_confusion

CLASSES = ('road', 'person', 'car', 'sky')
SEEN = ('person', 'car')
KEYS = ['mIoU', 'mIoU.seen', 'mIoU.unseen', 'aAcc']


def random_counts(images: int, seed: int = 0, classes: int = 4) -> np.ndarray:
    """Images that each show some of the classes, so that resamples lack some."""
    rng = np.random.default_rng(seed)
    shown = rng.random((images, classes, 1)) < 0.3
    confused = rng.random((images, classes, classes)) < 0.3
    return rng.integers(0, 1000, (images, classes, classes)) * shown * confused


def slow_interval(counts) -> dict:
    """One resample at a time."""
    n = len(counts)
    draws = np.random.default_rng(0).multinomial(n, [1 / n] * n, 1000)
    scores = []
    for draw in draws:
        images = [counts[i] for i, times in enumerate(draw) for _ in range(times)]
        assert len(images) == n
        scores.append(scores_from_confusion(np.sum(images, axis=0), CLASSES, SEEN))
    intervals = {}
    for key in KEYS:
        values = [s[key] for s in scores if s[key] is not None]
        intervals[key] = list(np.percentile(values, [2.5, 97.5])) if values else None
    return intervals


@pytest.mark.parametrize('images', [2, 3, 12])
@pytest.mark.parametrize('seed', [0, 7])
def test_equals_the_loop_with_the_same_draws(images, seed):
    counts = random_counts(images, seed)
    found = bootstrap_interval(counts, CLASSES, SEEN)
    expected = slow_interval(counts)
    assert list(found) == KEYS
    for key in KEYS:
        assert found[key] == pytest.approx(expected[key], rel=1e-12), key


def test_the_loop_meets_absent_classes():
    # Else the comparison says nothing about them: image 1 alone has no road.
    counts = np.zeros((2, 4, 4), np.int64)
    counts[0, 0, 0] = counts[1, 1, 1] = 10
    counts[1, 1, 2] = 30
    # Resamples: both images, or twice the first (road 100), or twice the second (person 10/40, car 0/30).
    found = bootstrap_interval(counts, CLASSES, SEEN)
    assert found['mIoU'] == [12.5, 100.0]
    assert found['mIoU.seen'] == [12.5, 12.5]  # not where neither is there
    assert found['mIoU.unseen'] == [100.0, 100.0]
    assert found['aAcc'] == [25.0, 100.0]


def test_no_resample_has_the_score():
    counts = np.zeros((3, 4, 4), np.int64)
    assert bootstrap_interval(counts, CLASSES, SEEN) == dict.fromkeys(KEYS)
    counts[:, 0, 0] = 1
    found = bootstrap_interval(counts, CLASSES, SEEN)
    assert found == {'mIoU': [100.0] * 2, 'mIoU.seen': None, 'mIoU.unseen': [100.0] * 2, 'aAcc': [100.0] * 2}
    assert all(type(end) is float for end in found['mIoU'])


def test_is_deterministic_and_leaves_its_input_alone():
    counts = random_counts(20)
    before = counts.copy()
    first = bootstrap_interval(counts, CLASSES, SEEN)
    assert first == bootstrap_interval(counts, CLASSES, SEEN)
    assert np.array_equal(counts, before)


def test_chunks_do_not_alter_it(monkeypatch):
    counts = random_counts(20)
    whole = bootstrap_interval(counts, CLASSES, SEEN)
    for weights in (1, 20 * 7):
        monkeypatch.setattr(bootstrap, '_WEIGHTS', weights)
        assert bootstrap_interval(counts, CLASSES, SEEN) == whole
