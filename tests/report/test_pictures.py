"""Which iterations a report shows, and label maps that stay exact inside a page."""

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmseg_deeplab_study.datasets.label_maps import write_label_map
from mmseg_deeplab_study.datasets.palettes import UNLABELLED
from mmseg_deeplab_study.evaluation.metrics.confusion import confusion_matrix
from mmseg_deeplab_study.evaluation.metrics.scores import scores_from_confusion
from mmseg_deeplab_study.report.pictures import (
    choose_iterations,
    encode_label_map,
    encode_photograph,
    image_miou,
    read_palette,
)

PALETTE = ((128, 64, 128), (0, 0, 142))


def decode(uri: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(uri.partition('base64,')[2])))


@pytest.mark.parametrize(
    ('available', 'wanted', 'most', 'expected'),
    [
        ([0, 5, 10], [5], 3, [0, 5, 10]),
        ([0, 5, 10], [], 60, [0, 5, 10]),
        # first, last and 7 are kept; of 1, 2, 3, 4, 5, 6, 8 the places 1 2/3 and 4 1/3
        (range(10), [7, 99], 5, [0, 3, 5, 7, 9]),
        (range(0, 1000, 5), [], 5, [0, 250, 500, 745, 995]),
        (range(10), [], 2, [0, 9]),
        # more is wanted than there is room for
        (range(10), [3, 4, 5], 2, [0, 3, 4, 5, 9]),
        ([], [1], 3, []),
    ],
)
def test_choose_iterations(available, wanted, most, expected):
    assert choose_iterations(list(available), wanted, most) == expected


def test_label_map_keeps_ids_and_marks_the_unlabelled(tmp_path):
    labels = np.array([[0, 0, 1, 1, 255, 255]] * 4)
    write_label_map(tmp_path / 'truth.png', labels, PALETTE)
    whole = decode(encode_label_map(tmp_path / 'truth.png', 100, 2))
    assert np.array_equal(np.asarray(whole), labels)
    assert np.asarray(whole.convert('RGB'))[0, ::2].tolist() == [*map(list, PALETTE), list(UNLABELLED)]
    small = decode(encode_label_map(tmp_path / 'truth.png', 3, 2))
    assert small.size == (3, 2)
    assert np.asarray(small).tolist() == [[0, 1, 255]] * 2
    assert read_palette(tmp_path / 'truth.png')[:2] == ['#804080', '#00008e']


def test_photograph_gets_smaller_and_not_larger(tmp_path):
    Image.new('RGB', (64, 32), (200, 100, 50)).save(tmp_path / 'photograph.png')
    assert decode(encode_photograph(tmp_path / 'photograph.png', 16)).size == (16, 8)
    assert decode(encode_photograph(tmp_path / 'photograph.png', 480)).size == (64, 32)


def test_miou_of_an_image_is_that_of_the_metric(tmp_path):
    random = np.random.default_rng(0)
    label, prediction = random.choice([0, 1, 2, 255], (2, 20, 30))
    prediction[(prediction == 255) & (label != 255)] = 1  # no class, but only where no label is
    write_label_map(tmp_path / 'truth.png', label, PALETTE)
    write_label_map(tmp_path / 'predicted.png', prediction, PALETTE)
    counts = confusion_matrix(prediction, label, 3)
    expected = scores_from_confusion(counts, 'abc', ())['mIoU']
    assert image_miou(tmp_path / 'predicted.png', tmp_path / 'truth.png', 'abc') == expected


@pytest.mark.parametrize('broken', ['missing', 'truncated', 'other size', 'other label space', '16 bits'])
def test_what_cannot_be_read(tmp_path, broken):
    truth, path = tmp_path / 'truth.png', tmp_path / 'predicted.png'
    write_label_map(truth, np.zeros((4, 4), int), PALETTE)
    if broken == 'other size':
        write_label_map(path, np.zeros((2, 4), int), PALETTE)
    elif broken == 'other label space':
        write_label_map(path, np.full((4, 4), 7), PALETTE)
    elif broken == '16 bits':
        Image.fromarray(np.full((4, 4), 257, np.uint16)).save(path)
    elif broken == 'truncated':
        path.write_bytes(truth.read_bytes()[:-30])
    assert image_miou(path, truth, ['a', 'b']) is None
    if broken in ('missing', 'truncated'):
        assert encode_label_map(path, 8) is None
        assert encode_photograph(Path(path), 8) is None
    if broken == 'missing':
        assert read_palette(path) == []
