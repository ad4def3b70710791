"""From a command line to a checked config: what tools/train.py and tools/test.py share."""

import argparse
import atexit
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmseg.registry import METRICS, MODELS

from ..checkpoints.safe_loading import load_plain
from ..evaluation.adaptation_metric import AdaptationMetric
from ..evaluation.boundary_metric import BoundaryMetric
from ..evaluation.history import FILE_NAME
from ..models.crf_segmentors import DenseCRFMixin, dense_crf_segmentor
from .dense_crf import UNREFINED, UNREFINED_FIELD
from .main_process import from_main_process
from .options import merge_options
from .parts import check_loops, check_values, read_file
from .work_dir import claim_work_dir, find_checkpoint, refuse_recorded

# Set by each launcher before anything of MMEngine's runs.
_RANKS = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}

_STARTERS = {
    'pytorch': 'torchrun or tools/dist_train.sh',
    'slurm': 'srun or tools/slurm_train.sh',
    'mpi': 'mpirun',
}


def read_config(path: str, options: dict | None = None) -> Config:
    """Read a config, with overrides merged in.

    Raises:
        FileNotFoundError, ValueError: as ``read_file``; an override names what is not read, or does not fit.
    """
    cfg = read_file(path)
    if options is not None:
        merge_options(cfg, options, Path(path).name)
    return cfg


def load_config(args: argparse.Namespace) -> Config:
    """Read the config that the flags name, with their overrides merged in.

    Raises:
        FileNotFoundError, ValueError: as ``read_config``, ``check_loops`` and ``check_values``; or the
            launcher that the flags name has not started this process.
    """
    rank = _RANKS.get(args.launcher)
    if rank and rank not in os.environ:
        raise ValueError(
            f'--launcher {args.launcher}: {rank} is not set, so no launcher has started this process. '
            f'Start it by {_STARTERS[args.launcher]}, or leave the flag out for one process'
        )
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    check_loops(cfg)
    check_values(cfg)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    return cfg


def prepare_work_dir(cfg: Config, resume: bool, overwrite: bool, seed: int | None = None) -> Path | None:
    """Take the work_dir for this run, and with ``resume`` find the checkpoint to go on from.

    ``resume=True`` in a config without ``load_from`` is the same. The config gets the checkpoint's seed;
    ``seed`` is that of the command line, if any.

    Raises:
        RuntimeError: another run is going on in it.
        OSError: it cannot be written to.
        FileExistsError: it holds a record of adaptation, and the run would start from zero.
        ValueError: none of its checkpoints can be resumed from, or it was trained with another ``seed``.
    """
    if torch.distributed.is_initialized():
        from_main_process(lambda: claim_work_dir(cfg.work_dir))
    elif int(os.environ.get(_RANKS.get(cfg.get('launcher'), ''), 0)) == 0:
        # Of ranks that MMEngine joins later, and whose launcher ends them all.
        claim_work_dir(cfg.work_dir)
    checkpoint = None
    if cfg.get('resume') and not cfg.get('load_from'):
        # MMEngine would take what last_checkpoint names, whatever and wherever that is.
        resume, cfg.resume = True, False
    if resume:
        hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
        try:
            checkpoint = find_checkpoint(cfg.work_dir, hook.get('out_dir'))
        except ValueError:
            if not overwrite:
                raise
    if checkpoint is None:
        if not overwrite and not cfg.get('resume'):
            refuse_recorded(cfg.work_dir)
        if resume:
            print_log(
                f'resume: nothing to resume from in {cfg.work_dir}, so the run starts from zero',
                logger='current',
                level=logging.WARNING,
            )
        return None
    # MMEngine takes the checkpoint's seed too, but only after it has shuffled the data by the config's.
    begun_with = load_plain(checkpoint, mmap=True)['meta'].get('seed')
    if seed not in (None, begun_with):
        raise ValueError(
            f'--seed {seed}: the run in {cfg.work_dir} was begun with seed {begun_with}; leave the flag out, '
            'or give another --work-dir'
        )
    cfg.merge_from_dict({'randomness.seed': begun_with})
    return checkpoint


