"""Carry out a study: what starts when, and what is said of it."""

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

from ..compat import set_up_consoles
from ..hub import TOOLS
from ..runs.console import ConsoleFormatter, is_shown
from ..runs.work_dir import claim_work_dir, release_work_dir
from .plan import Study, StudyRun, check_study, find_problems
from .processes import LocalPool, Pool, command, interrupts_later
from .progress import console, describe, follow, make_table
from .state import JOB, LOCK, LOG, RunState, check_mark, is_alive, look, read_job

LAST_LINES = 12
REPORT = 'report.html'


def carry_out_study(
    make_study: Callable[[], Study],
    conclude: Callable[[Study, list[StudyRun]], int],
    args: argparse.Namespace,
) -> int:
    """Make, check and carry out a study; ``conclude`` over what has ended well.

    Returns the exit code: that of ``conclude``, or 1 for a run that has not ended well, or in a dry run for
    what is missing. Raises what says why the study cannot be carried out, and KeyboardInterrupt, by Ctrl-C,
    with what the next call does.
    """
    set_up_consoles(is_shown, ConsoleFormatter())
    try:
        study = make_study()
        if args.dry_run:
            return dry_run(study, args)
        check_study(study)
        states = run_study(study, args)
    except KeyboardInterrupt:
        raise KeyboardInterrupt('the same command resumes the study') from None
    done = report_failures(study, states)
    if not done:
        console.print('No adaptation has ended: no report')
        return 1
    return conclude(study, done) or int(any(state.status != 'done' for state in states.values()))


def run_study(study: Study, args: argparse.Namespace) -> dict[str, RunState]:
    """Carry out what is left of a study; returns the states of all runs at the end.

    Raises RuntimeError if another process is carrying it out; else as ``make_pool`` and ``to_start``.
    """
    claim_work_dir(study.folder, LOCK)
    try:
        pool = make_pool(study, args)
        runs = to_start(study, pool, args.cluster)
        console.print(
            f'Study {study.name}: {len(study.runs)} runs, {len(study.runs) - len(runs)} done or running, '
            f'in {study.folder}'
        )
        console.print(f'Each run logs to train.log in its folder. Report at the end: {study.folder / REPORT}')
        if args.cluster == 'slurm':
            pool.submit(runs)
            runs = []
        try:
            return follow(carry_out(study, pool, runs), study.name)
        finally:
            # An impatient second Ctrl-C would cut checkpoints short.
            with interrupts_later():
                pool.close()
    finally:
        release_work_dir(study.folder, LOCK)


def make_pool(study: Study, args: argparse.Namespace) -> Pool:
    """Where the runs are carried out, as the flags say."""
    if args.cluster is None:
        return LocalPool(args.jobs, study.resources.get('gpus_per_node') or 0)
    from .cluster import LocalCluster, SlurmCluster

    return SlurmCluster(study) if args.cluster == 'slurm' else LocalCluster(study, args.jobs)


def to_start(study: Study, pool: Pool, cluster: str | None) -> list[StudyRun]:
    """The runs that have not ended well and are no running job, in their order.

    Raises RuntimeError where one may still be a job of another cluster, ValueError as ``check_mark``.
    """
    for run in study.runs:
        check_mark(run)
    runs = []
    for run in study.runs:
        status, job = look(run).status, read_job(run)
        if status == 'done':
            continue
        if status != 'failed':
            # A job of this machine can be seen to have ended; SLURM may be out of reach from here.
            if job and job['cluster'] != cluster and (job['cluster'] == 'slurm' or is_alive(run)):
                raise RuntimeError(
                    f'run {run.name}: submitted with --cluster {job["cluster"]} as job {job["id"]}. '
                    f'Call the study with that flag, or end the job and remove {run.folder / JOB}'
                )
            if pool.status(run):
                continue
        runs.append(run)
    return runs


