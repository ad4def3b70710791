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


@pytest.mark.parametrize(
    ('scores', 'expected'),
    [
        # it dips by 11.0 - 6.5 and recovers: 10.9 at 15 is still below 11.0
        (
            (11.0, 8.0, 6.5, 10.9, 11.5, 11.2),
            dict(start=11.0, lowest=6.5, lowest_iter=10, dip=4.5, recovery_iter=20)
            | dict(best=11.5, best_iter=20, last=11.2, last_iter=25),
        ),
        # reaching the start exactly is a recovery
        ((10.0, 9.0, 10.0), dict(recovery_iter=10)),
        # it never falls: no dip, and nothing to recover
        ((3.0, 3.0, 7.0), dict(dip=0.0, lowest=3.0, lowest_iter=0, recovery_iter=None)),
        # it has not come back
        ((10.0, 4.0, 9.5), dict(dip=6.0, recovery_iter=None)),
        # coming back at 10, before the lowest point, does not count
        ((10.0, 8.0, 11.0, 6.0, 9.0, 10.5), dict(lowest_iter=15, recovery_iter=25)),
        # the first of equal extremes counts
        ((5.0, 2.0, 2.0, 8.0, 8.0), dict(lowest_iter=5, best_iter=15)),
        # a class that nobody predicts any more is null, and not what it last was
        ((4.0, 0.0, 6.0, None), dict(last=None, last_iter=15, lowest=0.0, best=6.0, best_iter=10)),
        # a null at iteration 0 is no start
        ((None, 4.0, 2.0), dict(start=None, dip=None, lowest=2.0, best_iter=5)),
    ],
)
def test_figures_of_a_curve(scores, expected):
    rows = validations(*scores)
    found = summarise_adaptation(rows)._asdict()
    assert {key: found[key] for key in expected} == expected
    assert rows == validations(*scores)


def test_iteration_0_alone():
    assert summarise_adaptation(validations(5.0)) == (5.0, 5.0, 0, None, 5.0, 0, 5.0, 0, 0.0, 5.0)


def test_another_score_and_nulls():
    rows = validations(4.0, None, 6.0, score='mIoU.unseen')
    assert score_curve(rows, 'mIoU.unseen') == [(0, 4.0), (10, 6.0)]
    assert summarise_adaptation(rows, 'mIoU.unseen').last == 6.0


def test_validations_that_lack_a_score():
    rows = [*validations(4.0, 2.0), {'iter': 10, 'mIoU.seen': 1.0}]
    assert score_curve(rows, 'mIoU') == [(0, 4.0), (5, 2.0)]
    assert summarise_adaptation(rows).last is None


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
    # half of nearly nothing is no event
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
