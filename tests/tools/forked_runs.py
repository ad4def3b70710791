"""Runs of tools/train.py in forked children, so that importing MMSegmentation is paid for once.

Reads a job per line from standard input, as JSON: `argv` of tools/train.py, `log` to write its output to, and
how it is killed: `kill`, a named point, or `after`, seconds. Writes per job a line: its wait status.
"""

import json
import os
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from mmengine.config import config as mmengine_config
from mmengine.runner import IterBasedTrainLoop

import mmseg_deeplab_study  # noqa: F401
from mmseg_deeplab_study import atomic_file
from mmseg_deeplab_study.engine import ProbeValLoop
from mmseg_deeplab_study.evaluation import history

TRAIN = Path(__file__).resolve().parents[2] / 'tools/train.py'


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
    """SIGTERM in the update that follows iteration `at`."""
    run_iter = IterBasedTrainLoop.run_iter

    def asked_to_end(self, batch) -> None:
        if self.iter == at:
            os.kill(os.getpid(), signal.SIGTERM)
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


def run(job: dict) -> None:
    log = os.open(job['log'], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if 'kill' in job:
        name, at = job['kill']
        globals()[name](at)
    sys.argv = [str(TRAIN), *job['argv']]
    runpy.run_path(str(TRAIN), run_name='__main__')


def serve() -> None:
    # Before any fork: OpenMP's threads do not survive one.
    torch.set_num_threads(1)
    # Most of a run's start: MMEngine formats the config four times.
    mmengine_config.FormatCode = lambda text, **_: (text, True)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run(job)
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        if 'after' in job:
            deadline = time.monotonic() + job['after']
            while time.monotonic() < deadline:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    break
                time.sleep(0.005)
            else:
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
        else:
            _, status = os.waitpid(child, 0)
        sys.stdout.write(f'{status}\n')
        sys.stdout.flush()


if __name__ == '__main__':
    serve()
