import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mmseg_deeplab_study.runs.history import FILE_NAME, read_history

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
KILL_POINTS = Path(__file__).with_name('kill_points.py')


class TwoSeeds:
    """A study of two seeds, each run ten iterations of a tiny network, in real processes."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.parent / 'out'

    def start(self, *arguments: object) -> subprocess.Popen:
        command = [TOOLS / 'study.py', self.path, '--work-dir', self.folder, *arguments]
        command = [sys.executable, '-W', 'ignore', *map(str, command)]
        options = dict(cwd=self.path.parent, env={**os.environ, 'OMP_NUM_THREADS': '1'}, text=True)
        options |= dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        # Whoever runs the tests may ignore it, as a shell does for what it starts in the background.
        options['preexec_fn'] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen(command, **options)

    def marks(self) -> dict[str, dict]:
        runs = sorted(path.parent for path in self.folder.glob('*/seed*/run.json'))
        return {f'{run.parent.name}/{run.name}': json.loads((run / 'run.json').read_text()) for run in runs}

    def wait_for(self, condition: Callable[[dict[str, dict]], bool], seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while not condition(self.marks()):
            assert time.monotonic() < deadline, self.marks()
            time.sleep(0.1)

    def check_whole(self) -> None:
        for seed in (0, 1):
            history = read_history(self.folder / f'tiny/seed{seed}' / FILE_NAME)
            assert [row['iter'] for row in history.validations] == [0, 5, 10]
            assert history.header['seed'] == seed
        table = json.loads((self.folder / 'analysis.json').read_text())
        assert [run['name'] for run in table['runs']] == ['seed0', 'seed1']
        # One experiment of two seeds: mean and band.
        assert [len(group['runs']) for group in table['groups']] == [2]


@pytest.fixture
def study(tmp_path, make_tiny_cityscapes, make_config) -> TwoSeeds:
    cfg = make_config(make_tiny_cityscapes(tmp_path), tmp_path / 'unused')
    cfg.pop('work_dir')
    cfg.default_hooks.checkpoint.update(interval=5)
    cfg.dump(tmp_path / 'tiny.py')
    path = tmp_path / 'two_seeds.py'
    path.write_text("runs = {'tiny': dict(config='tiny.py')}\nseeds = [0, 1]\n")
    return TwoSeeds(path)


class Runs:
    """Runs of a config to be killed, by number of workers."""

    def __init__(self, forked, folder: Path, configs: dict[int, Path]) -> None:
        self.forked, self.folder, self.configs = forked, folder, configs

    def start(self, workers: int, work_dir: Path, *argv: str, kill: tuple[str, int] | None = None):
        more = {'patch': [KILL_POINTS, *kill]} if kill else {}
        command = [TOOLS / 'train.py', self.configs[workers], '--work-dir', work_dir, *argv]
        return self.forked.start(*command, cwd=self.folder, **more)

    def resumes(self, workers: int, work_dir: Path) -> None:
        done = self.start(workers, work_dir, '--resume').wait()
        assert done.returncode == 0, done.stderr

    def record(self, work_dir: Path) -> bytes:
        """The record byte for byte, less what rows took and the moment in the experiment's name."""
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
            done[workers] = runs.record(work_dir), time.monotonic() - started
        return done[workers]

    return get
