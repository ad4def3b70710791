"""Counts of images, of which most are 0: what of them is not."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class SparseCounts(NamedTuple):
    """What of an array of counts is not 0: its ``places`` in the flat array, uint32, and ``numbers``, int64.

    An image has few classes: dense, a confusion matrix of 150 takes 180 kB and its rings along boundaries a
    megabyte.
    """

    places: np.ndarray
    numbers: np.ndarray


def to_sparse(counts: np.ndarray) -> SparseCounts:
    """What of ``counts``, of any shape, is not 0."""
    flat = counts.reshape(-1)
    places = np.flatnonzero(flat)
    return SparseCounts(places.astype(np.uint32), flat[places].astype(np.int64))


def add_sparse(images: Iterable[SparseCounts], shape: Sequence[int]) -> np.ndarray:
    """The sum of counts, int64 of the ``shape`` that each has had; of none it is 0."""
    total = np.zeros(shape, np.int64)
    flat = total.reshape(-1)
    for places, numbers in images:
        flat[places] += numbers
    return total