def enable_ranks(cfg: Config) -> None:
    """Prepare for several processes: batch norm over all of them on an accelerator, without one gloo.

    ``sync_bn=None`` in the config leaves each its own batch norm. On the CPU torch has no synchronised one,
    and MMEngine 0.10.7 sets a CUDA device in every process of a launcher, and wraps the model for it.
    """
    if cfg.get('launcher') != 'none' and get_device() != 'cpu':
        cfg.setdefault('sync_bn', 'torch')
    if cfg.get('launcher') != 'pytorch' or get_device() != 'cpu':
        return
    torch.distributed.init_process_group('gloo')
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    wrapper['find_unused_parameters'] = cfg.get('find_unused_parameters', False)
    cfg.setdefault('model_wrapper_cfg', wrapper)


def leave_ranks(status: int = 0) -> None:
    """End a process of several, with ``status``, after its exit handlers; a single process goes on.

    The interpreter is not taken apart. Gloo's threads outlive ``destroy_process_group``, as the model's
    wrapper holds the group, and one may still have to free the last broadcast's tensors, for which it needs
    the GIL. CPython ends a thread that asks for it during finalisation, and torch 2.14 aborts at that.
    """
    if not torch.distributed.is_initialized():
        return
    if status == 0:
        # After an error other ranks may wait for this one, and this would wait for them.
        torch.distributed.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def enable_amp(cfg: Config) -> None:
    """Switch the optimizer wrapper to automatic mixed precision: bfloat16 on the CPU, elsewhere MMEngine's.

    Raises:
        ValueError: the config has an optimizer wrapper that AMP cannot take over.
    """
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(f'--amp needs optim_wrapper.type OptimWrapper or AmpOptimWrapper, but got {kind!r}')
    if get_device() == 'cpu':
        # MMEngine's wrapper wants an accelerator.
        cfg.optim_wrapper.type = 'BFloat16OptimWrapper'
        for option in ('loss_scale', 'dtype', 'use_fsdp'):
            cfg.optim_wrapper.pop(option, None)
    else:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def refining_model(cfg: Config) -> None:
    """Have the config's model refine its predictions by a dense CRF, ``test_cfg.crf``, empty if not given.

    Raises:
        ValueError: the model's class is not registered.
    """
    model = cfg.model
    if model.get('test_cfg') is None:
        model.test_cfg = dict()
    if model.test_cfg.get('crf') is None:
        model.test_cfg.crf = dict()
    known = MODELS.get(model.type) if isinstance(model.type, str) else model.type
    if known is None:
        raise ValueError(f'model.type={model.type!r} is not registered; does the config want custom_imports?')
    if known is not dense_crf_segmentor and not issubclass(known, DenseCRFMixin):
        model.segmentor, model.type = model.type, 'DenseCRFSegmentor'


def metric_config(evaluators: dict | Sequence[dict] | None, kind: type[BaseMetric]) -> dict[str, Any]:
    """The config of a metric of a class among those of an evaluator, or one of its default arguments."""
    for config in _as_list(evaluators):
        name = config['type']
        if issubclass(METRICS.get(name) if isinstance(name, str) else name, kind):
            return dict(config)
    return dict(type=kind.__name__)


def _as_list(evaluators: dict | Sequence[dict] | None) -> list[dict]:
    return list(evaluators) if isinstance(evaluators, list | tuple) else [evaluators] if evaluators else []


def enable_dense_crf(cfg: Config) -> None:
    """Test with dense CRF and without, in one pass, and put both into the record beside the checkpoint.

    Where nothing but files of predictions is asked for, there are no scores.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    refining_model(cfg)
    evaluators = _as_list(cfg.test_evaluator)
    if evaluators and all(config.get('format_only') for config in evaluators):
        return
    # What is asked for while training shall be the same here.
    boundary = metric_config([*evaluators, *_as_list(cfg.get('val_evaluator'))], BoundaryMetric)
    if boundary not in evaluators:
        evaluators.append(boundary)
    for config in (metric_config(evaluators, AdaptationMetric), boundary):
        evaluators.append({**config, 'predictions': UNREFINED_FIELD, 'prefix': UNREFINED})
    cfg.test_evaluator = evaluators
    if (folder := Path(cfg.load_from).parent).joinpath(FILE_NAME).is_file():
        hook = dict(type='DenseCRFRecordHook', folder=str(folder))
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
