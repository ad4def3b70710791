"""The figures of a curve, on curves short enough to read them off."""

import math
from copy import deepcopy

import pytest

from mmseg_deeplab_study.evaluation.score_curves import (
    area_under_curve,
    find_score,
    iterations_to,
    iterations_to_share,
    rows_with,
    score_curve,
    summarise_adaptation,
)


def validations(*scores: float | None, score: str = 'mIoU', first: int = 0) -> list[dict]:
    return [{'iter': first + 5 * k, score: value} for k, value in enumerate(scores)]


@pytest.mark.parametrize(
    ('rows', 'dip', 'expected'),
    # expected: start, lowest and where, recovery, last and where, best and where
    [
        # 11.0 - 6.5; 10.9 at 15 is still below 11.0
        (validations(11.0, 8.0, 6.5, 10.9, 11.5, 11.2), 4.5, (11.0, 6.5, 10, 20, 11.2, 25, 11.5, 20)),
        # Reaching the start exactly is a recovery.
        (validations(10.0, 9.0, 10.0), 1.0, (10.0, 9.0, 5, 10, 10.0, 10, 10.0, 0)),
        # Never falls, so there is nothing to recover; has not come back.
        (validations(3.0, 3.0, 7.0), 0.0, (3.0, 3.0, 0, None, 7.0, 10, 7.0, 10)),
        (validations(10.0, 4.0, 9.5), 6.0, (10.0, 4.0, 5, None, 9.5, 10, 10.0, 0)),
        # Falls to 8 at 5, is back at 10, falls to 6 at 15, is back for good at 25.
        (validations(10.0, 8.0, 11.0, 6.0, 9.0, 10.5), 4.0, (10.0, 6.0, 15, 25, 10.5, 25, 11.0, 10)),
        # The first of equal extremes counts.
        (validations(5.0, 2.0, 2.0, 8.0, 8.0), 3.0, (5.0, 2.0, 5, 15, 8.0, 20, 8.0, 15)),
        (validations(5.0), 0.0, (5.0, 5.0, 0, None, 5.0, 0, 5.0, 0)),
        # A class that nobody predicts any more is null, and not what it last was.
        (validations(4.0, 0.0, 6.0, None), 4.0, (4.0, 0.0, 5, 10, None, 15, 6.0, 10)),
        # Without a score at iteration 0 there is nothing to fall below.
        (validations(8.0, 3.0, 9.0, first=5), None, (None, 3.0, 10, None, 9.0, 15, 9.0, 15)),
        (validations(None, 4.0, 2.0), None, (None, 2.0, 10, None, 2.0, 10, 4.0, 5)),
    ],
)
def test_figures_of_a_curve(rows, dip, expected):
    before = deepcopy(rows)
    found = summarise_adaptation(rows)
    assert (found, found.dip) == (expected, dip)
    assert rows == before


def test_another_score_and_nulls():
    rows = validations(4.0, None, 6.0, score='mIoU.unseen')
    assert score_curve(rows, 'mIoU.unseen') == [(0, 4.0), (10, 6.0)]
    assert summarise_adaptation(rows, 'mIoU.unseen').last == 6.0


def test_validations_that_lack_a_score():
    rows = [*validations(4.0, 2.0), {'iter': 10, 'mIoU.seen': 1.0}]
    assert score_curve(rows) == [(0, 4.0), (5, 2.0)]
    assert summarise_adaptation(rows).last is None


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ([], 'expected a validation with this score, but none of 0 has it'),
        (validations(None, None), 'expected a validation with this score, but none of 2 has it'),
        ([{'iter': i, 'mIoU': 1.0} for i in (0, 10, 5)], r'iterations must ascend, but got \[0, 10, 5\]'),
    ],
)
def test_curves_that_cannot_be_measured(rows, message):
    with pytest.raises(ValueError, match=f'mIoU: .*{message}'):
        summarise_adaptation(rows)


def test_an_unknown_score():
    with pytest.raises(KeyError, match="iteration 0 has no score 'mIuO'; it has .*'iter', 'mIoU'"):
        summarise_adaptation(validations(1.0), 'mIuO')


def test_a_class_is_a_score():
    name = 'person\'s "bike", 50 %'
    rows = [{'iter': 5 * k, 'class_iou': {name: iou}} for k, iou in enumerate((None, 3.0, 7.0))]
    assert score_curve(rows, f'IoU.{name}') == [(5, 3.0), (10, 7.0)]
    assert summarise_adaptation(rows, f'IoU.{name}').best == 7.0
    with pytest.raises(KeyError, match="no score 'IoU.bike'"):
        score_curve(rows, 'IoU.bike')


def test_scores_that_are_null_or_missing():
    rows = [{}, {'mIoU': None, 'class_iou': None}, {'mIoU': 3.0, 'class_iou': {'road': 2.0}}]
    assert rows_with(rows, 'mIoU') == rows_with(rows, 'IoU.road') == [rows[2]]
    assert find_score(rows[1], 'IoU.road') is None


def test_area_by_trapezoids_of_unequal_width():
    # 5 * (10 + 4) / 2 = 35, 15 * (4 + 12) / 2 = 120, together 155 over 20 iterations
    assert area_under_curve([(0, 10.0), (5, 4.0), (20, 12.0)]) == 7.75
    # the same curve 5 iterations later spans as many
    assert area_under_curve([(5, 10.0), (10, 4.0), (25, 12.0)]) == 7.75


def test_area_of_one_point_and_of_none():
    assert area_under_curve([(5, 3.5)]) == 3.5
    with pytest.raises(ValueError, match='at least one point, but got none'):
        area_under_curve([])


def test_iterations_to_an_iou():
    curve = [(5, 1.0), (10, 20.0), (15, 12.0), (20, 25.0)]
    assert iterations_to(curve, 20) == 10  # reached exactly, and the later fall does not matter
    assert iterations_to(curve, 20.1) == 20
    assert iterations_to(curve, 25.1) is None
    assert iterations_to([], 20) is None


def test_iterations_to_a_share_of_the_best():
    curve = [(0, 3.0), (5, 10.0), (10, 20.0), (15, 16.0)]
    assert iterations_to_share(curve, 0.5) == 5  # 0.5 * 20 = 10
    assert iterations_to_share(curve, 0.51) == 10
    assert iterations_to_share(curve, 1) == 10
    assert iterations_to_share([(0, 0.0), (5, 0.0)]) is None
    assert iterations_to_share([]) is None


def test_half_of_nearly_nothing_is_no_event():
    assert iterations_to_share([(0, 2.0), (5, 9.9)]) is None
    assert iterations_to_share([(0, 2.0), (5, 10.0)]) == 5
    assert iterations_to_share([(0, 2.9), (5, 2.0)], 1) is None


@pytest.mark.parametrize(
    ('figure', 'out_of_range', 'message'),
    [
        *((iterations_to, iou, r'iou must be in \(0, 100\] percent') for iou in (0, -1, 100.5, math.nan)),
        *((iterations_to_share, share, r'share must be in \(0, 1\]') for share in (0, 1.01, math.nan)),
    ],
)
def test_what_is_out_of_range(figure, out_of_range, message):
    with pytest.raises(ValueError, match=f'{message}, but got'):
        figure([(0, 1.0)], out_of_range)
