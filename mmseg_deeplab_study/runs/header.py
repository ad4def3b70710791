"""What a record says of its run: label spaces, recipe, digests, versions, hardware."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

from ..compat import distribution
from ..datasets.subsets import image_list
from ..digests import data_digest, file_digest, names_digest
from ..evaluation.metrics.adaptation_metric import AdaptationMetric
from ..hardware import describe_hardware
from ..log import warn
from ..models.segmentors import bare_model
from ..version import __version__
from .history import FILE_NAME, HistoryWriter, SubsetName, flat_recipe, read_history
from .random_states import kept_random_states
from .resuming import is_resumed
from .work_dir import clear_work_dir

_NAMED = 8  # changes that a warning lists
# By what is imported: either OpenMMLab's or the forks'.
PACKAGES = {'mmsegmentation': 'mmseg', 'mmengine': 'mmengine', 'mmpretrain': 'mmpretrain'}
# What changes between a run and its repetition, here or on another machine, without changing the recipe.
# Seed, source checkpoint and file lists have keys of their own in the header.
_NOT_THE_RECIPE = (
    'work_dir',
    'resume',
    'launcher',
    'model_wrapper_cfg',
    'log_level',
    'load_from',
    'randomness',
    'data_root',
)


def recipe(cfg: Config) -> dict[str, Any]:
    """The resolved config as plain data, less paths and the seed."""

    def less(node: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in node.items() if key not in _NOT_THE_RECIPE}

    return json.loads(json.dumps(cfg.to_dict(), sort_keys=True, default=str), object_hook=less)


def config_digest(cfg: Config) -> str:
    """SHA-256 of the recipe: runs of one recipe have one digest."""
    return data_digest(recipe(cfg))


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Name, number of images and digest of the file list of a dataset."""
    names = image_list(dataset)
    return {'subset': subset_name(dataset), 'images': len(names), 'digest': names_digest(names)}


def subset_name(dataset: Dataset) -> str:
    """The name of a dataset's part, as ``NamedSubset`` has; ``'full'`` without one."""
    return getattr(dataset, 'name', SubsetName.FULL)


def describe_checkpoint(load_from: str | None) -> dict[str, Any] | None:
    """Where a checkpoint came from and the SHA-256 of its file, null where there is no file to look at."""
    if load_from is None:
        return None
    path = Path(str(load_from).partition('://')[2] or str(load_from)).expanduser()
    if str(load_from).startswith(('http://', 'https://')):
        # Where MMEngine's loader puts what it has fetched.
        path = Path(torch.hub.get_dir()) / 'checkpoints' / path.name
    return {'name': path.name, 'digest': file_digest(path) if path.is_file() else None}


def describe_model(model: nn.Module, image: Sequence[int], crop: Sequence[int]) -> dict[str, Any]:
    """Parameters and multiply-adds of an MMSeg segmentor as it is used, without auxiliary heads.

    ``image`` and ``crop`` are height and width of a validation image and of a training image.
    """
    return {
        'parameters': sum(p.numel() for name, p in model.named_parameters() if 'auxiliary_head' not in name),
        **_describe_pass(model, image),
        'training': _describe_pass(model, crop),
    }


def _describe_pass(model: nn.Module, size: Sequence[int]) -> dict[str, Any]:
    """Multiply-adds of one image ``(1, 3, H, W)`` up to the logits, counted by torch on shapes alone.

    None, and a warning says why, where a part of the model cannot run so.
    """
    counter = FlopCounterMode(display=False)
    try:
        shapes = deepcopy(model).to('meta').eval()
        with counter, torch.no_grad():
            shapes(torch.empty(1, 3, *size, device='meta'), mode='tensor')
        # Two operations to a multiply-add.
        multiply_adds = counter.get_total_flops() // 2
    except Exception as error:
        # Whatever a model may do with numbers that it does not have: no reason not to train it.
        warn(f'multiply-adds are not counted: {error!r}')
        multiply_adds = None
    return {'multiply_adds': multiply_adds, 'input': list(size)}


