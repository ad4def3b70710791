"""Runs of a study as jobs of a cluster, through submitit."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .execute import RunProcess
from .plan import Run, Study
from .state import look, read_job, write_job, write_mark

try:
    import submitit
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        '--cluster needs submitit: pip install "mmseg_deeplab_study[cluster]"', name='submitit'
    ) from error

# submitit's own is 5 minutes, with which no training gets anywhere.
TIMEOUT_MIN = 24 * 60
# How often a job that ran out of time is put back into the queue.
REQUEUES = 20
_ACTIVE = ('PENDING', 'REQUEUED', 'CONFIGURING', 'SUSPENDED')


class Perform:
    """What a job does. At the end of its time it has the run save a checkpoint, and is queued again."""

    def __init__(self) -> None:
        self._process: RunProcess | None = None

    def __call__(self, run: Run) -> int:
        if run.source is not None and look(run.source).status != 'done':
            raise RuntimeError(
                f'run {run.name}: its source {run.source.name} has not been trained to its end; start the '
                'study again, which goes on with both'
            )
        self._process = RunProcess(run)
        code = self._process.wait()
        if code:
            raise RuntimeError(f'run {run.name}: failed with exit code {code}')
        return code

    def checkpoint(self, run: Run) -> submitit.helpers.DelayedSubmission:
        """Called by submitit before the job is taken from its node."""
        if self._process is not None:
            self._process.stop()
        return submitit.helpers.DelayedSubmission(Perform(), run)


class LocalCluster:
    """submitit's executor for one machine: jobs that outlive the study, at most ``jobs`` at a time."""

    def __init__(self, study: Study, jobs: int | None) -> None:
        self.jobs = jobs or 1
        self._executor = submitit.LocalExecutor(jobs_folder(study), max_num_timeout=REQUEUES)
        _set_parameters(self._executor, {'timeout_min': TIMEOUT_MIN, **study.resources})
        self._study = study

    def free(self) -> bool:
        return sum(look(run).status == 'running' or _alive(run) for run in self._study.runs) < self.jobs

    def start(self, run: Run) -> None:
        write_mark(run, recipe=run.recipe(), exit_code=None)
        with _detached():
            job = self._executor.submit(Perform(), run)
        write_job(run, 'local', job.job_id)

    def poll(self) -> None:
        """Nothing to do: jobs note their end themselves."""

    def status(self, run: Run) -> str | None:
        return 'running' if _alive(run) else None

    def close(self) -> None:
        """Nothing to do: the jobs go on."""


class SlurmCluster:
    """SLURM through submitit: all runs at once, as one array, behind another of the sources."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def submit(self, runs: Sequence[Run]) -> None:
        """Hand all runs to SLURM, which starts them without this process."""
        main_id = None
        for stage in stages(runs):
            executor = submitit.SlurmExecutor(jobs_folder(self._study), max_num_timeout=REQUEUES)
            _set_parameters(executor, self._parameters(main_id))
            for run in stage:
                write_mark(run, recipe=run.recipe(), exit_code=None)
            jobs = executor.map_array(Perform(), stage)
            for run, job in zip(stage, jobs, strict=True):
                write_job(run, 'slurm', job.job_id)
            main_id = jobs[0].job_id.partition('_')[0]

    def scripts(self, runs: Sequence[Run]) -> list[str]:
        """What ``submit`` would hand to sbatch, for each array in turn."""
        texts = []
        for number, stage in enumerate(stages(runs)):
            executor = _Scripts(jobs_folder(self._study), max_num_timeout=REQUEUES)
            _set_parameters(executor, self._parameters('ID_OF_THE_FIRST' if number else None))
            if len(stage) > 1:
                executor.parameters['map_count'] = len(stage)
            texts.append(executor._make_submission_file_text(executor._submitit_command_str, ''))
        return texts

    def poll(self) -> None:
        """Nothing to do: jobs note their end themselves."""

    def status(self, run: Run) -> str | None:
        number = read_job(run, 'slurm')
        if number is None:
            return None
        state = submitit.SlurmJob(jobs_folder(self._study), number).state.upper()
        if state.split(' ')[0] in _ACTIVE or state == 'UNKNOWN':
            return 'queued'
        return 'running' if state in ('RUNNING', 'COMPLETING') else None

    def close(self) -> None:
        """Nothing to do: the jobs go on."""

    def _parameters(self, after: str | None) -> dict[str, Any]:
        parameters = {'timeout_min': TIMEOUT_MIN, 'name': self._study.name, **self._study.resources}
        if after:
            # Whatever becomes of them: a run whose own source failed says so, the others go on.
            parameters['dependency'] = f'afterany:{after}'
        return parameters


class _Scripts(submitit.SlurmExecutor):
    """Writes scripts where there is no SLURM to take them."""

    @classmethod
    def affinity(cls) -> int:
        return 1


def stages(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that others start from, then all others; without empty stages."""
    names = {run.source.name for run in runs if run.source}
    first = [run for run in runs if run.name in names]
    return [stage for stage in (first, [run for run in runs if run.name not in names]) if stage]


def jobs_folder(study: Study) -> Path:
    """Where submitit keeps its scripts, pickles and outputs."""
    return study.folder / 'jobs' / '%j'


def _set_parameters(executor: submitit.core.core.Executor, parameters: Mapping[str, Any]) -> None:
    # submitit translates names that all its executors share (timeout_min, mem_gb) in AutoExecutor alone,
    # which cannot be made where there is no SLURM.
    executor.update_parameters(**executor._convert_parameters(dict(parameters)))


def _alive(run: Run) -> bool:
    """Whether a job of the local executor is going on, also one of an earlier call of the study."""
    number = read_job(run, 'local')
    if number is None:
        return False
    try:
        # Another program may have got its number since.
        arguments = Path(f'/proc/{number}/cmdline').read_bytes()
        ended = Path(f'/proc/{number}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b'submitit' in arguments and not ended


@contextmanager
def _detached() -> Iterator[None]:
    """Processes started in here outlive this one: a terminal's Ctrl-C and closing are not for them, and they
    do not hold its outputs, for whose end a pipe would wait."""
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
