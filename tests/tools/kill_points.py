"""Ways to die in the middle of a run of tools/train.py, each patched in before it starts."""

import os
import signal
import subprocess
from pathlib import Path

from mmengine.runner import IterBasedTrainLoop

from mmseg_deeplab_study import atomic_file
from mmseg_deeplab_study.engine import ProbeValLoop
from mmseg_deeplab_study.runs import history


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_history_append(at: int) -> None:
    """Die when half of the row of iteration `at` is written."""
    append = history.HistoryWriter.append

    def half(self, row) -> None:
        if row['iter'] != at:
            return append(self, row)
        line = history._line(row).encode()
        with self.path.open('ab') as file:
            file.write(line[: len(line) // 2])
        die()

    history.HistoryWriter.append = half


def before_validation(at: int) -> None:
    """Die behind the checkpoint of iteration `at`, before its validation."""
    run = ProbeValLoop.run
    ProbeValLoop.run = lambda self: die() if self.runner.iter == at else run(self)


def in_validation(at: int) -> None:
    """Die behind the second image of the validation of iteration `at`."""
    run_iter = ProbeValLoop.run_iter

    def second(self, idx, batch) -> None:
        run_iter(self, idx, batch)
        if self.runner.iter == at and idx == 1:
            die()

    ProbeValLoop.run_iter = second


def behind_row(at: int) -> None:
    """Die when the row of iteration `at` is on the disk, and the checkpoint of its best score is not."""
    append = history.HistoryWriter.append

    def then(self, row) -> None:
        append(self, row)
        if row['iter'] == at and row['kind'] == 'validation':
            die()

    history.HistoryWriter.append = then


def terminated_in_training(at: int) -> None:
    """SIGTERM to all of the run, its workers too, in the update that follows iteration `at`; twice, as by
    `timeout`."""
    os.setpgid(0, 0)
    run_iter = IterBasedTrainLoop.run_iter

    def asked_to_end(self, batch) -> None:
        if self.iter == at:
            command = f'kill -TERM {os.getpid()}; kill -TERM -{os.getpgid(0)}'
            subprocess.run(['setsid', 'sh', '-c', command], check=True)
        run_iter(self, batch)

    IterBasedTrainLoop.run_iter = asked_to_end


def terminated_in_validation(at: int) -> None:
    """SIGTERM behind the first image of the validation of iteration `at`."""
    run_iter = ProbeValLoop.run_iter

    def asked_to_end(self, idx, batch) -> None:
        if self.runner.iter == at:
            os.kill(os.getpid(), signal.SIGTERM)
        run_iter(self, idx, batch)

    ProbeValLoop.run_iter = asked_to_end


def in_checkpoint_write(at: int) -> None:
    """Die when half of the checkpoint of iteration `at` is in its temporary file."""
    fsync = os.fsync

    def half(descriptor: int) -> None:
        path = Path(os.readlink(f'/proc/self/fd/{descriptor}'))
        if path.name == f'.iter_{at}.pth.0.tmp':
            os.ftruncate(descriptor, path.stat().st_size // 2)
            die()
        fsync(descriptor)

    atomic_file.os.fsync = half


def before_rename(at: int) -> None:
    """Die when the checkpoint of iteration `at` is written and not yet renamed."""
    replace = Path.replace
    Path.replace = lambda self, to: die() if Path(to).name == f'iter_{at}.pth' else replace(self, to)
