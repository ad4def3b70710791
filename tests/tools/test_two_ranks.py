"""Two processes record what one does."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_deeplab_study.checkpoints.safe_loading import load_plain
from mmseg_deeplab_study.engine.resumed_optimizer import UPDATES
from mmseg_deeplab_study.runs.history import FILE_NAME, read_history

pytestmark = pytest.mark.slow

TRAIN = Path(__file__).resolve().parents[2] / 'tools/train.py'


@pytest.fixture(scope='module')
def start(forked) -> Callable[..., str]:
    """A function that trains in a number of processes, as torchrun starts them, and returns their errors;
    ``codes`` are those that they shall end with, 0 if not given."""

    def call(ranks: int, folder: Path, *argv: object, codes: tuple[int, ...] = ()) -> str:
        with socket.socket() as free:
            free.bind(('localhost', 0))
            port = free.getsockname()[1]
        address = {'MASTER_ADDR': 'localhost', 'MASTER_PORT': str(port), 'WORLD_SIZE': str(ranks)}
        if ranks == 1:
            runs = [forked.start(TRAIN, *argv, cwd=folder)]
        else:
            launched, places = (TRAIN, *argv, '--launcher', 'pytorch'), map(str, range(ranks))
            environments = [address | {'RANK': rank, 'LOCAL_RANK': rank} for rank in places]
            runs = [forked.start(*launched, cwd=folder, env=env) for env in environments]
        done = [run.wait() for run in runs]
        errors = ''.join(run.stderr for run in done)
        assert [run.returncode for run in done] == list(codes or [0] * ranks), errors
        return errors

    return call


@pytest.fixture(scope='module')
def config(tmp_path_factory, make_tiny_cityscapes, make_config, with_every_row) -> Path:
    folder = tmp_path_factory.mktemp('ranks')
    cfg = make_config(make_tiny_cityscapes(folder, train=4, val=5), folder / 'unused')
    with_every_row(cfg, folder)
    # Rows that each rank would draw for itself, from a seed of its own.
    cfg.custom_hooks[0].update(matched='reinit')
    cfg.randomness = dict(seed=0, diff_rank_seed=True)
    cfg.train_cfg.update(max_iters=4, val_interval=2)
    # Updates at 3 and 4: what is saved at 2 has gradients of each rank's own.
    cfg.optim_wrapper.accumulative_counts = 3
    cfg.default_hooks.checkpoint.update(interval=2, save_best='mIoU')
    cfg.pop('work_dir')
    cfg.dump(folder / 'tiny.py')
    return folder / 'tiny.py'


@pytest.fixture(scope='module')
def together(config, start) -> Path:
    """The work_dir of two processes."""
    work_dir = config.parent / 'together'
    start(2, config.parent, config, '--work-dir', work_dir)
    return work_dir


def test_the_same_integers(start, config, together, tmp_path):
    """5 images on 2 ranks: the sampler gives one out twice."""
    alone = tmp_path / 'alone'
    start(1, tmp_path, config, '--work-dir', alone, '--cfg-options', 'train_cfg.max_iters=1')
    histories = [read_history(work_dir) for work_dir in (alone, together)]
    rows = [[row for row in history.rows if row['iter'] == 0] for history in histories]
    kinds = [(kind, 'full') for kind in ('source', 'forgetting', 'source_classifier', 'validation')]
    kinds.append(('validation', 'probe'))
    assert [(row['kind'], row['subset']) for row in rows[0]] == kinds
    for row, other in zip(*rows, strict=True):
        assert {**row, 'seconds': 0} == {**other, 'seconds': 0}
    assert [row['images'] for row in rows[1]] == [5, 5, 5, 5, 2]
    # From here on batches differ; but every iteration is there, once.
    assert [row['iter'] for row in histories[1].select('validation', 'probe')] == [0, 2, 4]
    for name in ('snapshots/source', 'snapshots/000000', 'snapshots/reference'):
        files = [sorted((work_dir / name).iterdir()) for work_dir in (alone, together)]
        assert [path.name for path in files[0]] == [path.name for path in files[1]]
        assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def with_statistics(cfg: Config, path: Path) -> Path:
    """A checkpoint whose batch norm knows the size of its inputs: with that of a new network the signal dies
    out, and what is left of it is rounding."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    norms = [module.train() for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    for _ in range(30):
        model.extract_feat(torch.randn(4, 3, 64, 64))
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def test_half_batches_on_two_ranks(start, make_tiny_cityscapes, make_config, tmp_path):
    """Gradients are means: with fixed batch norm, without dropout and augmentation, 2 x 1 image is 1 x 2."""
    cfg = make_config(make_tiny_cityscapes(tmp_path), tmp_path / 'unused')
    cfg.pop('work_dir')
    cfg.model.backbone.norm_eval = True
    cfg.model.decode_head.update(norm_cfg=None, dropout_ratio=0.0, aspp_dropout_ratio=0.0)
    cfg.optim_wrapper.optimizer.lr = 0.005
    cfg.load_from = str(with_statistics(cfg, tmp_path / 'source.pth'))
    cfg.dump(tmp_path / 'fixed.py')
    histories, weights = [], []
    for ranks, batch in ((1, 2), (2, 1)):
        work_dir = tmp_path / f'ranks{ranks}'
        options = ('--cfg-options', f'train_dataloader.batch_size={batch}')
        start(ranks, tmp_path, tmp_path / 'fixed.py', '--work-dir', work_dir, *options)
        histories.append(read_history(work_dir).validations)
        states = [load_plain(work_dir / f'iter_{n}.pth')['state_dict'] for n in (0, 10)]
        weights.append([torch.cat([value.double().ravel() for value in s.values()]) for s in states])
    one, two = histories
    assert [row['iter'] for row in two] == [row['iter'] for row in one] == [0, 5, 10]
    # It has learnt something that could differ.
    assert one[2]['mIoU'] > one[0]['mIoU']
    for row, other in zip(one, two, strict=True):
        moved = np.abs(np.subtract(row['confusion'], other['confusion'])).sum()
        # One of the 3 x 64 x 64 pixels may fall to the other side of a tie.
        assert moved <= 2
        assert other['mIoU'] == pytest.approx(row['mIoU'], abs=0.02)
    (before, alone), (also_before, together) = weights
    assert torch.equal(before, also_before)
    # 1.4e-7 where it was measured.
    assert (together - alone).norm() <= 1e-5 * (alone - before).norm()


