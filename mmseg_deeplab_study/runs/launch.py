"""From a command line to a checked config: what tools/train.py and tools/test.py share."""

import argparse
import atexit
import os
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device

from ..checkpoints.safe_loading import load_plain
from ..log import warn
from .config import read_config
from .main_process import from_main_process
from .parts import check_loops, check_values
from .work_dir import claim_work_dir, find_checkpoint, refuse_recorded

# The variable that each launcher sets before anything of MMEngine's runs, and what starts it.
_LAUNCHERS = {
    'pytorch': ('RANK', 'torchrun or tools/dist_train.sh'),
    'slurm': ('SLURM_PROCID', 'srun or tools/slurm_train.sh'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'mpirun'),
}


def load_config(args: argparse.Namespace) -> Config:
    """Read the config that the flags name, with overrides; raises as ``read_config`` and the checks.

    ValueError, too, if the launcher that is named has not started this process.
    """
    rank, starter = _LAUNCHERS.get(args.launcher, (None, None))
    if rank and rank not in os.environ:
        raise ValueError(
            f'--launcher {args.launcher}: {rank} is not set, so no launcher has started this process. '
            f'Start it by {starter}, or leave the flag out for one process'
        )
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    check_loops(cfg)
    check_values(cfg)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    return cfg


def prepare_work_dir(cfg: Config, resume: bool, overwrite: bool, seed: int | None = None) -> Path | None:
    """Take the work_dir for this run, and with ``resume`` find the checkpoint to go on from, its seed too.

    RuntimeError if another run has it, OSError if it cannot be written to, FileExistsError if it holds a
    record, ValueError if no checkpoint loads, or one of another ``seed``.
    """
    if torch.distributed.is_initialized():
        from_main_process(lambda: claim_work_dir(cfg.work_dir))
    elif int(os.environ.get(_LAUNCHERS.get(cfg.get('launcher'), ('',))[0], 0)) == 0:
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
            warn(f'resume: nothing to resume from in {cfg.work_dir}, so the run starts from zero')
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
    """End this rank, with ``status``, after its exit handlers; a single process goes on.

    Gloo's threads outlive ``destroy_process_group``, and one may still have to free the last broadcast's
    tensors, for which it needs the GIL. CPython ends a thread that asks for it during finalisation, and torch
    2.14 aborts at that; so the interpreter is not taken apart.
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
    """Switch on mixed precision, bfloat16 on the CPU; ValueError if it cannot be."""
    kind = (cfg.get('optim_wrapper') or {'type': None}).get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(f'--amp needs optim_wrapper.type OptimWrapper or AmpOptimWrapper, but got {kind!r}')
    if get_device() == 'cpu':
        # MMEngine's wrapper needs an accelerator.
        cfg.optim_wrapper.type = 'BFloat16OptimWrapper'
        for option in ('loss_scale', 'dtype', 'use_fsdp'):
            cfg.optim_wrapper.pop(option, None)
    else:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
