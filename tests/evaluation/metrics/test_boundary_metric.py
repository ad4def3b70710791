"""Boundary scores against references that go class by class and pixel by pixel."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import METRICS
from mmseg.structures import SegDataSample

from mmseg_deeplab_study.evaluation.metrics.boundary_metric import (
    WIDTHS,
    BoundaryMetric,
    boundary_scores,
    boundary_width,
    count_boundaries,
    distance_to_change,
    flat_boundary_scores,
)

CLASSES = ('road', 'car', 'sky', 'pole')


def draw_maps(seed: int, size: tuple[int, int] = (37, 52)) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and label: blocks of four classes, unlabelled here and there, edges shifted."""
    random = np.random.default_rng(seed)
    blocks = random.choice([0, 1, 2, 3, 255], (5, 6), p=[0.3, 0.2, 0.2, 0.2, 0.1])
    label = np.kron(blocks, np.ones((8, 9), int))[: size[0], : size[1]].astype(np.uint8)
    prediction = np.roll(label, random.integers(-3, 4, 2), axis=(0, 1))
    prediction[prediction == 255] = 1
    prediction[10:13, 20:22] = 3
    return prediction, label


def slow_distance(labels: np.ndarray) -> np.ndarray:
    places = np.stack(np.mgrid[: labels.shape[0], : labels.shape[1]], axis=-1).reshape(-1, 2)
    flat = labels.ravel()
    apart = np.abs(places[:, None] - places[None]).max(axis=-1).astype(float)
    apart[flat[:, None] == flat[None]] = np.inf
    return apart.min(axis=1).reshape(labels.shape)


