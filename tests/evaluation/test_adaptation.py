"""The figures of an adaptation, on curves short enough to read them off."""

import pytest

from mmseg_deeplab_study.evaluation.adaptation import score_curve, summarise_adaptation


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
    assert found == (5.0, 5.0, 0, None, 5.0, 0, 5.0, 0)


def test_another_score_and_nulls():
    rows = validations(4.0, None, 6.0, score='mIoU.unseen')
    assert score_curve(rows, 'mIoU.unseen') == [(0, 4.0), (10, 6.0)]
    assert summarise_adaptation(rows, 'mIoU.unseen').last == 6.0


def test_rows_are_left_as_they_are():
    rows = validations(4.0, 2.0)
    summarise_adaptation(rows)
    assert rows == validations(4.0, 2.0)


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ([], 'the first of 0 validations with a score is at None'),
        ([{'iter': 5, 'mIoU': 1.0}], 'the first of 1 validations with a score is at 5'),
        (validations(None, 1.0), 'the first of 1 validations with a score is at 5'),
        (
            [{'iter': i, 'mIoU': 1.0} for i in (0, 10, 5)],
            r'iterations must ascend, but got \[0, 10, 5\]',
        ),
    ],
)
def test_curves_that_cannot_be_measured(rows, message):
    with pytest.raises(ValueError, match=f'mIoU: .*{message}'):
        summarise_adaptation(rows)


def test_an_unknown_score():
    with pytest.raises(KeyError, match="iteration 0 has no score 'mIuO'; it has .*'iter', 'mIoU'"):
        summarise_adaptation(validations(1.0), 'mIuO')
