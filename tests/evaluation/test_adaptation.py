"""The figures of an adaptation, on curves short enough to read them off."""

import pytest
from scipy import stats

from mmseg_deeplab_study.evaluation.adaptation import (
    area_under_curve,
    class_names,
    classes_early_to_late,
    compare_probe,
    find_score,
    has_no_source,
    iterations_to,
    iterations_to_share,
    rows_with,
    score_curve,
    seen_classes,
    seen_lead,
    source_drop,
    source_gap,
    source_row,
    summarise_adaptation,
    summarise_forgetting,
    unlabelled_classes,
)
from mmseg_deeplab_study.evaluation.seeds import (
    estimate_difference,
    estimate_over_seeds,
    group_runs,
    mean_interval,
)
from mmseg_deeplab_study.runs.history import History


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


def test_the_last_score_is_that_of_the_last_validation():
    # a class that nobody predicts any more is null, and not what it last was
    found = summarise_adaptation(validations(4.0, 0.0, 6.0, None))
    assert (found.last, found.last_iter) == (None, 15)
    assert (found.lowest, found.best, found.best_iter) == (0.0, 6.0, 10)


def test_validations_that_lack_a_score():
    rows = [*validations(4.0, 2.0), {'iter': 10, 'mIoU.seen': 1.0}]
    assert score_curve(rows) == [(0, 4.0), (5, 2.0)]
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


# What a record says beyond one curve.


def row(iteration: int, kind: str = 'validation', subset: str = 'full', **scores) -> dict:
    """A row of a record; ``seen`` and ``unseen`` stand for mIoU.seen and mIoU.unseen."""
    scores = {{'seen': 'mIoU.seen', 'unseen': 'mIoU.unseen'}.get(k, k): v for k, v in scores.items()}
    return {'iter': iteration, 'kind': kind, 'subset': subset, **scores}


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
    rows = [row(0, class_iou={name: None}), row(5, class_iou={name: 3.0}), row(10, class_iou={name: 7.0})]
    assert score_curve(rows, f'IoU.{name}') == [(5, 3.0), (10, 7.0)]
    assert summarise_adaptation(rows, f'IoU.{name}').best == 7.0
    with pytest.raises(KeyError, match="no score 'IoU.bike'"):
        score_curve(rows, 'IoU.bike')


def test_scores_that_are_null_or_missing():
    rows = [row(0), row(5, mIoU=None, class_iou=None), row(10, mIoU=3.0, class_iou={'road': 2.0})]
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


@pytest.mark.parametrize('iou', [0, -1, 100.5, float('nan')])
def test_an_iou_out_of_range(iou):
    with pytest.raises(ValueError, match=r'iou must be in \(0, 100\] percent, but got'):
        iterations_to([(0, 1.0)], iou)


@pytest.mark.parametrize('share', [0, 1.01, float('nan')])
def test_a_share_out_of_range(share):
    with pytest.raises(ValueError, match=r'share must be in \(0, 1\], but got'):
        iterations_to_share([], share)


def test_lead_of_the_seen_classes():
    seen, unseen = (4.0, 15.0, 28.0, 30.0), (0.0, 2.0, 9.0, 20.0)
    rows = [row(5 * k, seen=s, unseen=u) for k, (s, u) in enumerate(zip(seen, unseen, strict=True))]
    assert seen_lead(rows) == 10  # half of 20 at 15, half of 30 at 5
    swapped = [row(r['iter'], seen=r['mIoU.unseen'], unseen=r['mIoU.seen']) for r in rows]
    assert seen_lead(swapped) == -10


@pytest.mark.parametrize('unseen', [{}, {'unseen': None}, {'unseen': 0.0}, {'unseen': 9.9}])
def test_no_lead_where_a_mean_is_not_there_or_small(unseen):
    assert seen_lead([row(0, seen=30.0, **unseen), row(5, seen=40.0, **unseen)]) is None


def test_the_lead_is_that_of_the_labelled_classes():
    # over all classes the seen are at half their best at 5, because of those that nobody labelled
    seen, labelled, unseen = (9.0, 20.0, 30.0), (28.0, 28.0, 30.0), (0.0, 0.0, 20.0)
    rows = [row(5 * k, seen=s, unseen=u) for k, (s, u) in enumerate(zip(seen, unseen, strict=True))]
    assert seen_lead(rows) == 5
    for line, s in zip(rows, labelled, strict=True):
        line.update({'mIoU.seen.labelled': s, 'mIoU.unseen.labelled': line['mIoU.unseen']})
    assert seen_lead(rows) == 10