def run_header(
    runner: Runner, metric: AdaptationMetric, val: Dataset, train: Dataset, probe: list[str] | None
) -> dict[str, Any]:
    """The header of a run's record; ``probe`` lists the images of its probe."""
    # As the validation pipeline gives it, which may draw at random.
    with kept_random_states():
        sizes = [dataset[0]['inputs'].shape[1:] for dataset in (val, train)]
    packages = [distribution(name, module) for name, module in PACKAGES.items()] + ['torch', 'numpy']
    header = {
        'source_classes': metric.source,
        'target_classes': metric.classes,
        'seen_classes': metric.seen,
        'matches': {name: match._asdict() for name, match in metric.matches.items()},
        'experiment': runner.experiment_name,
        'seed': runner.seed,
        'load_from': runner.cfg.get('load_from'),
        'source_checkpoint': describe_checkpoint(runner.cfg.get('load_from')),
        'max_iters': runner.max_iters,
        'world_size': get_world_size(),
        'config_digest': config_digest(runner.cfg),
        'config': recipe(runner.cfg),
        'model': describe_model(bare_model(runner.model), *sizes),
        'hardware': describe_hardware(next(runner.model.parameters()).device),
        'validation': describe_dataset(val),
        'train': describe_dataset(train),
        'versions': {'mmseg_deeplab_study': __version__, **{name: version(name) for name in packages}},
    }
    if probe is not None:
        header['probe'] = {'images': len(probe), 'digest': names_digest(probe), 'names': probe}
    return header


def check_continuation(runner: Runner, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn where a record's recipe has changed; ValueError if label spaces or images have."""
    now = json.loads(json.dumps(now))
    for key in ('source_classes', 'target_classes', 'seen_classes', 'validation', 'train', 'probe'):
        if begun.get(key) != now.get(key):
            if key == 'seen_classes' and 'matches' not in begun:
                raise ValueError(
                    f'{FILE_NAME} was begun by an earlier version, which called classes seen by their names: '
                    f'{begun.get(key)}, now {now.get(key)}. Use that version, or give another --work-dir'
                )
            raise ValueError(
                f'{FILE_NAME} was begun with another {key} than this config gives: {begun.get(key)}, now '
                f'{now.get(key)}. One curve cannot hold both: resume with the config of the start, or give '
                'another --work-dir'
            )
    then, has = (dict(flat_recipe(config)) for config in (begun.get('config', now['config']), now['config']))
    changes = [
        f'{key} {then.get(key, "missing")}, now {has.get(key, "missing")}'
        for key in {**then, **has}
        if then.get(key) != has.get(key)
    ]
    if begun.get('world_size') != now['world_size']:
        changes.append(f'world_size {begun.get("world_size")}, now {now["world_size"]}')
    if changes:
        runner.logger.warning(
            f'{FILE_NAME} was begun with other settings, which its header keeps: {list_changes(changes)}'
        )


def list_changes(changes: Sequence[str]) -> str:
    """The first few of them, each once, and how many there are besides."""
    changes = list(dict.fromkeys(changes))
    more = f' and {len(changes) - _NAMED} more' if len(changes) > _NAMED else ''
    return f'{"; ".join(changes[:_NAMED])}{more}'


def open_record(
    writer: HistoryWriter,
    runner: Runner,
    metric: AdaptationMetric,
    probe: Sequence[int] | None,
    overwrite: bool,
) -> list[dict[str, Any]]:
    """Begin the record or go on with it, as ``check_continuation`` lets it; returns its rows.

    ``overwrite`` deletes what the folder holds.
    """
    val, train = runner.val_dataloader.dataset, runner.train_dataloader.dataset
    names = None if probe is None else [image_list(val)[i] for i in probe]
    header = run_header(runner, metric, val, train, names)
    resumed = is_resumed(runner)
    if resumed and writer.path.exists():
        # Before anything is cut.
        check_continuation(runner, read_history(writer.path).header, header)
        return writer.resume(runner.iter, subset_name(val) if probe is None else SubsetName.PROBE).rows
    if overwrite and not resumed:
        clear_work_dir(runner.work_dir)
    if runner.iter > 0:
        header['begun_at'] = runner.iter
        runner.logger.warning(
            f'{writer.path} is missing: a record is begun at iteration {runner.iter}, without what was before'
        )
    writer.start(header)
    return []
