"""The metric: its interface, exact values, and how it relates to numpy's and to mmseg's.

That two ranks count as one does is in tests/tools/test_two_ranks.py.
"""

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from mmseg.structures import SegDataSample
from mmseg.utils import get_classes

from mmseg_deeplab_study.datasets.label_spaces import match_classes
from mmseg_deeplab_study.evaluation.bootstrap import bootstrap_interval
from mmseg_deeplab_study.evaluation.metrics.adaptation_metric import AdaptationMetric
from mmseg_deeplab_study.evaluation.metrics.confusion import add_sparse, confusion_matrix
from mmseg_deeplab_study.evaluation.metrics.scores import LABELLED, scores_from_confusion

CITYSCAPES = tuple(get_classes('cityscapes'))
SCORES = ('mIoU', 'aAcc', 'mAcc', 'mIoU.seen', 'mIoU.unseen', *LABELLED)


def make_sample(prediction, label, path: str = 'label.png') -> dict:
    """What an Evaluator hands to a metric: a data sample as a dict, maps of shape (1, H, W)."""
    sample = SegDataSample(metainfo=dict(seg_map_path=path))
    sample.pred_sem_seg = PixelData(data=torch.as_tensor(prediction).long()[None])
    sample.gt_sem_seg = PixelData(data=torch.as_tensor(label).long()[None])
    return sample.to_dict()


def make_metric(classes=CITYSCAPES, **kwargs) -> AdaptationMetric:
    metric = METRICS.build(dict(type='AdaptationMetric', **kwargs))
    metric.dataset_meta = dict(classes=classes)
    return metric


def evaluate(metric: AdaptationMetric, *maps: tuple) -> dict[str, float]:
    """Scores of pairs of prediction and label."""
    metric.process({}, [make_sample(*pair) for pair in maps])
    return metric.evaluate(len(maps))


