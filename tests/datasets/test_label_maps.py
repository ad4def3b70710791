import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from mmseg.datasets import BaseSegDataset, CityscapesDataset
from PIL import Image

from mmseg_deeplab_study.datasets.label_maps import count_label_pixels, write_label_map
from mmseg_deeplab_study.datasets.subsets import NamedSubset

CITYSCAPES = CityscapesDataset.METAINFO


@pytest.fixture
def cityscapes(tiny_cityscapes: Callable[..., Path]) -> Path:
    return tiny_cityscapes(train=5, val=2)


def split(root: Path, name: str = 'train', dataset: type = CityscapesDataset, **options) -> BaseSegDataset:
    return dataset(
        data_root=str(root),
        data_prefix=dict(img_path=f'leftImg8bit/{name}', seg_map_path=f'gtFine/{name}'),
        **options,
    )


def label_file(root: Path, name: str = 'train/tiny/tiny_000004') -> Path:
    return root / 'gtFine' / f'{name}_gtFine_labelTrainIds.png'


def paint(path: Path, *ids: int) -> None:
    Image.fromarray(np.array([ids], np.uint8).repeat(4, axis=0)).save(path)


@pytest.mark.slow
def test_good_label_maps_pass(cityscapes: Path):
    count_label_pixels(split(cityscapes), 19)
    count_label_pixels(split(cityscapes, 'val'), 19)
    paint(label_file(cityscapes), 0, 18, 255)
    count_label_pixels(split(cityscapes), 19)


@pytest.mark.slow
def test_bad_label_map_is_named_with_its_ids(cityscapes: Path):
    path = label_file(cityscapes)
    paint(path, 0, 7, 19, 33, 255)
    message = (
        rf'^{re.escape(str(path))}: label ids \[19, 33\] lie outside .* 19 classes \(0 to 18, 255 ignored\)'
    )
    with pytest.raises(ValueError, match=message):
        count_label_pixels(split(cityscapes), 19)
    # Also behind wrappers.
    part = dict(
        type='CityscapesDataset',
        data_root=str(cityscapes),
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
    )
    with pytest.raises(ValueError, match=message):
        count_label_pixels(NamedSubset(part, 'all', 1.0), 19)
    count_label_pixels(NamedSubset(part, 'without the last', 0.8), 19)
    with pytest.raises(ValueError, match=message):
        count_label_pixels(ConcatDataset([split(cityscapes, 'val'), split(cityscapes)]), 19)


def test_at_most_ten_ids_are_listed(cityscapes: Path):
    paint(label_file(cityscapes), *range(19, 40))
    with pytest.raises(ValueError, match=r'label ids \[19, 20, 21, 22, 23, 24, 25, 26, 27, 28\] lie'):
        count_label_pixels(split(cityscapes), 19)


def test_ignore_index_is_the_callers(cityscapes: Path):
    paint(label_file(cityscapes), 0, 200)
    with pytest.raises(ValueError, match=r'label ids \[200\] .*255 ignored'):
        count_label_pixels(split(cityscapes), 19)
    with pytest.raises(ValueError, match=r'label ids \[255\] .*200 ignored'):
        count_label_pixels(split(cityscapes), 19, ignore_index=200)


def test_missing_label_file(cityscapes: Path):
    path = label_file(cityscapes)
    path.unlink()
    image = 'tiny_000004_leftImg8bit.png'
    with pytest.raises(FileNotFoundError, match=rf'^{re.escape(str(path))}: no label map for .*{image}'):
        count_label_pixels(split(cityscapes), 19)


def test_empty_dataset(cityscapes: Path):
    folder = cityscapes / 'leftImg8bit' / 'test'
    folder.mkdir()
    # mmengine cannot serialise nothing.
    empty = split(cityscapes, 'test', serialize_data=False)
    with pytest.raises(ValueError, match=rf'CityscapesDataset found no images in {re.escape(str(folder))}'):
        count_label_pixels(empty, 19)


def test_dataset_without_label_maps_has_none_to_check(cityscapes: Path):
    images = CityscapesDataset(
        data_root=str(cityscapes), data_prefix=dict(img_path='leftImg8bit/train'), test_mode=True
    )
    assert 'seg_map_path' not in images.get_data_info(0)
    count_label_pixels(images, 19)


def test_label_map_of_the_dataset_is_honoured(cityscapes: Path):
    # Of 19 classes only road (0) and car (13) stay, as 0 and 1; the others are ignored.
    paint(label_file(cityscapes), 0, 13, 18)
    chosen = split(cityscapes, metainfo=dict(classes=['road', 'car']))
    count_label_pixels(chosen, 2)
    with pytest.raises(ValueError, match=r'label ids \[1\] lie outside .* 1 classes'):
        count_label_pixels(chosen, 1)


def test_reduce_zero_label_is_honoured(cityscapes: Path):
    # Counted from 1, with 0 for "ignore": 1 to 19 become 0 to 18.
    paint(label_file(cityscapes), 0, 1, 19, 255)
    count_label_pixels(split(cityscapes, reduce_zero_label=True), 19)
    with pytest.raises(ValueError, match=r'label ids \[19\] lie'):
        count_label_pixels(split(cityscapes), 19)


def test_written_label_map_keeps_ids_and_shows_colours(tmp_path: Path):
    labels = np.array([[0, 1, 13], [18, 255, 13]], np.int64)
    path = tmp_path / 'snapshots' / '000005' / 'image.png'
    write_label_map(path, labels, CITYSCAPES['palette'])
    with Image.open(path) as image:
        assert image.mode == 'P'
        np.testing.assert_array_equal(np.asarray(image), labels)
        colours = np.asarray(image.convert('RGB'))
    assert colours[0, 0].tolist() == [128, 64, 128]  # road
    assert colours[0, 2].tolist() == [0, 0, 142]  # car
    assert colours[1, 0].tolist() == [119, 11, 32]  # bicycle


def test_every_id_survives(tmp_path: Path):
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_label_map(tmp_path / 'all.png', labels, [[i, 0, 255 - i] for i in range(256)])
    with Image.open(tmp_path / 'all.png') as image:
        np.testing.assert_array_equal(np.asarray(image), labels)
        assert np.asarray(image.convert('RGB'))[15, 15].tolist() == [255, 0, 0]


def test_written_label_map_is_read_back_by_mmseg(cityscapes: Path):
    write_label_map(label_file(cityscapes), np.full((16, 32), 33), CITYSCAPES['palette'] * 2)
    with pytest.raises(ValueError, match=r'label ids \[33\] lie'):
        count_label_pixels(split(cityscapes), 19)
