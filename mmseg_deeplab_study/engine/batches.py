"""Batches that training would stop at, found before it begins."""

from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm
from torch.utils.data import DataLoader

from ..memory import free_shared_memory
from .random_states import kept_random_states


def check_batches(runner: Runner) -> None:
    """Refuse batches of one image where batch norm cannot take them, and more than workers can share.

    Raises:
        ValueError: a batch of one image would reach a pooling branch's batch norm.
        RuntimeError: the workers' batches need more shared memory than there is.
    """
    branch = _pooling_branch(runner.model)
    alone = _batch_of_one(runner.train_dataloader)
    if branch and alone:
        raise ValueError(
            f'train_dataloader: {alone}, and the batch norm of {branch} cannot learn from one image, of '
            'which it sees one value per channel. Set another train_dataloader.batch_size (2 or more), '
            'train_dataloader.drop_last=True if only the last batch is that small, or '
            "decode_head.norm_cfg=dict(type='GN', num_groups=32)"
        )
    loaders = {'train_dataloader': runner.train_dataloader}
    if runner.val_loop is not None:
        loaders['val_dataloader'] = runner.val_dataloader
    needed = {
        name: _bytes_in_flight(loader)
        for name, loader in loaders.items()
        if loader.num_workers and len(loader.dataset)
    }
    free = free_shared_memory()
    if free is not None and sum(needed.values()) > free:
        parts = ' and '.join(f'{size / 2**20:.0f} MB for {name}' for name, size in needed.items())
        name = max(needed, key=needed.get)
        raise RuntimeError(
            f'/dev/shm has {free / 2**20:.0f} MB free, but the workers share batches of {parts}, and would '
            'wait for ever. Start the container with more (docker run --shm-size=8g), or set '
            f'{name}.num_workers=0 and {name}.persistent_workers=False'
        )


def _pooling_branch(model: nn.Module) -> str | None:
    """The name of a part that pools to one pixel and then normalises over the batch, if there is one."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Sequential) and len(module) and isinstance(module[0], nn.AdaptiveAvgPool2d):
            pools = module[0].output_size in (1, (1, 1))
            norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
            # Synchronised, it sees the images of all ranks.
            if pools and any(not isinstance(norm, SyncBatchNorm) for norm in norms):
                return name
    return None


def _batch_of_one(loader: DataLoader) -> str | None:
    """How a data loader comes to a batch of one image, if it does."""
    size = loader.batch_size
    if size == 1:
        return 'batch_size is 1'
    if size is None or loader.drop_last or isinstance(loader.sampler, InfiniteSampler):
        return None
    images = len(loader.sampler)
    return f'the last of {images} images in batches of {size} is alone' if images % size == 1 else None


def _bytes_in_flight(loader: DataLoader) -> int:
    """What the workers' batches take that are made and not yet asked for, by the first sample's size."""
    with kept_random_states():
        sample = loader.dataset[0]
    batches = loader.num_workers * (loader.prefetch_factor or 2)
    return _size(sample) * min((loader.batch_size or 1) * batches, len(loader.dataset))


def _size(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    if hasattr(value, 'all_items'):  # a data sample, and its parts
        return sum(_size(item) for _, item in value.all_items())
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 0
