"""A run that is killed and resumed, however often and wherever, leaves the record of an uninterrupted one."""

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mmseg_deeplab_study.evaluation.history import FILE_NAME

pytestmark = pytest.mark.slow

TRAIN = Path(__file__).resolve().parents[2] / 'tools/train.py'
KILL_POINTS = Path(__file__).with_name('kill_points.py')
RANDOM_MOMENTS = 4  # with no workers, and as many with two


class Runs:
    """Starts runs of a config, by number of workers."""

    def __init__(self, forked, folder: Path, configs: dict[int, Path]) -> None:
        self.forked, self.folder, self.configs = forked, folder, configs

    def start(self, workers: int, work_dir: Path, *argv: str, kill: tuple[str, int] | None = None):
        more = {'patch': [KILL_POINTS, *kill]} if kill else {}
        return self.forked.start(
            TRAIN, self.configs[workers], '--work-dir', work_dir, *argv, cwd=self.folder, **more
        )

    def resumes(self, workers: int, work_dir: Path) -> None:
        done = self.start(workers, work_dir, '--resume').wait()
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope='module')
def runs(forked, tmp_path_factory, make_tiny_cityscapes, make_config, with_every_row) -> Runs:
    folder = tmp_path_factory.mktemp('killed')
    root = make_tiny_cityscapes(folder, train=6, val=3)
    configs = {}
    for workers in (0, 2):
        cfg = make_config(root, folder / 'unused')
        assert cfg.model.decode_head.dropout_ratio > 0
        # Draws from NumPy, in the main process or in the workers.
        cfg.train_dataloader.dataset.pipeline.insert(2, dict(type='RandomFlip', prob=0.5))
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            loader.update(num_workers=workers, persistent_workers=workers > 0)
        with_every_row(cfg, folder)
        cfg.train_cfg.update(max_iters=12, val_interval=3)
        cfg.default_hooks.checkpoint.update(interval=4, save_best='mIoU')
        cfg.pop('work_dir')
        configs[workers] = folder / f'tiny_{workers}.py'
        cfg.dump(configs[workers])
    return Runs(forked, folder, configs)


@pytest.fixture(scope='module')
def uninterrupted(runs: Runs) -> Callable[[int], tuple[bytes, float]]:
    """Record of a run that nobody killed, and the seconds it took, by number of workers."""
    done = {}

    def get(workers: int) -> tuple[bytes, float]:
        if workers not in done:
            work_dir, started = runs.folder / f'uninterrupted_{workers}', time.monotonic()
            runs.resumes(workers, work_dir)
            done[workers] = without_times(work_dir), time.monotonic() - started
        return done[workers]

    return get


def without_times(work_dir: Path) -> bytes:
    """The record byte for byte, less the seconds that rows took and the moment in the experiment's name."""
    lines = []
    for line in (work_dir / FILE_NAME).read_bytes().splitlines(keepends=True):
        record = json.loads(line)
        for key in ('seconds', 'experiment'):
            if key in record:
                time_of_it = json.dumps({key: record[key]}).encode()[1:-1]
                assert line.count(time_of_it) == 1
                line = line.replace(time_of_it, b'-')
        lines.append(line)
    return b''.join(lines)


@pytest.mark.parametrize(
    ('kill', 'workers'),
    [
        (('in_history_append', 0), 0),
        (('in_history_append', 6), 2),
        (('behind_row', 6), 0),
        (('before_validation', 0), 2),
        (('before_validation', 12), 0),
        (('before_validation', 12), 2),
        (('in_validation', 3), 0),
        (('in_validation', 3), 2),
        (('in_validation', 12), 0),
        (('in_checkpoint_write', 0), 0),
        (('in_checkpoint_write', 8), 0),
        (('in_checkpoint_write', 8), 2),
        (('before_rename', 4), 0),
    ],
    ids=lambda value: '-'.join(map(str, value)) if isinstance(value, tuple) else f'{value} workers',
)
def test_killed_at_a_named_point(runs, uninterrupted, tmp_path, kill, workers):
    expected, _ = uninterrupted(workers)
    work_dir = tmp_path / 'work'
    killed = runs.start(workers, work_dir, kill=kill).wait()
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    runs.resumes(workers, work_dir)
    assert without_times(work_dir) == expected
    assert not list(work_dir.glob('**/.*.tmp'))


@pytest.mark.parametrize('workers', [0, 2])
def test_killed_at_random_moments(runs, uninterrupted, tmp_path, workers):
    expected, seconds = uninterrupted(workers)
    moments, kills, attempt = random.Random(workers), 0, 0
    while kills < RANDOM_MOMENTS:
        work_dir, killed, attempt = tmp_path / f'work_{attempt}', True, attempt + 1
        while killed and kills < RANDOM_MOMENTS:
            # Resumed and killed again, until it gets through.
            run = runs.start(workers, work_dir, '--resume')
            time.sleep(moments.uniform(0.05, 0.6) * seconds)
            run.send_signal(signal.SIGKILL)
            done = run.wait()
            killed = done.returncode == -signal.SIGKILL
            assert killed or done.returncode == 0, done.stderr
            kills += killed
        if killed:
            runs.resumes(workers, work_dir)
        assert without_times(work_dir) == expected, f'after {kills} kills'


@pytest.mark.parametrize(
    ('kill', 'workers', 'reached'),
    [(('terminated_in_training', 5), 2, 5), (('terminated_in_validation', 9), 0, 9)],
    ids=('training', 'validation'),
)
def test_terminated(runs, uninterrupted, tmp_path, kill, workers, reached):
    expected, _ = uninterrupted(workers)
    work_dir = tmp_path / 'work'
    ended = runs.start(workers, work_dir, kill=kill).wait()
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    assert f'SIGTERM: saved iteration {reached} and end here' in ended.stdout + ended.stderr
    assert (work_dir / 'last_checkpoint').read_text().endswith(f'iter_{reached}.pth')
    runs.resumes(workers, work_dir)
    assert without_times(work_dir) == expected