def mask_boundary(mask: np.ndarray, width: int) -> np.ndarray:
    """The band of a mask as the authors of Boundary IoU define it: what erosion takes away."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    return mask & (eroded == 0)


def slow_biou(pairs, classes: int, ratio: float) -> list[float | None]:
    shared, union = np.zeros(classes, int), np.zeros(classes, int)
    for prediction, label in pairs:
        width = max(1, round(ratio * np.hypot(*label.shape)))
        for c in range(classes):
            bands = [mask_boundary((ids == c) & (label != 255), width) for ids in (prediction, label)]
            shared[c] += (bands[0] & bands[1]).sum()
            union[c] += (bands[0] | bands[1]).sum()
    return [100 * s / u if u else None for s, u in zip(shared, union, strict=True)]


def slow_trimap(pairs, classes: int, width: int) -> list[float | None]:
    shared, union = np.zeros(classes, int), np.zeros(classes, int)
    for prediction, label in pairs:
        band = (label != 255) & (slow_distance(label) <= width)
        for c in range(classes):
            shared[c] += (band & (prediction == c) & (label == c)).sum()
            union[c] += (band & ((prediction == c) | (label == c))).sum()
    return [100 * s / u if u else None for s, u in zip(shared, union, strict=True)]


@pytest.mark.parametrize('seed', range(3))
def test_distances_are_those_between_all_pixels(seed):
    _, label = draw_maps(seed)
    assert np.array_equal(distance_to_change(label), slow_distance(label))


@pytest.mark.parametrize('ratio', [0.001, 0.02, 0.05, 0.3])
def test_boundary_iou_is_that_of_eroded_masks(ratio):
    pairs = [draw_maps(seed) for seed in range(4)]
    metric = evaluate(pairs, dilation_ratio=ratio)
    scores = metric.scores(range(4))
    expected = slow_biou(pairs, 4, ratio)
    assert list(scores['class_biou'].values()) == expected
    assert scores['BIoU'] == pytest.approx(np.mean(expected))


@pytest.mark.slow
@pytest.mark.parametrize('widths', [WIDTHS, (3,), (1, 5, 100)])
def test_trimap_scores_are_those_of_pixels_near_to_a_labelled_edge(widths):
    pairs = [draw_maps(seed) for seed in range(2)]
    scores = evaluate(pairs, widths=widths).scores(range(2))['trimap']
    assert list(scores) == [str(width) for width in widths]
    for width in widths:
        expected = slow_trimap(pairs, 4, width)
        assert list(scores[str(width)]['class_iou'].values()) == expected
        assert scores[str(width)]['mIoU'] == pytest.approx(np.mean(expected))


def test_a_prediction_that_is_the_label_is_right_everywhere():
    _, label = draw_maps(1)
    right = np.where(label == 255, 2, label).astype(np.uint8)
    flat = evaluate([(right, label)]).compute_metrics([count_boundaries(right, label, 4)])
    assert set(flat.values()) == {100.0}


def test_a_class_without_pixels_has_no_score_and_is_in_no_mean():
    label = np.zeros((20, 20), np.uint8)
    prediction = label.copy()
    label[:, 10:] = prediction[:, 11:] = 1
    scores = evaluate([(prediction, label)]).scores([0])
    assert scores['class_biou']['sky'] is None and scores['class_biou']['pole'] is None
    assert scores['BIoU'] == (scores['class_biou']['road'] + scores['class_biou']['car']) / 2
    trimaps = {f'trimap.{width}' for width in WIDTHS}
    assert set(flat_boundary_scores(scores)) == {'BIoU', 'BIoU.road', 'BIoU.car', *trimaps}


def test_where_there_is_no_edge_there_is_no_trimap():
    label = np.zeros((20, 20), np.uint8)
    assert np.isinf(distance_to_change(label)).all()
    scores = evaluate([(label, label)]).scores([0])
    # The edge of the image is a boundary to Boundary IoU alone.
    assert scores['BIoU'] == 100
    assert all(values['mIoU'] is None for values in scores['trimap'].values())


def test_width_of_the_bands():
    assert boundary_width((1024, 2048), 0.02) == 46
    assert boundary_width((1024, 2048), 0.005) == 11
    assert boundary_width((10, 10), 0.02) == 1


def make_sample(prediction, label, **fields) -> dict:
    sample = SegDataSample(metainfo=dict(seg_map_path='label.png'))
    maps = dict(pred_sem_seg=prediction, gt_sem_seg=label.astype(int), **fields)
    sample.set_data({name: PixelData(data=torch.tensor(ids)[None]) for name, ids in maps.items()})
    return sample.to_dict()


def make_metric(**kwargs) -> BoundaryMetric:
    metric = METRICS.build(dict(type='BoundaryMetric', **kwargs))
    metric.dataset_meta = dict(classes=CLASSES)
    return metric


def evaluate(pairs, **kwargs) -> BoundaryMetric:
    metric = make_metric(**kwargs)
    metric.process({}, [make_sample(*pair) for pair in pairs])
    metric.evaluate(len(pairs))
    return metric


def test_evaluates_to_flat_scalars_under_a_prefix():
    metric = make_metric(prefix='edges', widths=(2,))
    metric.process({}, [make_sample(*draw_maps(0))])
    classes = {f'edges/BIoU.{name}' for name in CLASSES}
    assert set(metric.evaluate(1)) == {'edges/BIoU', 'edges/trimap.2', *classes}


def test_scores_of_some_of_the_images():
    pairs = [draw_maps(seed) for seed in range(4)]
    assert evaluate(pairs).scores([1, 3]) == evaluate([pairs[1], pairs[3]]).scores([0, 1])


def test_reads_the_predictions_of_another_field():
    prediction, label = draw_maps(0)
    metric = make_metric(predictions='unrefined_sem_seg')
    metric.process({}, [make_sample(np.zeros_like(prediction), label, unrefined_sem_seg=prediction)])
    metric.evaluate(1)
    expected = boundary_scores([count_boundaries(prediction, label, 4)], CLASSES)
    assert metric.scores([0]) == expected


def test_names_the_file_of_an_id_outside_the_label_space():
    prediction, label = draw_maps(0)
    for name, pair in (
        ('label', (prediction, label + (label == 3))),
        ('prediction', (prediction + 2, label)),
        # not of 8 bits
        ('prediction', (np.full(prediction.shape, 256), label)),
    ):
        with pytest.raises(ValueError, match=rf'label.png: {name} ids must be in \[0, 3\] or 255, but got'):
            evaluate([pair])


def test_says_what_a_sample_lacks():
    prediction, label = draw_maps(0)
    metric = make_metric(predictions='unrefined_sem_seg')
    with pytest.raises(ValueError, match='no unrefined_sem_seg to count: the model has no test_cfg.crf'):
        metric.process({}, [make_sample(prediction, label)])
    sample = make_sample(prediction, label)
    del sample['gt_sem_seg']
    with pytest.raises(ValueError, match='no gt_sem_seg to count: the pipeline has no LoadAnnotations'):
        make_metric().process({}, [sample])


def test_counts_of_an_image_are_small_whatever_the_number_of_classes():
    prediction, label = draw_maps(0)
    counts = count_boundaries(prediction, label, 150)
    assert sum(part.nbytes for part in (counts.intersection, counts.union, *counts.rings)) < 6000
    classes = [str(i) for i in range(150)]
    # Twice the same counts are the same shares.
    assert boundary_scores([counts, counts], classes) == boundary_scores([counts], classes)


def test_refuses_maps_of_other_shapes():
    with pytest.raises(ValueError, match=r'must have one shape, but got \(4, 4\) and \(4, 5\)'):
        count_boundaries(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8), 2)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(ignore_index=-1), r'ignore_index must be in \[0, 255\], an 8-bit label, but got -1'),
        *((dict(dilation_ratio=r), r'dilation_ratio must be in \(0, 1\], but got') for r in (0, -1, 1.5)),
        *((dict(widths=w), 'widths must ascend from at least 1') for w in ((), (0, 1), (2, 1), (1, 1))),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(ValueError, match=message):
        BoundaryMetric(**options)
