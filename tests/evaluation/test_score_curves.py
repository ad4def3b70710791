"""The figures of a curve, on curves short enough to read them off."""

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


def validations(*scores: float | None, score: str = 'mIoU') -> list[dict]:
    return [{'iter': 5 * k, score: value} for k, value in enumerate(scores)]


def test_a_curve_that_dips_and_recovers():
    #      iteration     0     5    10    15    20    25
    rows = validations(11.0, 8.0, 6.5, 10.9, 11.5, 11.2)
    found = summarise_adaptation(rows)
    assert (found.start, found.last, found.last_iter) == (11.0, 11.2, 25)
    assert (found.lowest, found.lowest_iter) == (6.5, 10)
    assert found.dip == 4.5  # 11.0 - 6.5
    assert found.recovery_iter == 20  # 10.9 at 15 is still below 11.0
    assert (found.best, found.best_iter) == (11.5, 20)


def test_reaching_the_start_exactly_is_a_recovery():
    assert summarise_adaptation(validations(10.0, 9.0, 10.0)).recovery_iter == 10


def test_a_curve_that_never_falls_has_no_dip_and_nothing_to_recover():
    found = summarise_adaptation(validations(3.0, 3.0, 7.0))
    assert (found.dip, found.lowest, found.lowest_iter, found.recovery_iter) == (0.0, 3.0, 0, None)


def test_a_curve_that_has_not_come_back():
    found = summarise_adaptation(validations(10.0, 4.0, 9.5))
    assert (found.dip, found.recovery_iter) == (6.0, None)


def test_coming_back_before_the_lowest_point_does_not_count():
    #       0 falls to 8 at 5, is back at 10, falls to 6 at 15, is back for good at 25
    rows = validations(10.0, 8.0, 11.0, 6.0, 9.0, 10.5)
    found = summarise_adaptation(rows)
    assert (found.lowest_iter, found.recovery_iter) == (15, 25)


def test_the_first_of_equal_extremes_counts():
    found = summarise_adaptation(validations(5.0, 2.0, 2.0, 8.0, 8.0))
    assert (found.lowest_iter, found.best_iter) == (5, 15)


def test_iteration_0_alone():
    found = summarise_adaptation(validations(5.0))
    assert found == (5.0, 5.0, 0, None, 5.0, 0, 5.0, 0, 0.0, 5.0)


def test_another_score_and_nulls():
    rows = validations(4.0, None, 6.0, score='mIoU.unseen')
    assert score_curve(rows, 'mIoU.unseen') == [(0, 4.0), (10, 6.0)]
    assert summarise_adaptation(rows, 'mIoU.unseen').last == 6.0


def test_the_last_score_is_that_of_the_last_validation():
    # a class that nobody predicts any more is null, and not what it last was
    found = summarise_adaptation(validations(4.0, 0.0, 6.0, None))
    assert (found.last, found.last_iter) == (None, 15)
    assert (found.lowest, found.best, found.best_iter) == (0.0, 6.0, 10)


def test_validations_that_lack_a_score():
    rows = [*validations(4.0, 2.0), {'iter': 10, 'mIoU.seen': 1.0}]
    assert score_curve(rows, 'mIoU') == [(0, 4.0), (5, 2.0)]
    assert summarise_adaptation(rows).last is None


def test_rows_are_left_as_they_are():
    rows = validations(4.0, 2.0)
    summarise_adaptation(rows)
    assert rows == validations(4.0, 2.0)


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ([], 'expected a validation with this score, but none of 0 has it'),
        (validations(None, None), 'expected a validation with this score, but none of 2 has it'),
        (validations(1.0, score='other'), 'expected a validation with this score, but none of 1 has it'),
        (
            [{'iter': i, 'mIoU': 1.0} for i in (0, 10, 5)],
            r'iterations must ascend, but got \[0, 10, 5\]',
        ),
    ],
)
def test_curves_that_cannot_be_measured(rows, message):
    with pytest.raises(ValueError, match=f'mIoU: .*{message}'):
        summarise_adaptation(rows)


def test_without_iteration_0_there_is_nothing_to_fall_below():
    rows = [{'iter': i, 'mIoU': score} for i, score in ((5, 8.0), (10, 3.0), (15, 9.0))]
    found = summarise_adaptation(rows)
    assert (found.start, found.dip, found.recovery_iter) == (None, None, None)
    assert (found.lowest, found.lowest_iter, found.best, found.best_iter) == (3.0, 10, 9.0, 15)
    assert (found.last, found.last_iter) == (9.0, 15)


def test_a_null_at_iteration_0_is_no_start():
    found = summarise_adaptation(validations(None, 4.0, 2.0))
    assert (found.start, found.dip, found.lowest, found.best_iter) == (None, None, 2.0, 5)


def test_a_class_is_a_score():
    name = 'person\'s "bike", 50 %'
    rows = [{'iter': 5 * k, 'class_iou': {name: iou}} for k, iou in enumerate((None, 3.0, 7.0))]
    assert score_curve(rows, f'IoU.{name}') == [(5, 3.0), (10, 7.0)]
    assert summarise_adaptation(rows, f'IoU.{name}').best == 7.0
    assert score_curve(rows, 'IoU.bike') == []


def test_scores_that_are_null_or_missing():
    rows = [{}, {'mIoU': None, 'class_iou': None}, {'mIoU': 3.0, 'class_iou': {'road': 2.0}}]
    assert rows_with(rows, 'mIoU') == rows_with(rows, 'IoU.road') == [rows[2]]
    assert find_score(rows[1], 'IoU.road') is None


def test_area_by_trapezoids_of_unequal_width():
    # 5 * (10 + 4) / 2 = 35, 15 * (4 + 12) / 2 = 120, together 155 over 20 iterations
    assert area_under_curve([(0, 10.0), (5, 4.0), (20, 12.0)]) == 7.75
    # the same curve 5 iterations later spans as many
    assert area_under_curve([(5, 10.0), (10, 4.0), (25, 12.0)]) == 7.75
    assert area_under_curve([(5, 3.5)]) == 3.5


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


@pytest.mark.parametrize('iou', [0, -1, 100.5, float('nan')])
def test_an_iou_out_of_range(iou):
    with pytest.raises(ValueError, match=r'iou must be in \(0, 100\] percent, but got'):
        iterations_to([(0, 1.0)], iou)


@pytest.mark.parametrize('share', [0, 1.01, float('nan')])
def test_a_share_out_of_range(share):
    with pytest.raises(ValueError, match=r'share must be in \(0, 1\], but got'):
        iterations_to_share([], share)
