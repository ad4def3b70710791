"""Flags that several tools share. Imports torch or MMEngine only for a flag that needs it.

Found beside the tool, so not with `python -P`.
"""

import argparse
from typing import Any


class DictAction(argparse.Action):
    """MMEngine's action of this name, imported only where the flag is given."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        from mmengine.config import DictAction as MMEngineDictAction

        MMEngineDictAction(self.option_strings, self.dest, nargs=self.nargs)(parser, *args)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every MMSegmentation tool has."""
    add_config_arguments(parser)
    parser.add_argument(
        '--work-dir',
        help='the dir to save logs and models (default: work_dirs/<config name>)',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher (default: none)',
    )
    # torchrun passes --local-rank, its predecessor --local_rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the config, and the flag that overrides its settings."""
    parser.add_argument('config', help='config file path')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs: load_from=PATH '
        'train_dataloader.batch_size=2 key="[a,b]"; no white space inside a pair',
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add what the model runs on, None if it is not given; ``check_device`` looks at it after parsing."""
    parser.add_argument('--device', help='such as cpu or cuda:0 (default: a GPU if there is one)')


def check_device(parser: argparse.ArgumentParser, device: str | None) -> None:
    """End with a usage error where a device that was given cannot be used."""
    if device is None:
        return
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        parser.error(f'argument --device: {device!r} cannot be used ({reason})')


def add_study_arguments(
    parser: argparse.ArgumentParser, jobs: str = 'as many as there are GPUs for, on the CPU one'
) -> None:
    """Add the flags that say where and how a study runs; ``jobs`` says how many at a time by default."""
    parser.add_argument(
        '--jobs',
        type=int,
        help=f'runs at a time (default: {jobs}); with --cluster slurm the resources of the study say so',
    )
    parser.add_argument(
        '--cluster',
        choices=['local', 'slurm'],
        help='hand the runs to submitit: slurm as job arrays, local as jobs on this machine that outlive '
        'this command (default: child processes, which end with it)',
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='check everything and print what would run, with --cluster slurm also the scripts; start '
        'nothing',
    )


def check_study_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with a usage error where flags do not fit together."""
    if args.jobs is not None and args.jobs < 1:
        parser.error(f'--jobs must be at least 1, but got {args.jobs}')
    if args.jobs is not None and args.cluster == 'slurm':
        parser.error('--jobs is not for --cluster slurm; set resources.array_parallelism in the study')