def test_the_launch_script(make_tiny_cityscapes, make_config, tmp_path):
    cfg = make_config(make_tiny_cityscapes(tmp_path), tmp_path / 'unused')
    cfg.pop('work_dir')
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    cfg.dump(tmp_path / 'tiny.py')
    script = TRAIN.with_name('dist_train.sh')
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, 'PORT': '29517'}
    command = ['bash', str(script), 'tiny.py', '2', '--work-dir', 'out']
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    history = read_history(tmp_path / 'out')
    assert (history.header['world_size'], [row['iter'] for row in history.validations]) == (2, [0, 1])


@pytest.mark.parametrize(
    'name, needs', [('dist_train.sh', 'CONFIG GPUS'), ('slurm_train.sh', 'PARTITION JOB_NAME CONFIG')]
)
def test_launch_scripts_without_arguments_say_which(name, needs):
    done = subprocess.run(['bash', str(TRAIN.with_name(name))], capture_output=True, text=True)
    assert done.returncode == 2
    assert f'{name} {needs} [flags of tools/train.py]' in done.stderr


def test_what_slurm_is_asked_for(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    env = os.environ | {'GPUS': '16', 'SRUN_ARGS': '--qos=high --time=60'}
    env['PATH'] = f'{tmp_path}:{os.environ["PATH"]}'
    command = ['bash', str(TRAIN.with_name('slurm_train.sh')), 'gpu', 'mine', 'leaf.py', '--amp']
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    placed = '--partition=gpu --job-name=mine --gres=gpu:8 --ntasks=16 --ntasks-per-node=8 --cpus-per-task=5'
    run = f'--kill-on-bad-exit=1 --qos=high --time=60 python -u {TRAIN} leaf.py --launcher slurm --amp'
    assert done.stdout == f'{placed} {run}\n'


def test_resumed_on_two_ranks(start, config, together, tmp_path):
    """An interrupted and resumed run of two processes leaves the record of an uninterrupted one."""
    cut = tmp_path / 'cut'
    # As after a kill behind the checkpoint of iteration 2.
    shutil.copytree(together, cut)
    (cut / 'iter_4.pth').unlink()
    assert load_plain(cut / 'iter_2.pth')[UPDATES]['gradients']
    lines = (cut / FILE_NAME).read_text().splitlines(keepends=True)
    (cut / FILE_NAME).write_text(''.join(line for line in lines if json.loads(line).get('iter', 0) < 2))
    errors = start(2, tmp_path, config, '--work-dir', cut, '--resume')
    assert 'training continues with new ones' not in errors
    expected, found = read_history(together), read_history(cut)
    states = [load_plain(folder / 'iter_4.pth')['state_dict'] for folder in (together, cut)]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert len(found.rows) == len(expected.rows)
    for row, other in zip(found.rows, expected.rows, strict=True):
        assert {**row, 'seconds': 0} == {**other, 'seconds': 0}


def test_what_stops_one_stops_all(start, config, together, claim_elsewhere):
    """The main process alone looks whether there is a record; the other would wait for it for ever."""
    errors = start(2, config.parent, config, '--work-dir', together, codes=(1, 1))
    assert 'already holds a record of adaptation' in errors
    cfg = ('--cfg-options', 'val_dataloader.dataset.data_prefix.seg_map_path=nowhere')
    errors = start(2, config.parent, config, '--work-dir', config.parent / 'other', *cfg, codes=(1, 1))
    assert 'no label map for' in errors and 'the main process has stopped: FileNotFoundError: ' in errors
    # Written by the main process alone.
    (config.parent / 'unwritable/head_transfer.json').mkdir(parents=True)
    errors = start(2, config.parent, config, '--work-dir', config.parent / 'unwritable', codes=(1, 1))
    assert 'the main process has stopped: IsADirectoryError: ' in errors
    claim_elsewhere(config.parent / 'claimed')
    errors = start(2, config.parent, config, '--work-dir', config.parent / 'claimed', codes=(1, 1))
    assert errors.count('a run is going on in it') == 2
