"""Predictions read in another label space: hand-worked matrices, the arithmetic beside them."""

import numpy as np
import pytest
from mmseg.utils import get_classes

from mmseg_deeplab_study.datasets.label_spaces import Match, match_classes
from mmseg_deeplab_study.evaluation.metrics.across_spaces import (
    forgetting_scores,
    read_as_target,
    source_scores,
    translate,
)

VOC, CITYSCAPES = tuple(get_classes('voc')), tuple(get_classes('cityscapes'))
SHARED = ('person', 'car', 'bus', 'train', 'motorcycle', 'bicycle')

SOURCE = ('background', 'person', 'motorbike', 'sheep')
TARGET = ('road', 'person', 'motorcycle')
MATCHES = match_classes(SOURCE, TARGET)
MEANS = ('mIoU', 'aAcc', 'mAcc', 'mIoU.labelled')


def test_voc_is_read_as_the_six_shared_classes():
    reading = read_as_target(match_classes(VOC, CITYSCAPES))
    assert reading == {'motorbike' if name == 'motorcycle' else name: name for name in SHARED}


@pytest.mark.parametrize(
    ('class_map', 'approximate', 'source', 'expected'),
    [
        # rider is after person in the target, and its match is weaker
        ({'rider': 'person'}, False, 'person', 'person'),
        ({}, True, 'person', 'person'),
        # sidewalk is before person, but person is its own name
        ({'sidewalk': 'person'}, False, 'person', 'person'),
        # car is before motorcycle, but that is the other name of motorbike
        ({'car': 'motorbike'}, False, 'motorbike', 'motorcycle'),
        # declared to be the source's is more than near to it
        ({'person': None, 'bicycle': 'person'}, True, 'person', 'bicycle'),
        # of equal right: the first that the target lists
        ({'bus': None, 'train': 'bus', 'truck': 'bus'}, False, 'bus', 'truck'),
        ({'road': 'background', 'sky': 'background'}, False, 'background', 'road'),
    ],
)
def test_one_source_class_is_read_as_one_target_class(class_map, approximate, source, expected):
    reading = read_as_target(match_classes(VOC, CITYSCAPES, class_map, approximate))
    assert reading[source] == expected


def test_order_of_the_matches_does_not_decide_over_right():
    matches = {'rider': Match('person', 'class_map'), 'person': Match('person', 'exact')}
    assert read_as_target(matches) == read_as_target(dict(reversed(matches.items()))) == {'person': 'person'}
    # The class of the same name goes first even if it is declared.
    declared = {'motorcycle': 'bicycle', 'bicycle': 'bicycle'}
    matches = match_classes(('bicycle',), ('motorcycle', 'bicycle'), declared)
    assert read_as_target(matches) == {'bicycle': 'bicycle'}


def test_columns_go_where_they_are_read_as_and_the_others_are_missed():
    confusion = [
        # background, person, motorbike, sheep
        [5, 1, 2, 3],  # road
        [4, 6, 0, 1],  # person
        [0, 2, 7, 0],  # motorcycle
    ]
    square, missed = translate(confusion, TARGET, SOURCE, read_as_target(MATCHES))
    # background (5, 4, 0) and sheep (3, 1, 0) mean none of them; nothing is read as road
    np.testing.assert_array_equal(square, [[0, 1, 2], [0, 6, 0], [0, 2, 7]])
    np.testing.assert_array_equal(missed, [8, 5, 0])
    assert square.sum() + missed.sum() == np.sum(confusion)
    assert square.dtype == missed.dtype == np.int64


def test_columns_that_are_read_as_one_class_are_added_up():
    reading = {'man': 'person', 'woman': 'person'}
    square, missed = translate([[1, 2], [3, 4]], ('road', 'person'), ('man', 'woman'), reading)
    assert (square.tolist(), missed.tolist()) == ([[0, 1 + 2], [0, 3 + 4]], [0, 0])


def test_matrix_of_another_label_space_is_refused():
    for width in (3, 5):
        with pytest.raises(ValueError, match='zip'):
            translate(np.ones((3, width)), TARGET, SOURCE, read_as_target(MATCHES))


