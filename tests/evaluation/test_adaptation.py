"""What a record says about an adaptation, on records short enough to read it off."""

import pytest

from mmseg_deeplab_study.evaluation.adaptation import (
    absent_classes,
    class_names,
    classes_early_to_late,
    compare_probe,
    compare_source,
    has_no_source,
    seen_classes,
    seen_lead,
    source_row,
    summarise_forgetting,
    unlabelled_classes,
)
from mmseg_deeplab_study.evaluation.score_curves import summarise_adaptation
from mmseg_deeplab_study.runs.history import History


def row(iteration: int, kind: str = 'validation', subset: str = 'full', **scores) -> dict:
    """A row of a record; ``seen`` and ``unseen`` are mIoU.seen and mIoU.unseen."""
    scores = {{'seen': 'mIoU.seen', 'unseen': 'mIoU.unseen'}.get(k, k): v for k, v in scores.items()}
    return {'iter': iteration, 'kind': kind, 'subset': subset, **scores}


def leading(seen: tuple[float, ...], unseen: tuple[float, ...]) -> list[dict]:
    return [row(5 * k, seen=s, unseen=u) for k, (s, u) in enumerate(zip(seen, unseen, strict=True))]


def test_lead_of_the_seen_classes():
    early, late = (4.0, 15.0, 28.0, 30.0), (0.0, 2.0, 9.0, 20.0)
    assert seen_lead(leading(early, late)) == (10, 5, 15)  # half of 20 at 15, half of 30 at 5
    assert seen_lead(leading(late, early)) == (-10, 15, 5)


@pytest.mark.parametrize('unseen', [{}, {'unseen': None}, {'unseen': 0.0}, {'unseen': 9.9}])
def test_no_lead_where_a_mean_is_not_there_or_small(unseen):
    assert seen_lead([row(i, seen=30.0, **unseen) for i in (0, 5)]) == (None, 0, None)


def test_the_lead_is_that_of_the_labelled_classes():
    # over all classes the seen are at half their best at 5, because of those that nobody labelled
    labelled, rows = (28.0, 28.0, 30.0), leading((9.0, 20.0, 30.0), (0.0, 0.0, 20.0))
    assert seen_lead(rows).iterations == 5
    for line, s in zip(rows, labelled, strict=True):
        line.update({'mIoU.seen.labelled': s, 'mIoU.unseen.labelled': line['mIoU.unseen']})
    assert seen_lead(rows).iterations == 10


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
    assert compare_source(history).gap == 7.5  # 20 - 12.5
    assert compare_source(history, 'IoU.car').gap == -1.0
    assert compare_source(history, 'IoU.road').gap is None


def test_the_drop_from_the_source_s_view_and_the_dip_from_iteration_0():
    # the study's new head: car goes 72.7 (source) -> 0 at once -> 48
    rows = [row(0, 'source', mIoU=7.3, class_iou={'car': 72.7})]
    curve = ((1.2, 0.0), (1.0, 0.0), (8.0, 48.0))
    rows += [row(5 * k, mIoU=m, class_iou={'car': c}) for k, (m, c) in enumerate(curve)]
    history = History({}, rows)
    assert compare_source(history).source_drop == pytest.approx(6.3)  # 7.3 - 1.0
    assert summarise_adaptation(history.validations).dip == pytest.approx(0.2)  # 1.2 - 1.0
    assert compare_source(history, 'IoU.car').source_drop == 72.7
    assert summarise_adaptation(history.validations, 'IoU.car').dip == 0
    # Never below it: 5.0 - 7.3.
    above = History({}, [row(0, 'source', mIoU=5.0), row(0, mIoU=7.5), row(5, mIoU=7.25)])
    assert compare_source(above).source_drop == -2.25


@pytest.mark.parametrize(
    ('rows', 'expected'),
    [
        ([row(0, mIoU=12.5)], (None, None, None)),
        ([row(0, 'source', mIoU=None), row(0, mIoU=12.5)], (None, None, None)),
        ([row(0, 'source', mIoU=20.0), row(5, mIoU=12.5)], (20.0, None, 7.5)),
        ([row(0, 'source', mIoU=20.0), row(0, mIoU=None)], (20.0, None, None)),
        ([row(0, 'source', mIoU=20.0), row(0, subset='probe', mIoU=12.5)], (20.0, None, None)),
    ],
)
def test_no_gap_and_no_drop_without_both_ends(rows, expected):
    assert compare_source(History({}, rows)) == expected


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
    ('source', 'expected'),
    [
        ({'road': 1.0, 'car': None, 'bus': None}, ['car']),
        # The source's view predicts it.
        ({'road': 1.0, 'car': 0.0, 'bus': None}, []),
        (None, ['car']),
    ],
)
def test_classes_that_are_neither_labelled_nor_predicted(source, expected):
    rows = [row(0, 'source', class_iou=source)]
    rows += [row(i, class_iou={'road': 1.0, 'car': None, 'bus': bus}) for i, bus in ((0, None), (5, 0.0))]
    assert absent_classes(History({'target_classes': ['road', 'car', 'bus']}, rows)) == expected


def test_absent_classes_are_not_known_without_the_iou_of_classes():
    assert absent_classes(History({'target_classes': ['road']}, [row(0, mIoU=1.0)])) == []


@pytest.mark.parametrize(
    ('rows', 'expected'),
    [
        # written late and out of order, and at fewer iterations than the validations
        (
            [row(i, 'forgetting', mIoU=m) for i, m in ((40, 48.0), (0, 60.0), (20, 30.0))],
            (60.0, 48.0, 40, 12.0),
        ),
        # over the labelled classes
        (
            [row(i, 'forgetting', mIoU=m, **{'mIoU.labelled': m + 20}) for i, m in ((0, 40.0), (5, 30.0))],
            (60.0, 50.0, 5, 10.0),
        ),
        ([row(0, 'forgetting', mIoU=40.0), row(5, 'forgetting', mIoU=None)], (40.0, None, 5, None)),
        ([row(5, 'forgetting', mIoU=50.0)], (None, 50.0, 5, None)),
        ([row(0, 'forgetting', mIoU=None), row(0, mIoU=1.0)], None),
    ],
)
def test_forgetting(rows, expected):
    assert summarise_forgetting(History({}, rows)) == expected


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
    assert compare_probe(History({}, [row(0, mIoU=1.0), row(5, subset='probe', mIoU=1.0)])) is None
