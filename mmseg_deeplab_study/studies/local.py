"""Runs of a study on this machine, several at a time."""

import os

import torch

from ..hardware import usable_cores
from .execute import RunProcess
from .plan import Run


class Slots:
    """Places for runs at a time, each with its share of the GPUs, or else of the cores.

    Args:
        jobs: how many; None for as many as there are GPUs for, on the CPU one, which is the fastest for each.
        gpus: what each run takes; 0 is as 1.

    Raises:
        ValueError: a run takes more GPUs than there are.
    """

    def __init__(self, jobs: int | None, gpus: int) -> None:
        self._gpus, self._devices = max(1, gpus), torch.cuda.device_count()
        if 0 < self._devices < self._gpus:
            raise ValueError(
                f'resources.gpus_per_node={gpus}, but this machine has {self._devices}; give fewer, or '
                '--cluster slurm'
            )
        self.count = jobs or max(1, self._devices // self._gpus)

    def variables(self, slot: int) -> dict[str, str]:
        """What the environment of the run in a slot must say."""
        if self._devices:
            visible = os.environ.get('CUDA_VISIBLE_DEVICES', ','.join(map(str, range(self._devices)))).split(
                ','
            )
            mine = [visible[(slot * self._gpus + i) % len(visible)] for i in range(self._gpus)]
            return {'CUDA_VISIBLE_DEVICES': ','.join(mine)}
        if self.count > 1 and 'OMP_NUM_THREADS' not in os.environ:
            return {'OMP_NUM_THREADS': str(max(1, usable_cores() // self.count))}
        return {}


class LocalPool:
    """Child processes, as many at a time as there are slots."""

    def __init__(self, jobs: int | None, gpus: int) -> None:
        self._slots = Slots(jobs, gpus)
        self._processes: dict[int, RunProcess] = {}

    def free(self) -> bool:
        """Whether another run can start."""
        return len(self._processes) < self._slots.count

    def start(self, run: Run) -> None:
        slot = min(set(range(self._slots.count)) - set(self._processes))
        self._processes[slot] = RunProcess(run, self._slots.variables(slot))

    def poll(self) -> None:
        """Note which have ended."""
        self._processes = {
            slot: process for slot, process in self._processes.items() if process.poll() is None
        }

    def status(self, run: Run) -> str | None:
        """What only the pool knows: nothing, as the run's folder says it all."""
        return None

    def close(self) -> None:
        """End what is going on, so that it can be resumed."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.stop()
        self._processes = {}
