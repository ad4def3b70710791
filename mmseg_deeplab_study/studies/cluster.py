"""Runs of a study as jobs of a cluster, through submitit."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .plan import Study, StudyRun
from .processes import LocalPool, Pool, RunProcess
from .state import is_alive, look, read_job, write_job, write_mark

try:
    import submitit
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('--cluster needs submitit: pip install submitit', name='submitit') from error

# submitit's own are 5 minutes, with which no training gets anywhere, and 90 seconds before their end.
DEFAULTS = {'timeout_min': 24 * 60, 'signal_delay_s': 180}
# After the checkpoint, for submitit to put the job back into the queue.
SECONDS_TO_REQUEUE = 30
# In the script of a dry run: the job that would be submitted before.
UNKNOWN_JOB = 'ID-OF-THE-FIRST'
# How often a job that ran out of time is put back into the queue.
REQUEUES = 20
_ACTIVE = ('PENDING', 'REQUEUED', 'CONFIGURING', 'SUSPENDED')


@dataclass
class Perform:
    """What a job does; out of time, it saves a checkpoint and is queued again.

    The run gets ``seconds_to_stop`` for that, and ``variables`` of the environment to read.
    """

    seconds_to_stop: float
    variables: Mapping[str, str] | None = None
    process: RunProcess | None = field(default=None, init=False)

    def __call__(self, run: StudyRun) -> int:
        """Carry out the run; returns 0.

        Raises RuntimeError if it failed, or its source has not been trained.
        """
        if look(run).status == 'done':
            # Another process has ended it while the job was in the queue.
            return 0
        if run.source is not None and look(run.source).status != 'done':
            raise RuntimeError(
                f'run {run.name}: its source {run.source.name} has not been trained to its end. Start the '
                'study again: it resumes both'
            )
        self.process = RunProcess(run, self.variables)
        if code := self.process.wait():
            raise RuntimeError(f'run {run.name}: failed with exit code {code}')
        return 0

    def checkpoint(self, run: StudyRun) -> submitit.helpers.DelayedSubmission:
        """Called by submitit before the job is taken from its node."""
        if self.process is not None:
            self.process.stop(self.seconds_to_stop)
        return submitit.helpers.DelayedSubmission(replace(self), run)


class LocalCluster(LocalPool):
    """submitit's executor for one machine: jobs that outlive the study."""

    def __init__(self, study: Study, jobs: int | None) -> None:
        """Make a pool of the study's runs, with places as ``LocalPool``."""
        super().__init__(jobs, study.resources.get('gpus_per_node') or 0)
        self._executor = _executor(submitit.LocalExecutor, study, study.resources)
        self._study = study

    def start(self, run: StudyRun) -> None:
        """Hand a run to a job of its own."""
        slot = self.free_slot()
        write_mark(run, recipe=run.recipe(), exit_code=None)
        # Not left to submitit, which gives every job the same GPUs.
        perform = Perform(seconds_to_stop(self._study), self.variables(slot))
        with _detached():
            job = self._executor.submit(perform, run)
        write_job(run, 'local', job.job_id, slot)

    def status(self, run: StudyRun) -> str | None:
        """``running`` for a job whose process is there."""
        return 'running' if is_alive(run) else None

    def _taken(self) -> list[int]:
        return [read_job(run)['slot'] for run in self._study.runs if is_alive(run)]


class SlurmCluster(Pool):
    """SLURM through submitit: the sources as one array, then all other runs."""

    def __init__(self, study: Study) -> None:
        """Make a pool of the study's jobs; asks nothing of SLURM yet."""
        self._study = study

    def submit(self, runs: Sequence[StudyRun]) -> None:
        """Hand all runs to SLURM, which starts them without this process."""
        for stage in stages(runs):
            executor = _executor(submitit.SlurmExecutor, self._study, self._parameters(stage))
            for run in stage:
                write_mark(run, recipe=run.recipe(), exit_code=None)
            jobs = executor.map_array(Perform(seconds_to_stop(self._study)), stage)
            for run, job in zip(stage, jobs, strict=True):
                write_job(run, 'slurm', job.job_id)

    def scripts(self, runs: Sequence[StudyRun]) -> list[str]:
        """What ``submit`` would hand to sbatch, for each array in turn."""
        texts = []
        for stage in stages(runs):
            executor = _executor(_Scripts, self._study, self._parameters(stage))
            if len(stage) > 1:
                executor.parameters['map_count'] = len(stage)
            texts.append(executor._make_submission_file_text(executor._submitit_command_str, ''))
        return texts

    def status(self, run: StudyRun) -> str | None:
        """``queued`` or ``running``, as SLURM says."""
        job = read_job(run)
        if job.get('cluster') != 'slurm':
            return None
        state = submitit.SlurmJob(jobs_folder(self._study), job['id']).state.upper()
        if state.split(' ')[0] in _ACTIVE or state == 'UNKNOWN':
            return 'queued'
        return 'running' if state in ('RUNNING', 'COMPLETING') else None

    def _parameters(self, stage: Sequence[StudyRun]) -> dict[str, Any]:
        parameters = {'name': self._study.name, **self._study.resources}
        sources = {run.source.name: run.source for run in stage if run.source}
        waited_for = [source for source in sources.values() if look(source).status != 'done']
        if waited_for:
            # Also after a failure: a run whose own source failed says so, the others start.
            numbers = {read_job(source).get('id', UNKNOWN_JOB).partition('_')[0] for source in waited_for}
            parameters['dependency'] = ':'.join(['afterany', *sorted(numbers)])
        return parameters


class _Scripts(submitit.SlurmExecutor):
    """Writes scripts where there is no SLURM to take them."""

    @classmethod
    def affinity(cls) -> int:
        return 1


def stages(runs: Sequence[StudyRun]) -> list[list[StudyRun]]:
    """Runs that others start from, then all others; without empty stages."""
    names = {run.source.name for run in runs if run.source}
    first = [run for run in runs if run.name in names]
    return [stage for stage in (first, [run for run in runs if run.name not in names]) if stage]


def seconds_to_stop(study: Study) -> float:
    """How long a run may take to save its checkpoint at its job's end."""
    return max(10, {**DEFAULTS, **study.resources}['signal_delay_s'] - SECONDS_TO_REQUEUE)


def jobs_folder(study: Study) -> Path:
    """Where submitit keeps its scripts, pickles and outputs."""
    return study.folder / 'jobs' / '%j'


def _executor(kind: type, study: Study, parameters: Mapping[str, Any]) -> submitit.core.core.Executor:
    executor = kind(jobs_folder(study), max_num_timeout=REQUEUES)
    # submitit translates names that all its executors share (timeout_min, mem_gb) in AutoExecutor alone,
    # which cannot be made where there is no SLURM.
    executor.update_parameters(**executor._convert_parameters({**DEFAULTS, **parameters}))
    return executor


@contextmanager
def _detached() -> Iterator[None]:
    """Let processes that are started in the block outlive this one.

    Ctrl-C and closing of a terminal do not reach them, and they do not hold its outputs.
    """
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    sys.stdout.flush()
    sys.stderr.flush()
    outputs = {number: os.dup(number) for number in (1, 2)}
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in outputs:
            os.dup2(nothing, number)
        yield
    finally:
        os.close(nothing)
        for number, kept in outputs.items():
            os.dup2(kept, number)
            os.close(kept)
        for number, handler in handlers.items():
            signal.signal(number, handler)
