"""The command line of a study, for tools/study.py and tools/demo.py."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping

from rich.console import Console

from ..engine.work_dir import claim_work_dir, release_work_dir
from ..hub import TOOLS
from .execute import command, interrupts_later
from .local import LocalPool
from .plan import Run, Study, check_study
from .progress import describe, follow, make_table
from .schedule import Pool, carry_out, unfinished
from .state import JOB, LOCK, LOG, RunState, is_alive, look, read_job

LAST_LINES = 12


def carry_out_study(
    make_study: Callable[[], Study],
    conclude: Callable[[Study, list[Run]], int],
    args: argparse.Namespace,
    console: Console,
) -> int:
    """Make a study, check it, carry it out, and ``conclude`` over the adaptations that have ended well.

    Returns:
        The exit code: that of ``conclude``, or 1 for a run that has not ended well.

    Raises:
        OSError, ValueError, RuntimeError, ImportError: the study cannot be carried out.
        KeyboardInterrupt: by Ctrl-C; says what the next call does.
    """
    try:
        study = make_study()
        check_study(study)
        if args.dry_run:
            show_plan(study, args, console)
            return 0
        states = run_study(study, args, console)
    except KeyboardInterrupt:
        raise KeyboardInterrupt('the same command resumes the study') from None
    done = report_failures(study, states, console)
    if not done:
        console.print('No adaptation has ended: no report')
        return 1
    return conclude(study, done) or int(any(state.status != 'done' for state in states.values()))


def run_study(study: Study, args: argparse.Namespace, console: Console) -> dict[str, RunState]:
    """Carry out what is left of a study; returns the states of all runs at the end.

    Raises:
        RuntimeError: another process is carrying out this study; also as ``to_start``.
        ValueError: a run's folder holds a run of another recipe, or there are fewer GPUs than a run takes.
    """
    claim_work_dir(study.folder, LOCK)
    try:
        pool = make_pool(study, args)
        runs = to_start(study, pool, args.cluster)
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
            # An impatient second Ctrl-C would cut checkpoints short.
            with interrupts_later():
                pool.close()
    finally:
        release_work_dir(study.folder, LOCK)


def to_start(study: Study, pool: Pool, cluster: str | None) -> list[Run]:
    """The runs that have not ended well and are no job that is going on.

    Raises:
        RuntimeError: one may still be a job of another cluster.
        ValueError: as ``unfinished``.
    """
    runs = []
    for run in unfinished(study):
        if look(run).status != 'failed':
            job = read_job(run)
            # One of this machine's is seen to have ended; SLURM may not be asked from here.
            if job and job['cluster'] != cluster and (job['cluster'] == 'slurm' or is_alive(run)):
                raise RuntimeError(
                    f'run {run.name}: was handed on with --cluster {job["cluster"]} as job {job["id"]}; call '
                    f'the study with that, or end the job and remove {run.folder / JOB}'
                )
            if pool.status(run):
                continue
        runs.append(run)
    return runs


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
    pool = make_pool(study, args)
    runs = to_start(study, pool, args.cluster)
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
        if not study.resources:
            console.print("\nThe study has no resources: its jobs get the cluster's defaults, and a day each")
        for script in pool.scripts(runs):
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
