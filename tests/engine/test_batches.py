"""Batches that are refused before training."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn
from torch.utils.data import DataLoader

from mmseg_deeplab_study.engine import batches
from mmseg_deeplab_study.engine.batches import check_batches

HEADS = {
    'ours': dict(type='DeepLabV3Head', dilations=(1, 2)),
    'ASPPHead': dict(type='ASPPHead', dilations=(1, 2)),
    'PSPHead': dict(type='PSPHead', pool_scales=(1, 2)),
    'FCNHead': dict(type='FCNHead'),
}


class Images:
    """Samples as a pipeline packs them: 3 x 8 x 8 in uint8 and labels in int64, 704 bytes."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> dict:
        labels = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 8, 8, dtype=torch.int64)))
        return dict(inputs=torch.zeros(3, 8, 8, dtype=torch.uint8), data_samples=labels)


def make_runner(
    head: str = 'ours',
    images: int = 5,
    batch: int = 4,
    sampler: type = DefaultSampler,
    norm: str = 'BN',
    **options,
) -> SimpleNamespace:
    norm_cfg = dict(type=norm, num_groups=2) if norm == 'GN' else dict(type=norm) if norm else None
    config = {**HEADS[head], 'norm_cfg': norm_cfg}
    head = MODELS.build(dict(in_channels=8, channels=4, num_classes=3, **config))
    dataset = Images(images)
    train = DataLoader(dataset, batch, sampler=sampler(dataset), collate_fn=list, **options)
    val = DataLoader(dataset, 1, num_workers=options.get('num_workers', 0))
    return SimpleNamespace(
        model=nn.ModuleDict(dict(decode_head=head)), train_dataloader=train, val_dataloader=val, val_loop=1
    )


@pytest.mark.parametrize('head', ['ours', 'ASPPHead', 'PSPHead'])
@pytest.mark.parametrize(
    ('images', 'batch', 'said'),
    [(5, 4, 'the last of 5 images in batches of 4 is alone'), (8, 1, 'batch_size is 1')],
)
def test_one_image_before_a_pooling_branch(head, images, batch, said):
    message = rf'train_dataloader: {said}, and the batch norm of decode_head\.\S+ cannot .*drop_last=True'
    with pytest.raises(ValueError, match=message):
        check_batches(make_runner(head, images, batch))


@pytest.mark.parametrize(
    'options',
    [
        dict(images=8),
        dict(images=6),
        dict(drop_last=True),
        dict(sampler=InfiniteSampler),
        dict(head='FCNHead'),
        dict(norm='GN'),
        dict(norm=''),
        dict(norm='SyncBN'),
    ],
)
def test_batches_that_every_norm_takes(options):
    check_batches(make_runner(**options))


def test_a_batch_of_one_is_what_torch_stops_at():
    model = make_runner().model.train()
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        model['decode_head']([torch.zeros(1, 8, 9, 9)])


def test_workers_share_more_than_there_is(monkeypatch):
    """2 workers, 2 batches each: 4 batches of 2 x 704 bytes to train on, and 4 of 704 to validate."""
    runner = make_runner(images=20, batch=2, num_workers=2)
    monkeypatch.setattr(batches, 'free_shared_memory', lambda: 12 * 704)
    check_batches(runner)
    monkeypatch.setattr(batches, 'free_shared_memory', lambda: 12 * 704 - 1)
    message = (
        '^/dev/shm has 0 MB free, but the workers share batches of 0 MB for train_dataloader and 0 MB for '
        'val_dataloader, and would wait for ever. .*--shm-size=8g.*train_dataloader.num_workers=0 and train'
    )
    with pytest.raises(RuntimeError, match=message):
        check_batches(runner)
    monkeypatch.setattr(batches, 'free_shared_memory', lambda: None)
    check_batches(runner)
    monkeypatch.setattr(batches, 'free_shared_memory', lambda: 0)
    check_batches(make_runner(images=20, batch=2))