def test_classes_early_to_late():
    curves = {
        'late': (0.0, 9.0, 20.0),  # half of 20 at 10
        'never': (0.0, 0.0, 0.0),
        'early': (6.0, 2.0, 12.0),  # half of 12 at 0
        'middle': (None, 9.0, 10.0),  # half of 10 at 5
        'tie': (0.0, 11.0, 11.0),  # half of 11 at 5, after 'middle' in the record
        'little': (2.9, 2.0, 1.0),  # never at 10
        'absent': (None, None, None),
    }
    rows = [row(5 * k, class_iou={name: c[k] for name, c in curves.items()}) for k in range(3)]
    header = {'target_classes': ['not in the rows', *curves], 'seen_classes': ['early', 'never']}
    assert classes_early_to_late(History(header, rows)) == [
        ('early', True, 0),
        ('middle', False, 5),
        ('tie', False, 5),
        ('late', False, 10),
        ('not in the rows', False, None),
        ('never', True, None),
        ('little', False, None),
        ('absent', False, None),
    ]


def test_classes_that_the_header_does_not_know():
    history = History({}, [row(5, class_iou={'a "b"': 11.0}), row(0, 'source', class_iou={'c': 2.0})])
    assert class_names(history) == ['a "b"', 'c']
    assert classes_early_to_late(history) == [('a "b"', None, 5), ('c', None, None)]
    assert class_names(History({'target_classes': None}, [row(0)])) == []


def test_the_source_s_own_view():
    source = row(0, 'source', mIoU=20.0, class_iou={'car': 70.0, 'road': None})
    rows = [source, row(0, mIoU=12.5, class_iou={'car': 71.0, 'road': 30.0}), row(5, mIoU=1.0)]
    history = History({}, rows)
    assert source_row(history) is source
    assert source_gap(history) == 7.5  # 20 - 12.5
    assert source_gap(history, 'IoU.car') == -1.0
    assert source_gap(history, 'IoU.road') is None


def test_the_drop_from_the_source_s_view_and_the_dip_from_iteration_0():
    # the study's new head: car goes 72.7 (source) -> 0 at once -> 48
    rows = [row(0, 'source', mIoU=7.3, class_iou={'car': 72.7})]
    curve = ((1.2, 0.0), (1.0, 0.0), (8.0, 48.0))
    rows += [row(5 * k, mIoU=m, class_iou={'car': c}) for k, (m, c) in enumerate(curve)]
    history = History({}, rows)
    assert source_drop(history) == pytest.approx(6.3)  # 7.3 - 1.0
    assert summarise_adaptation(history.validations).dip == pytest.approx(0.2)  # 1.2 - 1.0
    assert source_drop(history, 'IoU.car') == 72.7
    assert summarise_adaptation(history.validations, 'IoU.car').dip == 0
    # Never below it: 5.0 - 7.3.
    above = History({}, [row(0, 'source', mIoU=5.0), row(0, mIoU=7.5), row(5, mIoU=7.25)])
    assert source_drop(above) == -2.25


def test_no_drop_without_both_ends():
    assert source_drop(History({}, [row(0, mIoU=12.5)])) is None
    assert source_drop(History({}, [row(0, 'source', mIoU=None), row(0, mIoU=12.5)])) is None
    assert source_drop(History({}, [row(0, 'source', mIoU=3.0), row(0, mIoU=None)])) is None


@pytest.mark.parametrize(
    ('header', 'rows', 'expected'),
    [
        ({'source_checkpoint': None}, [], True),
        ({'source_checkpoint': {'name': 'a.pth', 'digest': None}}, [], False),
        ({}, [], False),  # an older or imported record does not say
        ({'source_checkpoint': None}, [row(0, 'source', mIoU=1.0)], False),
    ],
)
def test_without_a_source_model_nothing_was_seen(header, rows, expected):
    history = History({'seen_classes': ['car'], **header}, [*rows, row(0, class_iou={'car': 20.0})])
    assert has_no_source(history) is expected
    assert seen_classes(history) == (None if expected else ['car'])
    assert classes_early_to_late(history) == [('car', None if expected else True, 0)]


@pytest.mark.parametrize(
    ('matrix', 'source', 'expected'),
    [
        ([[4, 0, 1], [0, 5, 0], [0, 0, 0]], {}, ['bus']),  # predicted and never labelled
        ([[5, 0, 0], [0, 5, 0], [0, 0, 0]], {}, []),  # neither
        ([[5, 0, 0], [0, 5, 0], [0, 0, 0]], {'bus': 0.0}, ['bus']),  # predicted by the source model
        ([[5, 0, 0], [0, 5, 0], [0, 0, 0]], {'bus': None}, []),
        ([[5, 0, 0], [4, 0, 0], [1, 0, 0]], {'car': 0.0, 'bus': 0.0}, []),  # all are labelled
    ],
)
def test_classes_that_are_predicted_and_never_labelled(matrix, source, expected):
    rows = [row(0, 'source', class_iou=source), row(0, confusion=matrix)]
    assert unlabelled_classes(History({'target_classes': ['road', 'car', 'bus']}, rows)) == expected