def carry_out(
    study: Study, pool: Pool, runs: list[StudyRun], interval: float = 1
) -> Iterator[dict[str, RunState]]:
    """Start ``runs`` as they can be; yield all states until no run is running.

    A run that fails is left, and the others continue; one whose source has failed is blocked. A run of
    another process is waited for.
    """
    pending = {run.name: run for run in runs}
    problems: dict[str, str] = {}
    while True:
        pool.poll()
        states: dict[str, RunState] = {}
        # Sources come before what starts from them.
        for run in study.runs:
            state = _state(run, pool, run.name in pending)
            if run.name in problems:
                state = state._replace(status='failed', problem=problems[run.name])
            source = states[run.source.name].status if run.source else 'done'
            ready = run.name in pending and state.status == 'waiting' and source == 'done'
            if run.name in pending and state.status == 'done':
                del pending[run.name]  # another process has ended it meanwhile
            elif source in ('failed', 'blocked') and state.status in ('waiting', 'failed'):
                pending.pop(run.name, None)
                state = state._replace(status='blocked')
            elif ready and pool.free_slot() is not None:
                try:
                    pool.start(pending.pop(run.name))
                    state = _state(run, pool, False)
                except (OSError, RuntimeError, ValueError) as error:
                    problems[run.name] = str(error)
                    state = state._replace(status='failed', problem=str(error))
            states[run.name] = state
        yield states
        if not pending and not any(state.status in ('queued', 'running') for state in states.values()):
            return
        time.sleep(interval)


def _state(run: StudyRun, pool: Pool, pending: bool) -> RunState:
    state = look(run)
    # Handing a run on takes its exit code back: where there is one, a cluster's word is old.
    if state.status == 'done' or (state.status == 'failed' and not pending):
        return state
    if going_on := pool.status(run):
        return state._replace(status=going_on)
    if pending and state.status in ('failed', 'interrupted'):
        # Of an earlier call of the study: it is about to be resumed.
        return state._replace(status='waiting')
    if not pending and state.status in ('waiting', 'interrupted'):
        # Its process ended without writing an exit code.
        return state._replace(status='failed')
    return state


def dry_run(study: Study, args: argparse.Namespace) -> int:
    """Print the plan, and all that is missing for it; returns an exit code. Raises as ``show_plan``."""
    problems = list(find_problems(study))
    show_plan(study, args)
    if problems:
        console.print('\nMissing or wrong, each named once, with the first run that needs it:')
    for problem in problems:
        console.print(f'- {problem}')
    return int(bool(problems))


def show_plan(study: Study, args: argparse.Namespace) -> None:
    """Print what ``run_study`` would do; raises as that."""
    pool = make_pool(study, args)
    runs = to_start(study, pool, args.cluster)
    console.print(make_table({run.name: look(run) for run in study.runs}, f'{study.name}, in {study.folder}'))
    for run in runs:
        console.print(f'\n{run.name}: {run.config}')
        options = dict(run.options)
        if run.source:
            options['load_from'] = str(run.source.checkpoint)
        for key, value in {**options, 'randomness.seed': run.seed}.items():
            console.print(f'    {key} = {value!r}')
        console.print(f'    {shlex.join(command(run))}')
    if args.cluster == 'slurm' and runs:
        if not study.resources:
            console.print("\nThe study has no resources: its jobs get the cluster's defaults, and a day each")
        for script in pool.scripts(runs):
            console.print(f'\n--- sbatch script ---\n{script}')


def report_failures(study: Study, states: Mapping[str, RunState]) -> list[StudyRun]:
    """Say how failed runs' logs end; returns the adaptations that ended well."""
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


def analyse_and_report(study: Study, runs: list[StudyRun]) -> int:
    """Call tools/analyze.py and tools/report.py over runs; returns an exit code."""
    folders = [str(run.folder) for run in runs]
    report = study.folder / REPORT
    for script, out in (('analyze.py', study.folder), ('report.py', report)):
        call = [sys.executable, str(TOOLS / script), *folders, '-o', str(out)]
        if code := subprocess.run(call, check=False).returncode:
            console.print(f'tools/{script} failed with exit code {code}')
            return 1
    console.print(f'Report: {report}')
    return 0