def random_maps(images: int, num_classes: int = 19, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of prediction and label in which 3 of 10 labelled pixels are wrong and 1 of 10 is ignored."""
    generator = torch.Generator().manual_seed(seed)
    maps = []
    for _ in range(images):
        label = torch.randint(num_classes, (24, 31), generator=generator)
        noise = torch.randint(num_classes, (24, 31), generator=generator)
        prediction = torch.where(torch.rand(label.shape, generator=generator) < 0.3, noise, label)
        label[torch.rand(label.shape, generator=generator) < 0.1] = 255
        maps.append((prediction.numpy(), label.numpy()))
    return maps


# Interface


def test_counts_of_images_are_small_and_give_the_interval_of_dense_ones():
    classes = [f'class {i}' for i in range(150)]
    metric, dense = make_metric(classes, source=classes[::2]), []
    for prediction, label in random_maps(30, num_classes=12):
        metric.process({}, [make_sample(prediction, label)])
        dense.append(confusion_matrix(prediction, label, 150))
    metric.evaluate(30)
    assert sum(part.nbytes for counts in metric.counts for part in counts) < 30 * 2000
    np.testing.assert_array_equal(metric.confusion, np.sum(dense, axis=0))
    matrices = (add_sparse([counts], metric.shape) for counts in metric.counts)
    expected = bootstrap_interval(np.stack(dense), classes, metric.seen)
    assert bootstrap_interval(matrices, classes, metric.seen) == expected


def test_evaluates_to_flat_scalars():
    metric = make_metric(source='voc')
    scores = evaluate(metric, *random_maps(2))
    assert list(scores) == [*SCORES, *(f'IoU.{name}' for name in CITYSCAPES)]
    assert all(type(value) is float for value in scores.values())
    assert metric.confusion.shape == (19, 19) and metric.confusion.dtype == np.int64
    assert metric.images == 2
    # The next evaluation starts from nothing.
    scores = evaluate(metric, ([[0, 0]], [[0, 0]]))
    assert scores['mIoU'] == 100.0 and 'IoU.sidewalk' not in scores
    assert metric.confusion.sum() == 2
    assert evaluate(make_metric(prefix='night'), ([[0]], [[0]]))['night/IoU.road'] == 100


@pytest.mark.parametrize(
    ('source', 'target', 'seen'),
    [
        ('voc', CITYSCAPES, ('person', 'car', 'bus', 'train', 'motorcycle', 'bicycle')),
        # A background of the target's own is seen.
        ('voc', ('background', 'road', 'car'), ('background', 'car')),
        # rider is only near to person
        (['person', 'motorbike'], ('road', 'motorcycle', 'rider'), ('motorcycle',)),
    ],
)
def test_seen_classes_are_in_the_order_of_the_target(source, target, seen):
    assert make_metric(target, source=source).seen == seen


@pytest.mark.parametrize(
    ('class_map', 'approximate', 'without', 'more'),
    [
        ({'train': None}, False, {'train'}, set()),  # its row is the background's
        ({'train': 'background'}, False, {'train'}, set()),  # and so it is here
        ({'truck': 'bus'}, False, set(), {'truck'}),
        ({'truck': 'bus', 'bus': None}, False, {'bus'}, {'truck'}),
        ({'car': 'sheep'}, False, set(), set()),  # of another class, but of a class
        (None, True, set(), {'rider'}),
        ({'rider': None}, True, set(), set()),
    ],
)
def test_seen_classes_are_what_the_transfer_matched(class_map, approximate, without, more):
    metric = make_metric()
    by_name = set(metric.seen)
    metric.transferred = match_classes(metric.source, CITYSCAPES, class_map, approximate)
    expected = by_name - without | more
    assert metric.seen == tuple(name for name in CITYSCAPES if name in expected)
    label = torch.full((1, 1), CITYSCAPES.index('train'))
    part = 'seen' if 'train' in expected else 'unseen'
    assert evaluate(metric, (label, label))[f'mIoU.{part}'] == 100


@pytest.mark.parametrize(
    ('prediction', 'label', 'message'),
    [
        ([[0, 1]], [[0, 19]], r'label ids must be in \[0, 18\] or 255, but got 0 to 19'),
        ([[0, 1]], [[-1, 0]], r'label ids must be in \[0, 18\] or 255, but got -1 to 0'),
        ([[3, 20]], [[0, 1]], r'prediction ids must be in \[0, 18\] or 255, but got 3 to 20'),
        ([[0, 1]], [[0], [1]], r'one shape, but got \(1, 2\) and \(2, 1\)'),
    ],
)
def test_what_does_not_fit_names_the_file(prediction, label, message):
    with pytest.raises(ValueError, match=rf'city/a_labelTrainIds\.png: .*{message}'):
        make_metric().process({}, [make_sample(prediction, label, 'city/a_labelTrainIds.png')])


# Exact values


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(source='vok'), "unknown label space 'vok'"),
        (dict(ignore_index=-100), r'ignore_index must be in \[0, 255\], an 8-bit label, but got -100'),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(ValueError, match=message):
        AdaptationMetric(**options)


def test_everything_ignored_scores_nothing():
    metric = make_metric()
    assert evaluate(metric, ([[0, 1]], [[255, 255]])) == {}
    assert metric.images == 1 and metric.confusion.sum() == 0
    scores = scores_from_confusion(metric.confusion, CITYSCAPES, metric.seen)
    assert {key: scores[key] for key in SCORES} == dict.fromkeys(SCORES)


# Relations


@pytest.mark.parametrize('num_classes', [2, 19])
def test_agrees_with_mmsegs_metric(num_classes):
    maps = random_maps(3, num_classes)
    classes = tuple(f'class {i}' for i in range(num_classes))
    theirs = IoUMetric(iou_metrics=['mIoU'])
    theirs.dataset_meta = dict(classes=classes)
    expected, scores = evaluate(theirs, *maps), evaluate(make_metric(classes), *maps)
    for key in ('mIoU', 'aAcc', 'mAcc'):
        # mmseg rounds to two decimals
        assert scores[key] == pytest.approx(expected[key], abs=0.00501)


def test_order_and_size_of_batches_do_not_matter():
    samples = [make_sample(*maps) for maps in random_maps(5)]
    results = []
    for order, size in ((range(5), 1), ((4, 2, 0, 3, 1), 2), ((3, 4, 1, 0, 2), 5)):
        metric = make_metric()
        for start in range(0, 5, size):
            metric.process({}, [samples[i] for i in list(order)[start : start + size]])
        results.append((metric.evaluate(5), metric.confusion.tolist(), metric.images))
    assert results[0] == results[1] == results[2]


def test_samples_are_left_as_they_are():
    sample = make_sample([[1, 18]], [[0, 255]])
    make_metric().process({}, [sample])
    assert sample['pred_sem_seg']['data'].tolist() == [[[1, 18]]]
    assert sample['gt_sem_seg']['data'].tolist() == [[[0, 255]]]