def test_source_scores():
    confusion = [
        # background, person, motorbike, sheep
        [10, 0, 6, 4],  # road, 20 pixels
        [2, 12, 0, 2],  # person, 16
        [0, 4, 8, 0],  # motorcycle, 12
    ]
    scores = source_scores(confusion, TARGET, SOURCE, MATCHES, ('person', 'motorcycle'))
    # road: never read as it, 0 / 20
    # person: hits 12, labelled 2 + 12 + 2 = 16, predicted 12 + 4 = 16: 12 / (16 + 16 - 12) = 12 / 20
    # motorcycle: hits 8, labelled 12, predicted 6 + 8 = 14: 8 / (12 + 14 - 8) = 8 / 18
    person, motorcycle = 60.0, 100 * 8 / 18
    assert scores['class_iou'] == pytest.approx({'road': 0.0, 'person': person, 'motorcycle': motorcycle})
    assert scores['mIoU'] == pytest.approx((0 + person + motorcycle) / 3)
    assert scores['mIoU.seen'] == pytest.approx((person + motorcycle) / 2)
    assert scores['mIoU.unseen'] == 0.0
    # hits 12 + 8 of 20 + 16 + 12 pixels
    assert scores['aAcc'] == pytest.approx(100 * 20 / 48)
    # 0 / 20, 12 / 16 and 8 / 12
    assert scores['mAcc'] == pytest.approx(100 * (0 + 0.75 + 2 / 3) / 3)


def test_forgetting_scores():
    confusion = [
        # road, person, motorcycle
        [80, 5, 5],  # background
        [2, 12, 2],  # person, 16 pixels
        [1, 3, 8],  # motorbike, 12
        [10, 4, 0],  # sheep
    ]
    scores = forgetting_scores(confusion, SOURCE, TARGET, MATCHES)
    # person: hits 12, labelled 16, predicted 5 + 12 + 3 + 4 = 24: 12 / (16 + 24 - 12) = 12 / 28
    # motorbike: hits 8, labelled 12, predicted 5 + 2 + 8 + 0 = 15: 8 / (12 + 15 - 8) = 8 / 19
    person, motorbike = 100 * 12 / 28, 100 * 8 / 19
    assert list(scores) == [*MEANS, 'class_iou']
    assert scores['class_iou'] == pytest.approx({'person': person, 'motorbike': motorbike})
    assert scores['mIoU'] == pytest.approx((person + motorbike) / 2)
    # over the 28 pixels that are labelled person or motorbike alone
    assert scores['aAcc'] == pytest.approx(100 * 20 / 28)
    assert scores['mAcc'] == pytest.approx(100 * (12 / 16 + 8 / 12) / 2)


def test_forgetting_reads_every_target_class_of_a_source_class_as_it():
    matches = match_classes(('background', 'person'), ('road', 'person', 'rider'), {'rider': 'person'})
    confusion = [
        # road, person, rider
        [9, 1, 2],  # background
        [1, 4, 3],  # person, 8 pixels
    ]
    scores = forgetting_scores(confusion, ('background', 'person'), ('road', 'person', 'rider'), matches)
    # hits 4 + 3 = 7, labelled 8, predicted 1 + 2 + 4 + 3 = 10: 7 / (8 + 10 - 7) = 7 / 11
    assert scores['class_iou'] == pytest.approx({'person': 100 * 7 / 11})
    assert scores['aAcc'] == scores['mAcc'] == 87.5


@pytest.mark.parametrize(
    ('person', 'motorbike', 'means', 'iou'),
    [
        # rows of road, person, motorcycle
        ([0, 5, 0], [0, 0, 4], [100] * 4, {'person': 100, 'motorbike': 100}),
        ([5, 0, 0], [4, 0, 0], [0] * 4, {'person': 0, 'motorbike': 0}),
        # a shared class that is nowhere
        ([1, 3, 0], [0, 0, 0], [75] * 4, {'person': 75, 'motorbike': None}),
        # One that is predicted and never labelled is in one of the means: of 4 pixels of person 1 is taken
        # for motorcycle, 3 / 4 and 0 / 1.
        ([0, 3, 1], [0, 0, 0], [37.5, 75, 75, 75], {'person': 75, 'motorbike': 0}),
    ],
)
def test_means_of_forgetting(person, motorbike, means, iou):
    scores = forgetting_scores([[7, 0, 0], person, motorbike, [9, 0, 0]], SOURCE, TARGET, MATCHES)
    assert scores == {**dict(zip(MEANS, means, strict=True)), 'class_iou': iou}
