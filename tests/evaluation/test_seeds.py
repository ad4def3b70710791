"""Means over seeds, their intervals, and which runs belong together."""

import pytest
from scipy import stats

from mmseg_deeplab_study.evaluation.seeds import (
    estimate_difference,
    estimate_over_seeds,
    group_runs,
    mean_interval,
)


@pytest.mark.parametrize('values', [[1, 5, 6], [3.0, 5.5, 11.0], [1.1, 2.3, 4.7, 8.9, 16.1, 31.3, 55.7]])
def test_interval_of_a_mean_against_scipy(values):
    expected = stats.t.interval(0.95, len(values) - 1, stats.tmean(values), stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected, rel=1e-12)


def test_interval_of_a_mean_by_hand():
    # Mean 4, deviations -3, 1, 2: s = sqrt(14 / 2) = 2.6458, s / sqrt(3) = 1.5275; t(0.975, 2) = 4.3027
    assert mean_interval([1, 5, 6]) == pytest.approx((4 - 6.5724, 4 + 6.5724), abs=1e-4)
    # Of two: mean 12, s / sqrt(2) = sqrt(8 / 2) = 2; t(0.975, 1) = 12.7062
    assert mean_interval([10.0, 14.0]) == pytest.approx((12 - 25.4124, 12 + 25.4124), abs=1e-4)
    assert mean_interval([3.0, 3.0]) == (3.0, 3.0)


def about(mean: float, half: float, count: int, seeds: int) -> tuple:
    return (mean, pytest.approx(mean - half, abs=1e-4), pytest.approx(mean + half, abs=1e-4), count, seeds)


@pytest.mark.parametrize(
    ('values', 'seeds', 'expected'),
    [
        ([10.0, 14.0, None], [0, 1, 2], about(12.0, 25.4124, 2, 3)),
        # no interval of fewer than two seeds
        ([None, 7.0], [0, 1], (7.0, None, None, 1, 2)),
        ([None, None], [0, 1], (None, None, None, 0, 2)),
        # a seed that ran twice counts once, as (10 + 12) / 2 = 11; the mean of 11 and 15 is 13
        ([10.0, 12.0, 15.0], [0, 0, 1], about(13.0, 25.4124, 2, 2)),
        ([10.0, 12.0], [0, 0], (11.0, None, None, 1, 1)),
        # runs without a seed count each for itself: s / sqrt(2) = 1, times t = 12.7062
        ([10.0, 12.0], [None, None], about(11.0, 12.7062, 2, 2)),
    ],
)
def test_mean_over_seeds(values, seeds, expected):
    assert estimate_over_seeds(values, seeds) == expected


def test_a_difference_is_paired_by_seed():
    # differences 1, 3 and 2 of seeds 0 to 2; mean 2, s = 1, s / sqrt(3) = 0.57735, times 4.3027 = 2.4841
    first, second = ([10.0, 33.0, 22.0, 7.0], [0, 1, 2, 3]), ([20.0, 9.0, 30.0, None, 50.0], [2, 0, 1, 3, 4])
    assert estimate_difference(first, second) == about(2.0, 2.4841, 3, 3)
    found = estimate_difference(second, first)
    assert (found.mean, found.count) == (-2.0, 3)
    # as scipy has it, though the seeds' own values are far apart
    test = stats.ttest_rel([10.0, 33.0, 22.0], [9.0, 30.0, 20.0]).confidence_interval(0.95)
    assert estimate_difference(first, second)[1:3] == pytest.approx(tuple(test), rel=1e-12)


@pytest.mark.parametrize(
    ('seeds', 'expected'),
    [
        ([2, 3], (None, None, None, 0, 0)),  # none in common
        ([1, 2], (-1.0, None, None, 1, 1)),  # 4 - 5: one says nothing of others
        ([None, None], (None, None, None, 0, 0)),
    ],
)
def test_no_interval_of_a_difference_of_fewer_than_two_shared_seeds(seeds, expected):
    assert estimate_difference(([3.0, 4.0], [0, 1]), ([5.0, 6.0], seeds)) == expected


def header(
    config: str | None = 'c',
    checkpoint: str | None = 's',
    validation: str | None = 'v',
    train: str | None = 't',
) -> dict:
    header = {'config_digest': config, 'validation': {'digest': validation}, 'train': {'digest': train}}
    return header | ({'source_checkpoint': {'digest': checkpoint}} if checkpoint else {})


@pytest.mark.parametrize(
    ('headers', 'expected'),
    [
        ([header(), header('other'), header(checkpoint='x'), header()], [[0, 3], [1], [2]]),
        ([header(), header(validation='w'), header(train='u')], [[0], [1], [2]]),
        # on other numbers of processes the total batch differs; records that do not say it are of one
        ([header(), {**header(), 'world_size': 1}, {**header(), 'world_size': 4}], [[0, 1], [2]]),
        # runs without a source checkpoint can be alike
        ([header(checkpoint=None), header(), header(checkpoint=None)], [[0, 2], [1]]),
    ],
)
def test_runs_of_one_experiment(headers, expected):
    assert group_runs(headers) == expected


@pytest.mark.parametrize(
    'unknown',
    [
        {},
        header(config=None),
        header(validation=None),
        header(train=None),
        {**header(), 'validation': None},
        {**header(), 'train': None},
        # its file was not found: which checkpoint of that name it was, nobody knows
        {**header(), 'source_checkpoint': {'name': 'voc.pth', 'digest': None}},
    ],
)
def test_runs_that_do_not_know_what_they_are_stand_alone(unknown):
    assert group_runs([unknown, unknown]) == [[0], [1]]
