"""Batches that training would stop at, found before it begins."""

import contextlib
import math
import socket
from collections.abc import Mapping, Sized
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.dist import all_gather_object
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm
from torch.utils.data import DataLoader

from ..memory import free_shared_memory
from .random_states import kept_random_states


def check_batches(runner: Runner) -> None:
    """Refuse, by ValueError, batches of one image where batch norm cannot take them."""
    branch = _pooling_branch(runner.model)
    alone = _batch_of_one(runner.train_dataloader)
    if branch and alone:
        raise ValueError(
            f'train_dataloader: {alone}, and the batch norm of {branch} cannot learn from one image, of '
            'which it sees one value per channel. Set another train_dataloader.batch_size (2 or more), '
            'train_dataloader.drop_last=True if only the last batch is that small, or '
            "decode_head.norm_cfg=dict(type='GN', num_groups=32)"
        )


def build_loaders(runner: Runner) -> dict[str, DataLoader]:
    """Build the data loaders of a training, in their places, before its loops do, which start the workers."""
    seeds = dict(seed=runner.seed, diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False))
    loaders = {}
    for name in ('train_dataloader', 'val_dataloader'):
        if (config := getattr(runner, f'_{name}')) is not None:
            loaders[name] = runner.build_dataloader(config, **seeds)
            setattr(runner, f'_{name}', loaders[name])
    for hook in runner.hooks:
        if forgetting := getattr(hook, 'forgetting', None):
            loader = runner.build_dataloader(forgetting['dataloader'], **seeds)
            hook.forgetting = {**forgetting, 'dataloader': loader}
            loaders['forgetting.dataloader'] = loader
    return loaders


def check_shared_memory(loaders: Mapping[str, DataLoader]) -> None:
    """Refuse workers whose batches need more shared memory than there is, all ranks of a machine together.

    Before any start: what they share is not free any more. Besides ``train_dataloader``, one is in use. A
    RuntimeError, on every rank, names the machine, what is free, what each loader needs, and the cure.
    """
    needed = {name: _bytes_in_flight(loader) for name, loader in loaders.items()}
    machines: dict[str, list] = {}
    for name, *rank in all_gather_object((socket.gethostname(), free_shared_memory(), needed)):
        machines.setdefault(name, []).append(rank)
    for name, ranks in machines.items():
        free = min((free for free, _ in ranks if free is not None), default=math.inf)
        totals = {loader: sum(sizes[loader] for _, sizes in ranks) for loader in loaders}
        needed = {loader: size for loader, size in totals.items() if size}
        others = [size for loader, size in needed.items() if loader != 'train_dataloader']
        if needed.get('train_dataloader', 0) + max(others, default=0) <= free:
            continue
        parts = ' and '.join(f'{_megabytes(size)} for {loader}' for loader, size in needed.items())
        cure = ' '.join(f'{loader}.num_workers=0 {loader}.persistent_workers=False' for loader in needed)
        processes = f' of its {len(ranks)} processes' if len(ranks) > 1 else ''
        raise RuntimeError(
            f'/dev/shm of {name} has {_megabytes(free)} free, but the workers{processes} share batches of '
            f'{parts}, and would wait for ever. Start the container with more (docker run --shm-size=8g), or '
            f'load without workers (--cfg-options {cure})'
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
    size, images = loader.batch_size, _images(loader)
    if size == 1:
        return 'batch_size is 1'
    if size is None or loader.drop_last or images == math.inf:
        return None
    return f'the last of {images} images in batches of {size} is alone' if images % size == 1 else None


def _images(loader: DataLoader) -> float:
    """How many images an epoch has; neither an InfiniteSampler's nor an iterable dataset's ends."""
    endless = isinstance(loader.sampler, InfiniteSampler) or not isinstance(loader.sampler, Sized)
    return math.inf if endless else len(loader.sampler)


def _bytes_in_flight(loader: DataLoader) -> int:
    """What batches take that the workers have made, and the one in use, by the first sample's size."""
    size = getattr(loader.batch_sampler, 'batch_size', None) or loader.batch_size or 1
    samples = min((loader.num_workers * (loader.prefetch_factor or 2) + 1) * size, _images(loader))
    if not loader.num_workers or not samples:
        return 0
    # What cannot be read is told by the checks of data, with its name.
    with kept_random_states(), contextlib.suppress(Exception):
        return _size(loader.dataset[0]) * samples
    return 0


def _megabytes(size: float) -> str:
    return f'{size / 2**20:.0f} MB'


def _size(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    if hasattr(value, 'all_items'):  # a data sample, and its parts
        return sum(_size(item) for _, item in value.all_items())
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 0
