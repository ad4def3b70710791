"""The drawn sets: what is in them, that they can be drawn again, and how they lie on the disk."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from mmseg.utils import get_palette
from PIL import Image

from mmseg_deeplab_study.datasets.drawn import scenes
from mmseg_deeplab_study.datasets.drawn.objects import THINGS
from mmseg_deeplab_study.datasets.drawn.scenes import IGNORE_INDEX, SHARED, get_classes

DRAWERS = {'voc': scenes.draw_object_photo, 'cityscapes': scenes.draw_street_scene}
WRITERS = {'voc': scenes.write_voc_like, 'cityscapes': scenes.write_cityscapes_like}
both = pytest.mark.parametrize('dataset', DRAWERS)


def classes_in(labels, dataset: str) -> set[str]:
    ids = np.unique(np.concatenate([label.ravel() for label in labels]))
    return {get_classes(dataset)[i] for i in ids if i != IGNORE_INDEX}


@both
def test_pictures_depend_on_seed_split_and_index_alone(dataset):
    places = list(product((0, 1), ('train', 'val'), (0, 1)))
    labels = [DRAWERS[dataset](*place)[1].tobytes() for place in places]
    assert len(set(labels)) == 8
    first, again = (DRAWERS[dataset](*places[5]) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


@both
@pytest.mark.parametrize('size', [(96, 128), (75, 101)])
def test_shapes_and_label_space(dataset, size):
    allowed = {*range(len(get_classes(dataset))), IGNORE_INDEX}
    for index in range(6):
        image, label = DRAWERS[dataset](0, 'train', index, size)
        assert image.shape == (*size, 3) and image.dtype == np.uint8
        assert label.shape == size and label.dtype == np.uint8
        assert set(np.unique(label)) <= allowed


@pytest.mark.parametrize('split', ['train', 'val'])
def test_all_classes_but_two_are_in_24_street_scenes(split):
    labels = [scenes.draw_street_scene(0, split, index)[1] for index in range(24)]
    assert classes_in(labels, 'cityscapes') == set(get_classes('cityscapes')) - {'train', 'motorcycle'}


def test_shared_classes_are_frequent_among_many_in_the_photos():
    photos = [classes_in([scenes.draw_object_photo(0, 'train', index)[1]], 'voc') for index in range(44)]
    for name in SHARED:  # 44 photos are four rounds of 11, and a round has 2 turns of each
        assert sum(name in photo for photo in photos) >= 8, name
    assert set().union(*photos) == {'background', *SHARED, *scenes.SOURCE_ONLY}


@both
def test_shared_classes_are_drawn_by_the_same_code(monkeypatch, dataset):
    """Without the one function of each class, no pixel of it is left in either set."""
    for name in (*SHARED, 'rider'):  # a rider is a person in the source set
        monkeypatch.setitem(THINGS, name, replace(THINGS[name], draw=lambda pen, rng: None))
    labels = np.stack([DRAWERS[dataset](0, 'val', index, (48, 64))[1] for index in range(21)])
    assert not np.isin(labels, [scenes.label_ids(dataset)[name] for name in SHARED]).any()


@both
@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((0, 'test', 0), r"split must be one of \('train', 'val'\), but got 'test'"),
        ((-1, 'val', 0), 'must be >= 0, but got seed=-1, index=0'),
        ((0, 'val', -2), 'must be >= 0, but got seed=0, index=-2'),
        ((0, 'val', 0, (16, 64)), r'at least 32 pixels, but got \(16, 64\)'),
    ],
)
def test_arguments_out_of_range(dataset, arguments, message):
    with pytest.raises(ValueError, match=message):
        DRAWERS[dataset](*arguments)


def test_voc_layout(tmp_path):
    base = scenes.write_voc_like(tmp_path / 'voc', train=2, val=1)
    assert base == tmp_path / 'voc' / 'VOCdevkit' / 'VOC2012'
    for split, count in (('train', 2), ('val', 1)):
        names = (base / f'ImageSets/Segmentation/{split}.txt').read_text().split()
        assert len(names) == count
        for index, name in enumerate(names):
            assert Image.open(base / 'JPEGImages' / f'{name}.jpg').size == (96, 96)
            label = Image.open(base / 'SegmentationClass' / f'{name}.png')
            assert label.mode == 'P'
            assert label.getpalette()[: 21 * 3] == sum(get_palette('voc'), [])
            np.testing.assert_array_equal(np.array(label), scenes.draw_object_photo(0, split, index)[1])


def test_cityscapes_layout(tmp_path):
    root = scenes.write_cityscapes_like(tmp_path / 'streets', train=2, val=1, seed=4)
    assert root == tmp_path / 'streets'
    for split, count in (('train', 2), ('val', 1)):
        images = sorted((root / 'leftImg8bit' / split).glob('*/*_leftImg8bit.png'))
        assert len(images) == count
        for index, path in enumerate(images):
            stem = f'{path.parent.name}_{index:06d}_000019'
            assert path.name == f'{stem}_leftImg8bit.png'
            truth = root / 'gtFine' / split / path.parent.name / f'{stem}_gtFine_labelTrainIds.png'
            for file, expected in zip((path, truth), scenes.draw_street_scene(4, split, index), strict=True):
                np.testing.assert_array_equal(np.array(Image.open(file)), expected)


@both
def test_writing_again_does_nothing(tmp_path, dataset):
    root = tmp_path / 'sets' / dataset  # of which the parent is not there yet
    written = WRITERS[dataset](root, train=1, val=1)
    times = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    assert WRITERS[dataset](root, train=1, val=1) == written
    assert {path: path.stat().st_mtime_ns for path in root.rglob('*')} == times
    assert [path.name for path in root.parent.iterdir()] == [dataset]  # nothing partial is left
    note = json.loads((root / 'dataset.json').read_text())
    assert (note['seed'], note['train'], note['val']) == (0, 1, 1)


@both
def test_what_is_not_written(tmp_path, dataset):
    write, message = WRITERS[dataset], "holds .*'seed': 0.* but .*'seed': 7.* was asked for: .*remove"
    for options, reason in (
        (dict(train=1, val=1, size=(8, 8)), 'at least 32 pixels'),
        (dict(train=-1, val=1), 'must be >= 0, but got train=-1, val=1'),
    ):
        with pytest.raises(ValueError, match=reason):
            write(tmp_path / 'set', **options)
        assert not list(tmp_path.iterdir())
    write(tmp_path / 'set', train=1, val=1)
    with pytest.raises(FileExistsError, match=message):
        write(tmp_path / 'set', train=1, val=1, seed=7)
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.txt').write_text('three years of work')
    with pytest.raises(FileExistsError, match='holds files without a dataset.json'):
        write(tmp_path / 'mine', train=1, val=1)
