"""Counts without their zeros."""

import numpy as np
import pytest

from mmseg_deeplab_study.evaluation.metrics.sparse import SparseCounts, add_sparse, to_sparse


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
