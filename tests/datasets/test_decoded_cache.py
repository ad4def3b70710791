"""Decoded files in shared memory: the samples are the same, and no file is decoded twice."""

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, ConcatDataset, pseudo_collate
from mmseg.datasets import BaseSegDataset, CityscapesDataset
from PIL import Image
from torch.utils.data import DataLoader

from mmseg_deeplab_study.datasets import decoded_cache
from mmseg_deeplab_study.datasets.decoded_cache import keep_decoded, keep_labels_as_read
from mmseg_deeplab_study.datasets.subsets import NamedSubset

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(48, 32), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
OPTIONS = dict(data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'), pipeline=PIPELINE)


@pytest.fixture
def root(tiny_cityscapes: Callable[..., Path]) -> Path:
    return tiny_cityscapes(val=3, size=(32, 48))


def build(root: Path, pipeline: list[dict] = PIPELINE, **options) -> BaseSegDataset:
    options = OPTIONS | options | dict(pipeline=copy.deepcopy(pipeline))
    return CityscapesDataset(**options, data_root=str(root))


def assert_same(found: dict, expected: dict) -> None:
    assert torch.equal(found['inputs'], expected['inputs'])
    assert found['data_samples'].metainfo == expected['data_samples'].metainfo
    labels = [sample['data_samples'].gt_sem_seg.data for sample in (found, expected)]
    assert torch.equal(labels[0].long(), labels[1])


def test_sizes():
    sizes = {'4GB': 2**32, '500 MB': 500 * 2**20, '1.5gb': 3 * 2**29, '64KB': 2**16, '1TB': 2**40}
    assert {size: decoded_cache.parse_size(size) for size in sizes} == sizes
    for size in ('4', '4 G', 'GB', '-1GB', 4, '4GB of it'):
        message = f"a size must be a number and KB, MB, GB or TB, as in '4GB', but got {size!r}"
        with pytest.raises(ValueError, match=re.escape(message)):
            decoded_cache.parse_size(size)


@pytest.mark.parametrize('options', [{}, dict(reduce_zero_label=True)], ids=['plain', 'reduce_zero_label'])
def test_samples_are_the_same_and_files_are_not_read_again(root, options):
    plain = build(root, **options)
    expected = [plain[i] for i in range(3)]
    kept = build(root, **options)
    files, why = keep_decoded(kept, 2**20)
    # 3 x 32 x 48 x (3 + 1) = 18,432 bytes
    assert files.nbytes == 18432 and why == '3 images and label maps, 0.00 GB of at most 0.00 GB'
    for i in range(3):
        assert_same(kept[i], expected[i])
    copied = copy.deepcopy(kept)
    shutil.rmtree(root)
    for i in range(3):
        assert_same(kept[i], expected[i])
        assert_same(copied[i], expected[i])


def test_labels_as_read(root):
    plain, kept = build(root), build(root)
    keep_decoded(kept, 2**20)
    keep_labels_as_read(kept)
    for _ in range(2):
        sample = kept[1]
        assert sample['data_samples'].gt_sem_seg.data.dtype == torch.uint8
        assert sample['data_samples'].gt_sem_seg.data.shape == (1, 32, 48)
        assert_same(sample, plain[1])
    dataset = build(root, [PIPELINE[0], PIPELINE[3]])
    keep_labels_as_read(dataset)
    assert 'gt_sem_seg' not in dataset[0]['data_samples']


@pytest.mark.slow
def test_workers_share_what_one_of_them_decoded(root):
    expected = [build(root)[i] for i in range(3)]
    dataset = build(root)
    files, _ = keep_decoded(dataset, 2**20)
    loader = DataLoader(dataset, num_workers=2, collate_fn=pseudo_collate, multiprocessing_context='fork')
    assert len(list(loader)) == 3
    # Two processes filled it, which are gone, and neither is this one.
    shutil.rmtree(root)
    assert all(path in files for path in files._place)
    for batch, other in zip(loader, expected, strict=True):
        assert_same({key: value[0] for key, value in batch.items()}, other)


def test_a_rank_takes_memory_for_its_own_images_only(root):
    dataset = build(root)
    files, _ = keep_decoded(dataset, 2**20)
    dataset[1]
    assert [path in files for path in files._place] == [False, True, False] * 2


def test_random_transforms_stay_random(root):
    flip = dict(type='RandomFlip', prob=0.5)
    dataset = build(root, [*PIPELINE[:3], flip, PIPELINE[3]])
    keep_decoded(dataset, 2**20)
    assert {dataset[0]['data_samples'].flip for _ in range(40)} == {True, False}


def test_what_is_changed_is_not_what_is_kept(root):
    dataset = build(root, [PIPELINE[0], PIPELINE[2], PIPELINE[3]])
    keep_decoded(dataset, 2**20)
    before = dataset[0]['inputs'].clone()
    for _ in range(2):
        again = dataset[0]
        assert torch.equal(again['inputs'], before)
        again['inputs'].zero_()


@pytest.mark.slow
def test_wrapped_datasets(root):
    subset = NamedSubset(dict(type='CityscapesDataset', **OPTIONS, data_root=str(root)), 'two', 0.7)
    files, _ = keep_decoded(subset, 2**20)
    assert files.nbytes == 12288
    assert_same(subset.dataset[1], build(root)[1])
    # Two of one kind share files; one that names other classes reads other labels from them.
    other = dict(metainfo=dict(classes=('car', 'road')))
    parts = [(build(root, **options), build(root, **options)) for options in ({}, {}, other)]
    dataset = ConcatDataset([kept for kept, _ in parts], ignore_keys=['classes', 'palette', 'label_map'])
    files, _ = keep_decoded(dataset, 2**20)
    # The images once, two kinds of labels: 3 x 32 x 48 x (3 + 1 + 1)
    assert files.nbytes == 23040
    for _ in range(2):
        for i in range(9):
            assert_same(dataset[i], parts[i // 3][1][i % 3])
    labels = [dataset[i]['data_samples'].gt_sem_seg.data for i in (0, 6)]
    assert not torch.equal(*labels)


@pytest.mark.parametrize(
    ('load', 'budget', 'free', 'why'),
    [
        (dict(to_float32=True), 2**20, None, r'does not read images as 8-bit colour$'),
        (dict(color_type='grayscale'), 2**20, None, r'does not read images as 8-bit colour$'),
        ({}, 18431, None, r'^3 images and label maps would take 0.00 GB, more than 0.00 GB$'),
        ({}, 2**20, 5000, r'but 0.00 GB are free$'),
        (None, 2**20, None, r'^its pipeline has neither LoadImageFromFile nor LoadAnnotations$'),
    ],
)
def test_what_is_not_kept(root, monkeypatch, load, budget, free, why):
    monkeypatch.setattr(decoded_cache, 'available_memory', lambda: free)
    steps = [PIPELINE[3]] if load is None else [dict(PIPELINE[0], **load), *PIPELINE[1:]]
    dataset = build(root, steps)
    files, reason = keep_decoded(dataset, budget)
    assert files is None and re.search(why, reason)
    assert not any(isinstance(t, decoded_cache.LoadDecoded) for t in dataset.pipeline.transforms)


def test_files_that_cannot_be_read(root):
    dataset = type('Mine', (), {'pipeline': Compose([]), '__len__': lambda self: 0})()
    assert keep_decoded(dataset, 2**20) == (None, 'Mine does not say which files it reads')
    path = sorted((root / 'leftImg8bit/val/tiny').iterdir())[1]
    path.write_bytes(b'not a picture')
    files, why = keep_decoded(build(root), 2**20)
    assert files is None and why.startswith(f'the size of {path} cannot be read (')


def test_a_file_that_changed_since_is_read_anew(root):
    dataset = build(root)
    files, _ = keep_decoded(dataset, 2**20)
    path = sorted((root / 'leftImg8bit/val/tiny').iterdir())[0]
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(path)
    assert dataset[0]['data_samples'].ori_shape == (64, 96)
    names = [name for name in files._place if name[1] == str(path)]
    assert len(names) == 1 and names[0] not in files


def test_other_pixels_than_there_is_room_for():
    files = decoded_cache.DecodedFiles({'a': 12, 'b': 4})
    files.put('a', np.zeros((2, 2, 3), np.float32))
    files.put('a', np.zeros((2, 2), np.uint8))
    files.put('c', np.zeros((2, 2), np.uint8))
    assert not any(name in files for name in 'abc') and files.get('c') is None
    files.put('b', np.arange(4, dtype=np.uint8).reshape(1, 4))
    np.testing.assert_array_equal(files.get('b'), [[0, 1, 2, 3]])
