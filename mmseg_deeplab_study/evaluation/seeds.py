"""One experiment under several seeds: which runs belong together, and what their mean is worth."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean over seeds, in the unit of its values, and its interval; None where too few seeds have a value.

    ``count`` of ``seeds`` had a value. A figure that a run never reached has none, so that the mean of fewer
    than all is one of the runs that got there.
    """

    mean: float | None
    low: float | None
    high: float | None
    count: int
    seeds: int


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a mean, the same at every call.

    Percentiles 2.5 and 97.5, interpolated linearly, of the means of 10,000 resamples with replacement
    (numpy's ``default_rng(0)``). It cannot reach beyond the values: of few seeds it is too narrow.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    values = np.asarray(values, float)
    picks = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values[picks].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)


def estimate_over_seeds(values: Sequence[float | None], seeds: Sequence[int | None]) -> Estimate:
    """The mean over seeds of the runs' values, with its interval if two seeds or more have one.

    Runs of one seed count as one, by their mean: a repetition says nothing about another seed. Runs whose
    seed is None count each for itself.
    """
    by_seed: dict[Hashable, list[float]] = {}
    for place, (value, seed) in enumerate(zip(values, seeds, strict=True)):
        found = by_seed.setdefault(('run', place) if seed is None else seed, [])
        if value is not None:
            found.append(value)
    means = [sum(found) / len(found) for found in by_seed.values() if found]
    mean = sum(means) / len(means) if means else None
    low, high = mean_interval(means) if len(means) > 1 else (None, None)
    return Estimate(mean, low, high, len(means), len(by_seed))


def group_runs(headers: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Indices of the runs that repeat one experiment, by the headers of their records.

    These agree in the digests of config (which leaves the seed out), source checkpoint, validation and
    training images, and in the number of processes. A run that lacks one of these digests stands alone; but
    one that names no source checkpoint at all can be like another without.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, header in enumerate(headers):
        checkpoint, validation = header.get('source_checkpoint'), header.get('validation') or {}
        source = 'none' if checkpoint is None else checkpoint.get('digest')
        train = header.get('train') or {}
        key = (header.get('config_digest'), source, validation.get('digest'), train.get('digest'))
        key += (header.get('world_size', 1),)
        groups.setdefault(('run', index) if None in key else key, []).append(index)
    return list(groups.values())
