"""Runs of a study on this machine, several at a time."""

import os

import torch

from .execute import RunProcess
from .plan import Run


class LocalPool:
    """Child processes, at most ``jobs`` at a time; each has its share of the GPUs, or of the cores."""

    def __init__(self, jobs: int | None, gpus: int) -> None:
        devices = torch.cuda.device_count()
        # One run per share of GPUs; on the CPU one alone is the fastest for each.
        self.jobs = jobs or max(1, devices // max(1, gpus))
        self._devices = devices
        self._slots: list[RunProcess | None] = [None] * self.jobs

    def free(self) -> bool:
        """Whether another run can start."""
        return None in self._slots

    def start(self, run: Run) -> None:
        slot = self._slots.index(None)
        self._slots[slot] = RunProcess(run, self._variables(slot, max(1, run.gpus)))

    def poll(self) -> None:
        """Note which have ended."""
        self._slots = [process if process and process.poll() is None else None for process in self._slots]

    def status(self, run: Run) -> str | None:
        """What only the pool knows: nothing, as the run's folder says it all."""
        return None

    def close(self) -> None:
        """End what is going on, so that it can be resumed."""
        for process in filter(None, self._slots):
            process.stop()
        self._slots = [None] * self.jobs

    def _variables(self, slot: int, gpus: int) -> dict[str, str]:
        if self._devices:
            if 'CUDA_VISIBLE_DEVICES' in os.environ:
                visible = os.environ['CUDA_VISIBLE_DEVICES'].split(',')
            else:
                visible = [str(i) for i in range(self._devices)]
            mine = [visible[(slot * gpus + i) % len(visible)] for i in range(gpus)]
            return {'CUDA_VISIBLE_DEVICES': ','.join(mine)}
        if self.jobs > 1 and 'OMP_NUM_THREADS' not in os.environ:
            return {'OMP_NUM_THREADS': str(max(1, (os.cpu_count() or 1) // self.jobs))}
        return {}
