"""One experiment under several seeds: which runs it has, how sure their mean is."""

import math
from collections.abc import Hashable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean over seeds and its interval; None where too few seeds have a value.

    The interval is ``mean_interval``'s. ``count`` of ``seeds`` have a value: a run that never reached a
    figure has none, and the mean is that of the others.
    """

    mean: float | None
    low: float | None
    high: float | None
    count: int
    seeds: int


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of n values by Student's t.

    ``mean -+ t(0.975, n - 1) s / sqrt(n)``, where the standard deviation ``s`` has ``n - 1`` in its
    denominator. Assumes draws from one normal distribution, at least two.

    Source: Student, The Probable Error of a Mean, Biometrika 6, 1908.
    """
    # scipy.stats.t.ppf calls this, and takes three times as long to import. One run needs neither.
    from scipy.special import stdtrit

    n, middle = len(values), fmean(values)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * stdev(values) / math.sqrt(n)
    return middle - half, middle + half


def _by_seed(values: Sequence[float | None], seeds: Sequence[int | None]) -> dict[Hashable, float | None]:
    """The mean of each seed's values, None where it has none; a run without a seed is its own."""
    found: dict[Hashable, list[float]] = {}
    for place, (value, seed) in enumerate(zip(values, seeds, strict=True)):
        found.setdefault(('run', place) if seed is None else seed, []).extend(
            [] if value is None else [value]
        )
    return {seed: fmean(some) if some else None for seed, some in found.items()}


def _estimate(values: Sequence[float | None]) -> Estimate:
    known = [value for value in values if value is not None]
    low, high = mean_interval(known) if len(known) > 1 else (None, None)
    return Estimate(fmean(known) if known else None, low, high, len(known), len(values))


def estimate_over_seeds(values: Sequence[float | None], seeds: Sequence[int | None]) -> Estimate:
    """The mean over seeds of the runs' values, with its interval from two seeds on.

    Runs of one seed count as one, by their mean: a repetition says nothing about another seed. A run without
    a seed counts as one.
    """
    return _estimate(list(_by_seed(values, seeds).values()))


def estimate_difference(
    first: tuple[Sequence[float | None], Sequence[int | None]],
    second: tuple[Sequence[float | None], Sequence[int | None]],
) -> Estimate:
    """The mean difference of two experiments over the seeds that they share.

    The first's values less the second's; each is given as the values and the seeds of its runs. A seed draws
    the same batches for both, so the interval is that of the paired t-test.
    """
    one, other = (
        {
            seed: value
            for seed, value in _by_seed(*runs).items()
            if isinstance(seed, int) and value is not None
        }
        for runs in (first, second)
    )
    return _estimate([value - other[seed] for seed, value in one.items() if seed in other])


def group_runs(headers: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Indices of the runs that repeat one experiment, by the headers of their records.

    They agree in the digests of config (which leaves the seed out), source checkpoint, validation and
    training images, and in the number of processes. A run that lacks one of these digests is alone; but runs
    that name no source checkpoint at all can belong together.
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
