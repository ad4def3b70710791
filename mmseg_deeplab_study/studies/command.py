"""The command line of a study, for tools/study.py and tools/demo.py."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Mapping

from rich.console import Console

from ..engine.work_dir import claim_work_dir, release_work_dir
from ..hub import TOOLS
from .execute import command
from .local import LocalPool
from .plan import Run, Study
from .progress import describe, follow, make_table
from .schedule import Pool, carry_out, unfinished
from .state import LOCK, LOG, RunState, look

LAST_LINES = 12


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where and how a study runs."""
    parser.add_argument(
        '--jobs',
        type=int,
        help='runs at a time (default: as many as there are GPUs for, on the CPU one); with --cluster slurm '
        'the resources of the study say so',
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
        help='check everything and print what would run, with --cluster slurm also the scripts; start and '
        'write nothing',
    )


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with a usage error where flags do not fit together."""
    if args.jobs is not None and args.jobs < 1:
        parser.error(f'--jobs must be at least 1, but got {args.jobs}')
    if args.jobs is not None and args.cluster == 'slurm':
        parser.error('--jobs is not for --cluster slurm; set resources.array_parallelism in the study')


def run_study(study: Study, args: argparse.Namespace, console: Console) -> dict[str, RunState]:
    """Carry out what is left of a study; returns the states of all runs at the end.

    Raises:
        RuntimeError: another process is carrying out this study.
        ValueError: a run's folder holds a run of another recipe.
    """
    runs = unfinished(study)
    claim_work_dir(study.folder, LOCK)
    try:
        pool = make_pool(study, args)
        if args.cluster:
            # Jobs of an earlier call.
            runs = [run for run in runs if pool.status(run) is None]
        console.print(
            f'Study {study.name}: {len(study.runs)} runs, {len(study.runs) - len(runs)} done or going on, '
            f'in {study.folder}'
        )
        if args.cluster == 'slurm':
            pool.submit(runs)
            runs = []
        try:
            return follow(carry_out(study, pool, runs), console, study.name)
        finally:
            pool.close()
    finally:
        release_work_dir(study.folder, LOCK)


def make_pool(study: Study, args: argparse.Namespace) -> Pool:
    """Where the runs are carried out, as the flags say."""
    if args.cluster is None:
        return LocalPool(args.jobs, study.resources.get('gpus_per_node') or 0)
    from .cluster import LocalCluster, SlurmCluster

    return SlurmCluster(study) if args.cluster == 'slurm' else LocalCluster(study, args.jobs)


def show_plan(study: Study, args: argparse.Namespace, console: Console) -> None:
    """Print what ``run_study`` would do.

    Raises:
        ValueError: as ``run_study``.
    """
    runs = unfinished(study)
    console.print(make_table({run.name: look(run) for run in study.runs}, f'{study.name}, in {study.folder}'))
    for run in runs:
        console.print(f'\n{run.name}: {run.config}')
        for key, value in run.options.items():
            console.print(f'    {key} = {value!r}')
        if run.source:
            console.print(f'    load_from = {str(run.source.checkpoint)!r}')
        console.print(f'    randomness.seed = {run.seed}')
        console.print(f'    {shlex.join(command(run))}')
    if args.cluster == 'slurm' and runs:
        for script in make_pool(study, args).scripts(runs):
            console.print(f'\n--- sbatch script ---\n{script}')


def report_failures(study: Study, states: Mapping[str, RunState], console: Console) -> list[Run]:
    """Say which runs have not ended well, and how their logs end; returns those that have."""
    for run in study.runs:
        state, log = states[run.name], run.folder / LOG
        if state.status == 'done':
            continue
        console.print(f'\n{run.name}: {describe(state)}')
        if state.status == 'blocked':
            console.print(f'    its source {run.source.name} has failed')
        elif log.is_file():
            lines = log.read_text(errors='replace').splitlines()[-LAST_LINES:]
            console.print('\n'.join([f'the end of {log}:', *lines]))
        else:
            console.print(f'    no {LOG} in {run.folder}: see the outputs in {study.folder / "jobs"}, if any')
    return [run for run in study.adaptations if states[run.name].status == 'done']


def analyse_and_report(study: Study, runs: list[Run], console: Console) -> int:
    """Call tools/analyze.py and tools/report.py over runs; returns an exit code."""
    folders = [str(run.folder) for run in runs]
    calls = [
        ['analyze.py', *folders, '-o', str(study.folder)],
        ['report.py', *folders, '-o', str(study.folder / 'report.html')],
    ]
    for script, *arguments in calls:
        done = subprocess.run([sys.executable, str(TOOLS / script), *arguments], check=False)
        if done.returncode:
            console.print(f'tools/{script} failed with exit code {done.returncode}')
            return 1
    console.print(f'Report: {study.folder / "report.html"}')
    return 0
