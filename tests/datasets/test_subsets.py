import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope
from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from mmseg_deeplab_study.datasets.subsets import NamedSubset, image_infos, image_list


@pytest.fixture(autouse=True)
def mmseg_scope() -> Iterator[None]:
    """As under a Runner: names without a scope are mmseg's, those of a pipeline too."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def train_split(root: Path, **options) -> dict:
    prefix = dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
    split = dict(data_root=str(root), data_prefix=prefix, pipeline=pipeline, **options)
    return dict(type='CityscapesDataset', **split)


@DATASETS.register_module()
class ManyImages(BaseDataset):
    """Images that are only names, listed backwards."""

    def __init__(self, total: int, **kwargs) -> None:
        self.total = total
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        return [dict(img_path=f'/data/img_{i:05d}.png') for i in reversed(range(self.total))]


def many(total: int, fraction: float) -> NamedSubset:
    return NamedSubset(dict(type='ManyImages', total=total), 'part', fraction)


@pytest.mark.parametrize(
    ('total', 'fraction', 'count'),
    [
        (2975, 1 / 4, 743),  # int(743.75), as the study cut Cityscapes
        (2975, 1.0, 2975),
        (7, 0.5, 3),  # int(3.5)
        (4, 0.25, 1),
        (100, 0.29, 29),  # though 0.29 * 100 is 28.999999999999996 in floating point
        (3, 1 / 3, 1),
    ],
)
def test_count_is_rounded_down(total: int, fraction: float, count: int):
    subset = many(total, fraction)
    assert len(subset) == count
    # The first ones by name, although the dataset lists them backwards.
    found = [subset.get_data_info(i)['img_path'] for i in range(count)]
    assert found == [f'/data/img_{i:05d}.png' for i in range(count)]


@DATASETS.register_module()
class Tensors(Dataset):
    """A plain dataset, as torch has them."""

    def __len__(self) -> int:
        return 2


class NamesOnly(Tensors):
    def get_data_info(self, idx: int) -> dict:
        return dict(name=f'{idx}', city='ulm') if idx else dict(img_path='0.png')


@pytest.mark.parametrize(
    ('read', 'message'),
    [
        (lambda: image_list(Tensors()), 'Tensors does not say which files it reads: derive it from mmseg'),
        (lambda: NamedSubset(dict(type='Tensors'), 'part', 0.5), 'Tensors does not say which files it reads'),
        (
            lambda: image_infos(NamesOnly()),
            r"NamesOnly.get_data_info gives no 'img_path', but \['city', 'name'\]",
        ),
    ],
)
def test_a_dataset_that_does_not_name_its_images(read: Callable[[], Any], message: str):
    with pytest.raises(ValueError, match=message):
        read()


def test_subset_of_cityscapes(tiny_cityscapes: Callable[..., Path]):
    train = train_split(tiny_cityscapes(train=5))
    subset = DATASETS.build(dict(type='NamedSubset', dataset=train, name='most', fraction=0.85))
    assert len(subset) == 4  # int(5 * 0.85) = int(4.25)
    names = [f'tiny_{i:06d}_leftImg8bit.png' for i in range(4)]
    assert image_list(subset) == names
    # As a dataloader's dataset: what the Runner, the visualizer and the metric ask of it.
    subset.full_init()
    for key in ('classes', 'palette'):
        assert subset.metainfo[key] == CityscapesDataset.METAINFO[key]
    for sample, name in zip(subset, names, strict=False):
        assert sample['inputs'].shape == (3, 64, 64)
        assert sample['data_samples'].img_path.endswith(name)
        assert set(sample['data_samples'].gt_sem_seg.data.unique().tolist()) <= {0, 2, 11, 13, 255}


@pytest.mark.slow
@pytest.mark.parametrize('serialize_data', [True, False])
def test_images_are_named_without_their_root(tiny_cityscapes: Callable[..., Path], serialize_data: bool):
    root = tiny_cityscapes(train=5)
    # Another city, before the first.
    for kind in ('leftImg8bit', 'gtFine'):
        shutil.copytree(root / kind / 'val/tiny', root / kind / 'train/aachen')
    found = image_list(NamedSubset(train_split(root, serialize_data=serialize_data), 'part', 0.85))
    # int(8 * 0.85) = int(6.8)
    assert found == [
        *(f'aachen/tiny_{i:06d}_leftImg8bit.png' for i in range(3)),
        *(f'tiny/tiny_{i:06d}_leftImg8bit.png' for i in range(3)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize('roots', [('b', '{here}/a'), ('{here}/b', 'a'), ('b', './a'), ('../{name}/b', 'a')])
def test_relative_beside_absolute_roots(
    tiny_cityscapes: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, roots: tuple[str, str]
):
    tiny_cityscapes(train=1, folder='a')
    here = tiny_cityscapes(train=2, folder='b').parent
    monkeypatch.chdir(here)
    parts = [train_split(root.format(here=here, name=here.name)) for root in roots]
    # In the dataset's order, and the same however the roots are written.
    assert image_list(DATASETS.build(dict(type='ConcatDataset', datasets=parts))) == [
        'b/leftImg8bit/train/tiny/tiny_000000_leftImg8bit.png',
        'b/leftImg8bit/train/tiny/tiny_000001_leftImg8bit.png',
        'a/leftImg8bit/train/tiny/tiny_000000_leftImg8bit.png',
    ]


def test_image_list_of_nothing():
    assert image_list(ManyImages(0, serialize_data=False)) == []


@pytest.mark.parametrize(
    ('fraction', 'message'),
    [
        *((fraction, rf'fraction must be in \(0, 1\], but got {fraction}') for fraction in (0, -0.5, 1.01)),
        (float('nan'), r'fraction must be in \(0, 1\], but got nan'),
        (0.1, r'part: a fraction of 0\.1 of 5 images leaves none'),
    ],
)
def test_fraction_out_of_range(fraction: float, message: str):
    with pytest.raises(ValueError, match=message):
        many(5, fraction)