def test_unlabelled_classes_are_not_known_without_a_matrix():
    assert unlabelled_classes(History({'target_classes': ['road']}, [row(0, mIoU=1.0)])) == []
    assert unlabelled_classes(History({'target_classes': ['road']}, [row(0, confusion=[[1, 2]])])) == []
    assert unlabelled_classes(History({}, [row(0, confusion=[[1]])])) == []


@pytest.mark.parametrize(
    'rows',
    [
        [row(0, mIoU=12.5)],
        [row(0, 'source', mIoU=20.0), row(5, mIoU=12.5)],
        [row(0, 'source', mIoU=20.0), row(0, mIoU=None)],
        [row(0, 'source', mIoU=20.0), row(0, subset='probe', mIoU=12.5)],
    ],
)
def test_no_gap_without_both_ends(rows):
    assert source_gap(History({}, rows)) is None


def test_forgetting():
    # written late and out of order, and at fewer iterations than the validations
    rows = [row(40, 'forgetting', mIoU=48.0), row(0, 'forgetting', mIoU=60.0), row(20, 'forgetting', mIoU=30)]
    assert summarise_forgetting(History({}, rows)) == (60.0, 48.0, 40, 12.0)


def test_forgetting_over_the_labelled_classes():
    rows = [row(i, 'forgetting', mIoU=m, **{'mIoU.labelled': m + 20}) for i, m in ((0, 40.0), (5, 30.0))]
    assert summarise_forgetting(History({}, rows)) == (60.0, 50.0, 5, 10.0)


def test_forgetting_that_is_null_at_the_end():
    rows = [row(0, 'forgetting', mIoU=40.0), row(5, 'forgetting', mIoU=None)]
    assert summarise_forgetting(History({}, rows)) == (40.0, None, 5, None)


def test_forgetting_without_its_start_or_altogether():
    assert summarise_forgetting(History({}, [row(5, 'forgetting', mIoU=50.0)])) == (None, 50.0, 5, None)
    assert summarise_forgetting(History({}, [row(0, 'forgetting', mIoU=None), row(0, mIoU=1.0)])) is None


def test_probe_against_full():
    rows = [
        row(0, mIoU=10.0),
        row(5, mIoU=20.0),
        row(10, mIoU=30.0),
        row(15, mIoU=40.0),
        row(0, subset='probe', mIoU=11.0, interval={'mIoU': [10.0, 13.0]}),  # off by 1; 10 lies on the edge
        row(5, subset='probe', mIoU=16.0, interval={'mIoU': [12.0, 19.0]}),  # off by 4; 20 outside
        row(10, subset='probe', mIoU=29.0, interval={'mIoU': None}),  # off by 1, no interval
        row(12, subset='probe', mIoU=99.0, interval={'mIoU': [0.0, 100.0]}),  # no full validation there
        row(15, subset='probe', mIoU=42.0, interval={'mIoU': [None, None]}),  # off by 2
        row(20, mIoU=50.0),
        row(20, subset='probe', mIoU=None),
    ]
    # mean of 1, 4, 1, 2 is 2
    assert compare_probe(History({}, rows)) == (4, 4.0, 2.0, 2, 1)


def test_no_probe():
    assert compare_probe(History({}, [row(0, mIoU=1.0), row(5, subset='probe', mIoU=1.0)])) is None


# Several seeds.


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


def test_mean_over_seeds():
    assert estimate_over_seeds([10.0, 14.0, None], [0, 1, 2]) == about(12.0, 25.4124, 2, 3)


def test_no_interval_of_fewer_than_two_seeds():
    assert estimate_over_seeds([None, 7.0], [0, 1]) == (7.0, None, None, 1, 2)
    assert estimate_over_seeds([None, None], [0, 1]) == (None, None, None, 0, 2)


def test_a_seed_that_ran_twice_counts_once():
    # seed 0: (10 + 12) / 2 = 11; the mean of 11 and 15 is 13
    assert estimate_over_seeds([10.0, 12.0, 15.0], [0, 0, 1]) == about(13.0, 25.4124, 2, 2)
    assert estimate_over_seeds([10.0, 12.0], [0, 0]) == (11.0, None, None, 1, 1)
    assert estimate_over_seeds([10.0, 12.0], [None, None]).count == 2


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


def test_runs_of_one_experiment():
    headers = [header(), header('other'), header(checkpoint='x'), header(validation='w'), header()]
    headers.append(header(train='u'))
    assert group_runs(headers) == [[0, 4], [1], [2], [3], [5]]


def test_runs_on_other_numbers_of_processes_are_other_experiments():
    """Their total batch differs. Records that do not say it are of one process."""
    headers = [header(), {**header(), 'world_size': 1}, {**header(), 'world_size': 4}]
    assert group_runs(headers) == [[0, 1], [2]]


def test_runs_without_a_source_checkpoint_can_be_alike():
    assert group_runs([header(checkpoint=None), header(), header(checkpoint=None)]) == [[0, 2], [1]]


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
