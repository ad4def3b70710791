"""Two processes record what one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmseg_deeplab_study.evaluation.history import FILE_NAME, read_history

pytestmark = pytest.mark.slow

TRAIN = Path(__file__).resolve().parents[2] / 'tools/train.py'


def start(ranks: int, folder: Path, *argv: object) -> subprocess.CompletedProcess:
    launcher = ['-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={ranks}']
    command = [sys.executable, '-W', 'ignore', *(launcher if ranks > 1 else []), str(TRAIN), *map(str, argv)]
    command += ['--launcher', 'pytorch'] if ranks > 1 else []
    # As many threads in each, so that the same sums are made in the same order.
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope='module')
def config(tmp_path_factory, make_tiny_cityscapes, make_config, with_every_row) -> Path:
    folder = tmp_path_factory.mktemp('ranks')
    cfg = make_config(make_tiny_cityscapes(folder, train=4, val=5), folder / 'unused')
    with_every_row(cfg, folder)
    # Rows that each rank would draw for itself, from a seed of its own.
    cfg.custom_hooks[0].update(matched='reinit')
    cfg.randomness = dict(seed=0, diff_rank_seed=True)
    cfg.train_cfg.update(max_iters=4, val_interval=2)
    cfg.default_hooks.checkpoint.update(interval=2, save_best='mIoU')
    cfg.pop('work_dir')
    cfg.dump(folder / 'tiny.py')
    return folder / 'tiny.py'


@pytest.fixture(scope='module')
def together(config) -> Path:
    """The work_dir of two processes."""
    work_dir = config.parent / 'together'
    done = start(2, config.parent, config, '--work-dir', work_dir)
    assert done.returncode == 0, done.stderr
    return work_dir


def test_the_same_integers(config, together, tmp_path):
    """5 images on 2 ranks: the sampler gives one out twice."""
    alone = tmp_path / 'alone'
    done = start(1, tmp_path, config, '--work-dir', alone, '--cfg-options', 'train_cfg.max_iters=1')
    assert done.returncode == 0, done.stderr
    histories = [read_history(work_dir) for work_dir in (alone, together)]
    rows = [[row for row in history.rows if row['iter'] == 0] for history in histories]
    kinds = [('source', 'full'), ('forgetting', 'full'), ('validation', 'full'), ('validation', 'probe')]
    assert [(row['kind'], row['subset']) for row in rows[0]] == kinds
    for row, other in zip(*rows, strict=True):
        assert {**row, 'seconds': 0} == {**other, 'seconds': 0}
    assert [row['images'] for row in rows[1]] == [5, 5, 5, 2]
    # From here on batches differ; but every iteration is there, once.
    assert [row['iter'] for row in histories[1].select('validation', 'probe')] == [0, 2, 4]
    for name in ('snapshots/source', 'snapshots/000000', 'snapshots/reference'):
        files = [sorted((work_dir / name).iterdir()) for work_dir in (alone, together)]
        assert [path.name for path in files[0]] == [path.name for path in files[1]]
        assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_resumed_on_two_ranks(config, together, tmp_path):
    """An interrupted and resumed run of two processes leaves the record of an uninterrupted one."""
    cut = tmp_path / 'cut'
    done = start(2, tmp_path, config, '--work-dir', cut, '--cfg-options', 'train_cfg.max_iters=2')
    assert done.returncode == 0, done.stderr
    # As after a kill behind the checkpoint of iteration 2.
    lines = (cut / FILE_NAME).read_text().splitlines(keepends=True)
    (cut / FILE_NAME).write_text(''.join(line for line in lines if json.loads(line).get('iter') != 2))
    done = start(2, tmp_path, config, '--work-dir', cut, '--resume')
    assert done.returncode == 0, done.stderr
    assert 'training goes on with new ones' not in done.stderr
    expected, found = read_history(together), read_history(cut)
    assert len(found.rows) == len(expected.rows)
    for row, other in zip(found.rows, expected.rows, strict=True):
        assert {**row, 'seconds': 0} == {**other, 'seconds': 0}
