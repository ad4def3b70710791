"""Batches that are refused before training."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from mmseg_deeplab_study.runs import batches
from mmseg_deeplab_study.runs.batches import build_loaders, check_batches, check_shared_memory

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


def make_runner(head='ours', images=5, batch=4, sampler=DefaultSampler, norm='BN', **options):
    norm_cfg = dict(type=norm, num_groups=2) if norm == 'GN' else dict(type=norm) if norm else None
    config = dict(HEADS[head], in_channels=8, channels=4, num_classes=3, norm_cfg=norm_cfg)
    dataset = Images(images)
    train = DataLoader(dataset, batch, sampler=sampler(dataset), collate_fn=list, **options)
    val = DataLoader(dataset, 1, num_workers=options.get('num_workers', 0))
    model = nn.ModuleDict(dict(decode_head=MODELS.build(config)))
    return SimpleNamespace(model=model, train_dataloader=train, val_dataloader=val, val_loop=1)


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
        *(dict(images=6), dict(drop_last=True), dict(sampler=InfiniteSampler), dict(head='FCNHead')),
        *(dict(norm=norm) for norm in ('GN', '', 'SyncBN')),
    ],
)
def test_batches_that_every_norm_takes(options):
    check_batches(make_runner(**options))


def make_loaders(images: int = 20, batch: int = 2, **options) -> dict[str, DataLoader]:
    runner = make_runner(images=images, batch=batch, **options)
    return dict(train_dataloader=runner.train_dataloader, val_dataloader=runner.val_dataloader)


@pytest.fixture
def free(monkeypatch) -> Callable[..., None]:
    """A function that sets the bytes of shared memory that are free to each rank, of this machine if one."""

    def set_free(*ranks: int | None, hosts: Sequence[str] = ('node', 'node')) -> None:
        def gather(mine: tuple) -> list[tuple]:
            # The others' loaders are as this rank's.
            return [(host, size, mine[2]) for host, size in zip(hosts, ranks, strict=False)]

        monkeypatch.setattr(batches, 'all_gather_object', gather)
        monkeypatch.setattr(batches, 'free_shared_memory', lambda: ranks[0])

    return set_free


@pytest.mark.parametrize(
    ('loaders', 'samples'),
    [
        # 2 workers, 2 batches each, and one in use: 5 of 2 samples to train on, and 5 of 1 to validate.
        (dict(num_workers=2), 15),
        (dict(num_workers=2, prefetch_factor=3), 14 + 5),
        # No more than there are, or as many as are asked for.
        (dict(num_workers=2, images=3), 3 + 3),
        (dict(num_workers=2, images=3, sampler=InfiniteSampler), 10 + 3),
        (dict(), 0),
    ],
)
def test_workers_share_more_than_there_is(free, loaders, samples):
    loaders = make_loaders(**loaders)
    free(samples * 704)
    check_shared_memory(loaders)
    free(None)
    check_shared_memory(loaders)
    if samples:
        free(samples * 704 - 1)
        with pytest.raises(RuntimeError, match='^/dev/shm of node has 0 MB free'):
            check_shared_memory(loaders)


def test_what_shared_memory_lacks_is_said(free):
    free(2**20)
    message = (
        '^/dev/shm of node has 1 MB free, but the workers share batches of 1 MB for train_dataloader and '
        r'0 MB for val_dataloader, and would wait for ever. .*--shm-size=8g.*\(--cfg-options '
        'train_dataloader.num_workers=0 train_dataloader.persistent_workers=False val_dataloader.num'
    )
    with pytest.raises(RuntimeError, match=message):
        check_shared_memory(make_loaders(images=2000, batch=400, num_workers=2))


def test_loaders_beside_the_training_are_used_one_at_a_time(free):
    loaders = make_loaders(num_workers=2)
    free(15 * 704)
    check_shared_memory({**loaders, 'forgetting.dataloader': loaders['val_dataloader']})
    free(20 * 704 - 1)
    with pytest.raises(RuntimeError, match='MB for forgetting.dataloader'):
        check_shared_memory({**loaders, 'forgetting.dataloader': loaders['train_dataloader']})


def test_ranks_of_one_machine_share_its_memory(free):
    loaders = make_loaders(num_workers=2)
    free(30 * 704, 30 * 704)
    check_shared_memory(loaders)
    free(30 * 704, 30 * 704 - 1)
    with pytest.raises(RuntimeError, match='the workers of its 2 processes share batches of'):
        check_shared_memory(loaders)
    free(15 * 704, 15 * 704, hosts=('a', 'b'))
    check_shared_memory(loaders)
    # Every rank says so, also those of the other machine.
    free(15 * 704, 15 * 704 - 1, hosts=('a', 'b'))
    with pytest.raises(RuntimeError, match='^/dev/shm of b has'):
        check_shared_memory(loaders)


def test_an_unreadable_sample_is_left_to_the_checks_of_data(free):
    loaders = make_loaders(num_workers=2)
    loaders['val_dataloader'].dataset.__class__ = type('Broken', (Images,), {'__getitem__': None})
    free(10 * 704)
    check_shared_memory(loaders)


def test_loaders_are_built_once_and_in_their_places():
    train = make_loaders()['train_dataloader']
    build = Mock(return_value=train)
    runner = SimpleNamespace(
        _train_dataloader=dict(), _val_dataloader=None, seed=3, _randomness_cfg={}, build_dataloader=build
    )
    forgetting = dict(dataloader={}, interval=2)
    runner.hooks = [SimpleNamespace(forgetting=None), SimpleNamespace(forgetting=forgetting)]
    assert build_loaders(runner) == {'train_dataloader': train, 'forgetting.dataloader': train}
    assert runner._train_dataloader is train and runner._val_dataloader is None
    assert runner.hooks[1].forgetting == dict(dataloader=train, interval=2)
    assert [call.kwargs for call in build.call_args_list] == [dict(seed=3, diff_rank_seed=False)] * 2


def test_an_iterable_dataset_has_no_length(free):
    class Stream(IterableDataset):
        def __iter__(self):
            yield torch.zeros(3, 64, 64)

    free(0)
    check_shared_memory({'train_dataloader': DataLoader(Stream(), batch_size=2, num_workers=2)})
