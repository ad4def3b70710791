"""Pixels counted exactly, and counts without their zeros."""

import numpy as np
import pytest

from mmseg_deeplab_study.evaluation.metrics.confusion import (
    SparseCounts,
    add_sparse,
    confusion_matrix,
    to_sparse,
)


@pytest.mark.parametrize('dtype', [np.int64, np.uint8])
def test_confusion_matrix_exact(dtype):
    label = np.array([[0, 0, 1], [2, 255, 1]], dtype)
    # The ignored pixel may be predicted as anything; maps need not be contiguous.
    prediction = np.array([[0, 0], [1, 7], [1, 1]], dtype).T
    # row true, column predicted: 0->0, 0->1, 1->1 twice, 2->0
    counts = confusion_matrix(prediction, label, 3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 2, 0], [1, 0, 0]])
    assert counts.dtype == np.int64


def test_another_ignore_index():
    label, prediction = np.array([0, 1, 1]), np.array([0, 0, 1])
    np.testing.assert_array_equal(confusion_matrix(prediction, label, 2, ignore_index=1), [[1, 0], [0, 0]])
    with pytest.raises(ValueError, match=r'in \[0, 1\] or 1, but got 0 to 255'):
        confusion_matrix(prediction, np.array([0, 255, 1]), 2, ignore_index=1)


def test_large_counts():
    # In 8 bits: 18 * 19 + 18 = 360 > 255.
    ids = np.array([18, 18], np.uint8)
    assert confusion_matrix(ids, ids, 19)[18, 18] == 2
    # Of float32 OpenCV would return 2**24 for each of the next two as well.
    ids = np.zeros(2**24 + 3, np.uint8)
    assert confusion_matrix(ids, ids, 2)[0, 0] == 2**24 + 3


@pytest.mark.parametrize(('classes', 'predicted', 'most'), [(257, None, 257), (19, 300, 300)])
def test_more_classes_than_uint8_has(classes, predicted, most):
    ids = np.zeros(4, np.uint8)
    with pytest.raises(ValueError, match=f'can count at most 256 classes, but got {most}'):
        confusion_matrix(ids, ids, classes, num_predicted=predicted)


@pytest.mark.parametrize('seed', range(3))
def test_confusion_matrix_against_numpy(seed):
    label, prediction = np.random.default_rng(seed).choice([*range(7), 255], (2, 24, 31))
    prediction %= 7
    edges = np.arange(8)
    expected, _, _ = np.histogram2d(label.ravel(), prediction.ravel(), bins=(edges, edges))
    # histogram2d leaves out what lies outside the bins: the ignored pixels
    np.testing.assert_array_equal(confusion_matrix(prediction, label, 7), expected)


@pytest.mark.parametrize('shape', [(3, 3), (4, 2), (6, 256, 256)])
def test_dense_again(shape):
    rng = np.random.default_rng(0)
    counts = np.where(rng.random(shape) < 0.3, rng.integers(0, 2**40, shape), 0)
    again = add_sparse([to_sparse(counts)], shape)
    np.testing.assert_array_equal(again, counts)
    assert again.dtype == np.int64


def test_sum():
    counts = np.array([[[1, 0], [0, 2]], [[0, 0], [3, 2**53]]])
    sparse = [to_sparse(one) for one in counts]
    assert [part.tolist() for part in sparse[1]] == [[2, 3], [3, 2**53]]
    # As MMEngine hands it back: a tuple.
    np.testing.assert_array_equal(add_sparse([sparse[0], tuple(sparse[1])], (2, 2)), [[1, 0], [3, 2**53 + 2]])
    np.testing.assert_array_equal(add_sparse([], (2, 2)), np.zeros((2, 2)))
    assert isinstance(sparse[0], SparseCounts)
