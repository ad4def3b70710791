"""New head against features, on records short enough to read it off."""

from mmseg_deeplab_study.evaluation.head_or_features import (
    HeadOrFeatures,
    both_curves,
    compare_head_and_features,
    seen_mean,
)
from mmseg_deeplab_study.runs.history import History


def row(iteration: int, kind: str, seen: float | None, subset: str = 'full', **classes) -> dict:
    """A row of a record, with the mean over the seen classes and IoU by class."""
    scores = {'mIoU.seen': seen, 'class_iou': classes}
    return {'iter': iteration, 'kind': kind, 'subset': subset, **scores}


ROWS = [
    row(0, 'source', 32.0, car=70.0),
    row(0, 'source_classifier', 32.0, car=70.0),
    row(0, 'validation', 31.0, car=68.0),
    row(5, 'source_classifier', 31.5, car=50.0),
    row(5, 'validation', 25.0, car=60.0),
    row(5, 'validation', 3.0, 'probe', car=1.0),
    row(10, 'source_classifier', 33.0, car=48.0),
    row(10, 'validation', 25.0, car=55.0),
    # A class that is nowhere has no IoU, and here none of the source's classifier.
    row(15, 'source_classifier', None),
    row(15, 'validation', 20.0, car=9.0),
]


def test_at_the_first_of_the_lowest_that_both_have():
    assert compare_head_and_features(History({}, ROWS)) == HeadOrFeatures(5, 32.0, 25.0, 31.5, 7.0, 0.5)
    assert compare_head_and_features(History({}, ROWS), 'IoU.car') == (10, 70.0, 55.0, 48.0, 15.0, 22.0)


def test_above_the_source_the_drops_are_negative():
    rows = [row(0, 'source', 20.0), row(5, 'source_classifier', 21.5), row(5, 'validation', 23.0)]
    assert compare_head_and_features(History({}, rows)) == (5, 20.0, 23.0, 21.5, -3.0, -1.5)


def test_both_curves():
    assert both_curves(History({}, ROWS), 'IoU.car') == [(0, 68.0, 70.0), (5, 60.0, 50.0), (10, 55.0, 48.0)]
    assert both_curves(History({}, ROWS), 'IoU.bus') == []


def test_the_mean_is_over_the_labelled_classes_where_known():
    rows = [one | {'mIoU.seen.labelled': 2 * (one['mIoU.seen'] or 0)} for one in ROWS[:7]]
    assert (seen_mean(History({}, ROWS)), seen_mean(History({}, rows))) == ('mIoU.seen', 'mIoU.seen.labelled')
    assert compare_head_and_features(History({}, rows)) == (5, 64.0, 50.0, 63.0, 14.0, 1.0)


def test_nothing_to_compare():
    for kind in ('source', 'source_classifier', 'validation'):
        assert compare_head_and_features(History({}, [one for one in ROWS if one['kind'] != kind])) is None
