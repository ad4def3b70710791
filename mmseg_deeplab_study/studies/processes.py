"""Runs of a study as processes of this machine, each in its own folder."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ..hardware import usable_cores
from ..hub import TOOLS
from ..runs.work_dir import claim_work_dir, release_work_dir
from .plan import StudyRun
from .state import LOCK, LOG, check_mark, read_mark, write_mark

# After SIGTERM a run finishes its iteration or batch and saves a checkpoint.
SECONDS_TO_STOP = 120
_PR_SET_PDEATHSIG = 1


def command(run: StudyRun) -> list[str]:
    """The call of tools/train.py on the config that ``RunProcess`` writes."""
    launcher, flags = [], ['--work-dir', str(run.folder), '--resume']
    if run.gpus > 1:
        launcher = ['-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={run.gpus}']
        flags += ['--launcher', 'pytorch']
    config = run.folder / run.config.name
    return [sys.executable, *launcher, str(TOOLS / 'train.py'), str(config), *flags]


def _tie_to_parent() -> None:
    """In the child: end with the parent; leave a cluster's signals to it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # A cluster says to all processes of a job that its time is nearly up; by default that would kill them.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block, in the main thread."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is signal.SIG_IGN:
        yield
        return
    noted: list[int] = []
    # A handler, not a mask: torch's threads would take the signal, and Python raise it here all the same.
    signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if noted:
        raise KeyboardInterrupt


class RunProcess:
    """A run in progress. Its folder belongs to this process until it ends."""

    def __init__(self, run: StudyRun, variables: Mapping[str, str] | None = None) -> None:
        """Write the resolved config into the folder and train from there.

        So neither a blank in a path nor an edit of the config after planning changes what is trained. Raises
        RuntimeError and OSError as ``claim_work_dir``, ValueError as ``check_mark``.
        """
        claim_work_dir(run.folder, LOCK)
        # A job may have waited for days, and the leaf config may be another by now.
        check_mark(run)
        self.run = run
        self._started = time.monotonic()
        self._asked = False
        attempts = read_mark(run).get('attempts', 0) + 1
        write_mark(run, recipe=run.recipe(), attempts=attempts, exit_code=None)
        # MMEngine 0.10.7 takes any exception while it writes a config for a syntax error in it.
        with interrupts_later():
            run.resolve().dump(run.folder / run.config.name)
        # A waiting thread should soon sleep: beside other programs, spinning makes a step many times slower.
        environment = {'GOMP_SPINCOUNT': '2000', **os.environ, **run.environment, **(variables or {})}
        with (run.folder / LOG).open('a') as log:
            self._process = subprocess.Popen(
                command(run),
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                # Of its own session: a terminal's Ctrl-C is for the study, which then stops its runs.
                start_new_session=True,
                preexec_fn=_tie_to_parent,
            )

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._end(exit_code=code)
        return code

    def wait(self) -> int:
        """Wait for the end; returns the exit code."""
        # Not Popen.wait, which holds a lock that a signal handler calling ``stop`` would wait for.
        while (code := self.poll()) is None:
            time.sleep(0.5)
        return code

    def terminate(self) -> None:
        """Ask it to end with a checkpoint; ``stop`` waits for that."""
        # A second SIGTERM would end it at once.
        if not self._asked:
            self._process.terminate()
        self._asked = True

    def stop(self, seconds: float = SECONDS_TO_STOP) -> None:
        """End it so that it can be resumed: it counts as interrupted, not as failed.

        One process saves a checkpoint first; several, as under torchrun, end at once. After ``seconds`` it is
        killed.
        """
        self.terminate()
        deadline = time.monotonic() + seconds
        while not self._gone():
            if time.monotonic() > deadline:
                self._process.kill()
            time.sleep(0.1)
        self._end()

    def _gone(self) -> bool:
        try:
            found = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True
        return found is not None

    def _end(self, **result: Any) -> None:
        seconds = read_mark(self.run).get('seconds', 0) + time.monotonic() - self._started
        write_mark(self.run, seconds=seconds, **result)
        release_work_dir(self.run.folder, LOCK)


class Pool:
    """Where runs are carried out; here by jobs, which note their end themselves."""

    def poll(self) -> None:
        """Note which runs have ended."""

    def status(self, run: StudyRun) -> str | None:
        """``queued`` or ``running`` where only the pool knows it."""
        return None

    def free_slot(self) -> int | None:
        """A place for one more run now; None if there is none."""
        return None

    def close(self) -> None:
        """End what ends with the study."""


class LocalPool(Pool):
    """Child processes, each with a share of the GPUs or cores."""

    def __init__(self, jobs: int | None, gpus: int) -> None:
        """Make ``jobs`` places for runs of ``gpus`` GPUs each, where 0 is as 1.

        None makes as many as there are GPUs for; on the CPU one, which is the fastest for each. Raises
        ValueError if a run takes more GPUs than there are.
        """
        self._gpus, self._devices = max(1, gpus), torch.cuda.device_count()
        if 0 < self._devices < self._gpus:
            raise ValueError(
                f'resources.gpus_per_node={gpus}, but this machine has {self._devices}; give fewer, or '
                '--cluster slurm'
            )
        self.count = jobs or max(1, self._devices // self._gpus)
        self._processes: dict[int, RunProcess] = {}

    def variables(self, slot: int) -> dict[str, str]:
        """What the environment of the run in a slot must say."""
        if self._devices:
            every = ','.join(map(str, range(self._devices)))
            visible = os.environ.get('CUDA_VISIBLE_DEVICES', every).split(',')
            mine = [visible[(slot * self._gpus + i) % len(visible)] for i in range(self._gpus)]
            return {'CUDA_VISIBLE_DEVICES': ','.join(mine)}
        if self.count > 1 and 'OMP_NUM_THREADS' not in os.environ:
            return {'OMP_NUM_THREADS': str(max(1, usable_cores() // self.count))}
        return {}

    def free_slot(self) -> int | None:
        """Where another run can start; None if nowhere."""
        return min(set(range(self.count)) - set(self._taken()), default=None)

    def start(self, run: StudyRun) -> None:
        """Start a run, as ``RunProcess``."""
        slot = self.free_slot()
        self._processes[slot] = RunProcess(run, self.variables(slot))

    def _taken(self) -> Iterable[int]:
        return self._processes

    def poll(self) -> None:
        """Note which runs have ended."""
        self._processes = {slot: run for slot, run in self._processes.items() if run.poll() is None}

    def close(self) -> None:
        """Stop the runs so that they can be resumed."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.stop()
        self._processes = {}
