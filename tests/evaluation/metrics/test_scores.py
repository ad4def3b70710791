"""Scores of a confusion matrix, by hand."""

import numpy as np
import pytest

from mmseg_deeplab_study.evaluation.metrics.scores import (
    LABELLED,
    MEAN_IOUS,
    flat_scalars,
    scores_from_confusion,
)


def test_counts_beyond_float32_are_exact():
    # 2**24 + 1 is the first integer that float32 has not
    many = 2**24
    scores = scores_from_confusion(np.array([[many, 1], [0, 1]]), ('a', 'b'), ())
    assert scores['aAcc'] == 100 * (many + 1) / (many + 2)
    assert scores['class_iou']['a'] == 100 * many / (many + 1)


def test_scores_exact():
    confusion = np.array([[6, 2, 0], [1, 3, 0], [0, 1, 7]])
    scores = scores_from_confusion(confusion, ('road', 'person', 'car'), ('person', 'car'))
    # rows 8, 4, 8; columns 7, 6, 7; unions 8+7-6=9, 4+6-3=7, 8+7-7=8
    iou = {'road': 100 * 6 / 9, 'person': 100 * 3 / 7, 'car': 100 * 7 / 8}
    assert scores['class_iou'] == iou
    assert scores['mIoU'] == pytest.approx((600 / 9 + 300 / 7 + 700 / 8) / 3, abs=1e-12)
    assert scores['mIoU.seen'] == pytest.approx((300 / 7 + 700 / 8) / 2, abs=1e-12)
    assert scores['mIoU.unseen'] == 100 * 6 / 9
    assert scores['aAcc'] == 100 * 16 / 20
    assert scores['mAcc'] == pytest.approx(100 * (6 / 8 + 3 / 4 + 7 / 8) / 3, abs=1e-12)
    # All classes are labelled.
    assert [scores[key] for key in LABELLED] == [scores[key] for key in MEAN_IOUS]


def test_absent_classes():
    # a: 4 of 5 pixels right, the fifth taken for b, which no pixel is; c is neither labelled nor predicted
    confusion = np.array([[4, 1, 0], [0, 0, 0], [0, 0, 0]])
    scores = scores_from_confusion(confusion, ('a', 'b', 'c'), ('b', 'c'))
    assert scores['class_iou'] == {'a': 80.0, 'b': 0.0, 'c': None}
    assert scores['mIoU'] == 40.0  # (80 + 0) / 2: b counts, c does not
    assert scores['mAcc'] == 80.0  # a alone: b has no pixel to be right about
    assert scores['mIoU.seen'] == 0.0  # b alone
    assert scores['mIoU.unseen'] == 80.0
    # Of a alone, whether or not a pixel is predicted as b; of the seen classes none is labelled.
    labelled = {'mIoU.labelled': 80.0, 'mIoU.seen.labelled': None, 'mIoU.unseen.labelled': 80.0}
    assert {key: scores[key] for key in labelled} == labelled
    # Flat scalars leave nulls out.
    flat = {'mIoU': 40.0, 'aAcc': 80.0, 'mAcc': 80.0, 'mIoU.seen': 0.0, 'mIoU.unseen': 80.0}
    flat |= {'IoU.a': 80.0, 'IoU.b': 0.0, 'mIoU.labelled': 80.0, 'mIoU.unseen.labelled': 80.0}
    assert flat_scalars(scores) == flat


def test_means_over_labelled_classes_do_not_move_by_the_others():
    # 8 of 10 pixels of a are right; 2 are taken for b, then for c: b is labelled, c is not
    names, seen = ('a', 'b', 'c'), ('b', 'c')
    as_b = scores_from_confusion(np.array([[8, 2, 0], [0, 8, 0], [0, 0, 0]]), names, seen)
    as_c = scores_from_confusion(np.array([[8, 0, 2], [0, 8, 0], [0, 0, 0]]), names, seen)
    # a 8 / 10; b 8 / (8 + 2), then 8 / 8; c none, then 0 / 2
    assert (as_b['mIoU.seen'], as_b['mIoU.seen.labelled']) == (80.0, 80.0)
    assert (as_c['mIoU.seen'], as_c['mIoU.seen.labelled']) == (50.0, 100.0)
    assert (as_c['mIoU'], as_c['mIoU.labelled']) == (60.0, 90.0)
    assert (as_b['mIoU.unseen.labelled'], as_c['mIoU.unseen.labelled']) == (80.0, 80.0)


def test_a_class_whose_pixels_are_all_predicted_outside_the_label_space_is_labelled():
    # b's 5 pixels are all taken for something that means no class here
    scores = scores_from_confusion(np.array([[4, 0], [0, 0]]), ('a', 'b'), ('b',), missed=np.array([0, 5]))
    assert (scores['mIoU.labelled'], scores['mIoU.seen.labelled']) == (50.0, 0.0)
