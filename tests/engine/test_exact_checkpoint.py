"""A resumed run against the same one uninterrupted, in real runs of a tiny model."""

import copy
import logging
import random
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from uuid import uuid4

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner

from mmseg_deeplab_study.engine import ExactCheckpointHook
from mmseg_deeplab_study.engine.exact_checkpoint import RANDOM_STATES, _Batches
from mmseg_deeplab_study.engine.resumed_optimizer import UPDATES
from mmseg_deeplab_study.runs.history import read_history

pytestmark = pytest.mark.usefixtures('kept_sigterm_handler')


class Witness(Hook):
    """Keeps what training is given and gives."""

    def __init__(self) -> None:
        self.batches, self.losses = {}, {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        pixels = torch.stack(data_batch['inputs']).to(torch.int64)
        # Distinguishes an image from its mirror image, too.
        self.batches[batch_idx + 1] = int((pixels * torch.arange(pixels.shape[-1])).sum())
        self.losses[batch_idx + 1] = outputs['loss'].item()


class Terminate(Hook):
    """Sends SIGTERM to the own process, at a point of a run."""

    priority = 'VERY_HIGH'

    def __init__(self, point: str, iteration: int, image: int = 0) -> None:
        self.point, self.iteration, self.image = point, iteration, image

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._send('train', batch_idx + 1, 0)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._send('val', runner.iter, batch_idx)

    def _send(self, *here) -> None:
        if here == (self.point, self.iteration, self.image):
            # It would end the tests otherwise.
            assert callable(signal.getsignal(signal.SIGTERM))
            signal.raise_signal(signal.SIGTERM)


def train(cfg: Config, *hooks: Hook) -> Runner:
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


def hook(point: str, action: Callable, priority: str = 'NORMAL') -> Hook:
    """A hook that calls a function at one point of a run."""
    made = Hook()
    setattr(made, point, action)
    made.priority = priority
    return made


class Run(NamedTuple):
    work_dir: Path
    batches: dict[int, int]
    losses: dict[int, float]
    weights: dict[str, torch.Tensor]
    rows: list[dict]


def look(runner: Runner, witness: Witness) -> Run:
    rows = [{**row, 'seconds': None} for row in read_history(runner.work_dir).rows]
    weights = {key: value.clone() for key, value in runner.model.state_dict().items()}
    return Run(Path(runner.work_dir), witness.batches, witness.losses, weights, rows)


@pytest.fixture(scope='module')
def config(tmp_path_factory, make_tiny_cityscapes, make_config) -> Callable[[Path], Config]:
    """Configs of runs on the same data, which draw from torch and from NumPy in the main process."""
    folder = tmp_path_factory.mktemp('data')
    # Once: reading it takes as long as a run.
    base = make_config(make_tiny_cityscapes(folder), folder / 'unused')
    assert base.model.decode_head.dropout_ratio > 0 and base.train_dataloader.num_workers == 0
    assert base.default_hooks.checkpoint.type == 'ExactCheckpointHook'
    drawing = [dict(type='RandomFlip', prob=0.5), dict(type='PhotoMetricDistortion')]
    base.train_dataloader.dataset.pipeline[2:2] = drawing
    for loader in (base.train_dataloader, base.val_dataloader):
        # Serialised, a dataset collects all of Python's garbage first.
        loader.dataset.serialize_data = False
    base.default_hooks.checkpoint.update(interval=5, max_keep_ckpts=-1)

    def make(work_dir: Path) -> Config:
        cfg = copy.deepcopy(base)
        cfg.work_dir = str(work_dir)
        return cfg

    return make


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory) -> Run:
    """Ten iterations without an interruption, validated at 0, 5 and 10."""
    witness = Witness()
    return look(train(config(tmp_path_factory.mktemp('whole') / 'work'), witness), witness)


@pytest.fixture
def resume(config, tmp_path) -> Callable[..., Run]:
    """Go on from a checkpoint in a copy of its folder, with the record as it was left."""

    def go_on(checkpoint: Path, *hooks: Hook, make: Callable[[Path], Config] = config) -> Run:
        work_dir = tmp_path / 'resumed'
        shutil.copytree(checkpoint.parent, work_dir)
        cfg, witness = make(work_dir), Witness()
        cfg.resume, cfg.load_from = True, str(work_dir / checkpoint.name)
        return look(train(cfg, witness, *hooks), witness)

    return go_on


def assert_same_end(run: Run, whole: Run, since: int) -> None:
    later = range(since + 1, 11)
    assert run.batches == {i: whole.batches[i] for i in later}
    assert run.losses == {i: whole.losses[i] for i in later}
    assert list(run.weights) == list(whole.weights)
    for key, value in run.weights.items():
        assert value.equal(whole.weights[key]), key
    assert run.rows == whole.rows


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def states_in(folder: Path | str, iteration: int) -> dict:
    """The random states of the one process in a run's checkpoint."""
    states = load(Path(folder) / f'iter_{iteration}.pth')[RANDOM_STATES]
    assert isinstance(states, list) and len(states) == 1
    return states[0]


def spoil(checkpoint: Path, folder: Path, key: str, change: Callable[[object], object]) -> Path:
    """The checkpoint in a copy of its folder, with one entry changed, or left out where that gives None."""
    shutil.copytree(checkpoint.parent, folder)
    content = load(checkpoint)
    changed = change(content.pop(key))
    torch.save(content if changed is None else content | {key: changed}, folder / checkpoint.name)
    return folder / checkpoint.name


class Look(Hook):
    """Keeps the weights that a run starts with, what is saved by the first validation, and the handlers."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.saved, self.handlers = None, []

    def before_train(self, runner) -> None:
        self.weights = {key: value.clone() for key, value in runner.model.state_dict().items()}
        self.handlers.append(signal.getsignal(signal.SIGTERM))

    def before_val_epoch(self, runner) -> None:
        if self.saved is None:
            self.saved = sorted(path.name for path in Path(runner.work_dir).glob('*.pth'))

    def after_run(self, runner) -> None:
        self.handlers.append(signal.getsignal(signal.SIGTERM))


@pytest.fixture(scope='module')
def short(config, tmp_path_factory) -> tuple[Look, Path]:
    """A run of one iteration."""
    cfg, seen = config(tmp_path_factory.mktemp('short') / 'work'), Look()
    cfg.train_cfg.max_iters = 1
    # What torch refuses to load.
    score = {'score': np.float64(1.5)}
    add = hook('before_save_checkpoint', lambda _, checkpoint: checkpoint.update(added=score), 'VERY_LOW')
    train(cfg, add, seen)
    return seen, Path(cfg.work_dir)


def test_iteration_0_is_saved_before_anything_is_validated_or_trained(short):
    seen, work_dir = short
    assert seen.saved == ['iter_0.pth']
    checkpoint = load(work_dir / 'iter_0.pth')
    assert checkpoint['meta']['iter'] == 0
    for key, value in checkpoint['state_dict'].items():
        assert value.equal(seen.weights[key]), key
    assert (work_dir / 'last_checkpoint').read_text().endswith('iter_1.pth')


def test_what_other_hooks_add_is_made_plain(short):
    score = load(short[1] / 'iter_1.pth')['added']['score']
    assert type(score) is float and score == 1.5


def test_sigterm_ends_the_process_again_after_training(short):
    during, after = short[0].handlers
    assert callable(during) and during is not signal.SIG_DFL
    assert after is signal.SIG_DFL


def test_checkpoints_hold_the_states_of_one_process(whole):
    assert sorted(path.name for path in whole.work_dir.glob('*.pth')) == [f'iter_{i}.pth' for i in (0, 10, 5)]
    first, second, last = (states_in(whole.work_dir, i) for i in (0, 5, 10))
    assert all({'python', 'numpy', 'torch'} <= set(states) for states in (first, second, last))
    # Dropout draws from torch, augmentation from NumPy.
    assert not first['torch'].equal(second['torch'])
    keys, position = zip(first['numpy'][1:3], second['numpy'][1:3], strict=True)
    assert not keys[0].equal(keys[1]) or position[0] != position[1]


def draw(_: Runner) -> None:
    random.random()
    np.random.rand(3)
    torch.rand(3)


@pytest.mark.slow
@pytest.mark.parametrize(('iteration', 'hooks'), [(0, []), (5, [hook('before_train', draw)])], ids=['0', '5'])
def test_resumed_run_ends_bit_for_bit_as_the_uninterrupted_one(resume, whole, warnings, iteration, hooks):
    run = resume(whole.work_dir / f'iter_{iteration}.pth', *hooks)
    assert_same_end(run, whole, since=iteration)
    assert not [message for message in warnings if 'random' in message]
    resumed, states = states_in(run.work_dir, 10), states_in(whole.work_dir, 10)
    assert resumed['torch'].equal(states['torch'])
    assert resumed['python'] == states['python']
    assert resumed['numpy'][1].equal(states['numpy'][1]) and resumed['numpy'][2:] == states['numpy'][2:]


@pytest.mark.parametrize(
    ('states', 'had'), [(lambda given: None, 0), (lambda given: given * 2, 2)], ids=['none', 'two']
)
def test_states_that_do_not_fit_only_warn(resume, whole, tmp_path, warnings, states, had):
    run = resume(spoil(whole.work_dir / 'iter_5.pth', tmp_path / 'spoilt', RANDOM_STATES, states))
    (message,) = [message for message in warnings if 'random states' in message]
    assert re.search(f'random states of {had} processes, expected 1: .* not exactly as it would', message)
    assert sorted(run.losses) == list(range(6, 11))
    # That these runs draw at all, and that the tests above would notice.
    assert run.losses[6] != whole.losses[6]
    assert len(load(run.work_dir / 'iter_10.pth')[RANDOM_STATES]) == 1


def test_states_of_a_source_checkpoint_are_another_runs(config, whole, tmp_path):
    """Loaded and not resumed from, it gives weights alone; the draws are those of a run without it."""
    cfg, witness = config(tmp_path / 'work'), Witness()
    cfg.load_from, cfg.train_cfg.max_iters = str(whole.work_dir / 'iter_5.pth'), 1
    train(cfg, witness)
    states, expected = states_in(cfg.work_dir, 0), states_in(whole.work_dir, 0)
    assert states['torch'].equal(expected['torch'])
    assert states['numpy'][1].equal(expected['numpy'][1]) and states['numpy'][2:] == expected['numpy'][2:]
    assert witness.batches == {1: whole.batches[1]}
    assert witness.losses[1] != whole.losses[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('point', 'iteration', 'image', 'saved'),
    # In training, when iteration 7 is done; in validation, at once; at the last image, all the same.
    [('train', 7, 0, 7), ('val', 0, 0, 0), ('val', 5, 1, 5), ('val', 10, 2, 10)],
)
def test_terminated_run_ends_with_143_and_goes_on_as_if_it_had_not(
    config, resume, whole, tmp_path, warnings, point, iteration, image, saved
):
    cfg = config(tmp_path / 'work')
    with pytest.raises(SystemExit) as caught:
        train(cfg, Terminate(point, iteration, image))
    assert caught.value.code == 128 + signal.SIGTERM == 143
    assert f'SIGTERM: saved iteration {saved} and ended; resume with --resume' in warnings
    names = sorted(path.name for path in Path(cfg.work_dir).glob('*.pth'))
    assert names == sorted(f'iter_{i}.pth' for i in {0, 5, saved, 10} if i <= saved)
    assert load(tmp_path / f'work/iter_{saved}.pth')['meta']['iter'] == saved
    # A validation that was cut off has no row yet.
    rows = [row['iter'] for row in read_history(cfg.work_dir).rows]
    assert rows == [i for i in (0, 5, 10) if i < iteration]
    run = resume(tmp_path / f'work/iter_{saved}.pth')
    assert_same_end(run, whole, since=saved)


@pytest.fixture(scope='module')
def accumulating(config) -> Callable[[Path], Config]:
    """Configs of ten iterations that update at 4, 8 and 10, saved at 3, 6, 9 and 10."""

    def make(work_dir: Path) -> Config:
        cfg = config(work_dir)
        cfg.optim_wrapper.accumulative_counts = 4
        cfg.default_hooks.checkpoint.interval = 3
        return cfg

    return make


@pytest.fixture(scope='module')
def accumulated(accumulating, tmp_path_factory) -> Run:
    witness = Witness()
    return look(train(accumulating(tmp_path_factory.mktemp('sum') / 'work'), witness), witness)


def test_gradients_are_saved_between_updates_alone(accumulated):
    folder = accumulated.work_dir
    names = {i: set(load(folder / f'iter_{i}.pth')[UPDATES]['gradients']) for i in (0, 3, 6, 9, 10)}
    assert not names[0] and not names[10]
    trained = {key for key in load(folder / 'iter_3.pth')['state_dict'] if key.endswith('conv_seg.weight')}
    assert names[3] == names[6] == names[9] and trained <= names[3]


@pytest.mark.slow
@pytest.mark.parametrize('iteration', [3, 9])
def test_run_resumed_between_updates_ends_as_the_uninterrupted_one(
    resume, accumulating, accumulated, iteration
):
    run = resume(accumulated.work_dir / f'iter_{iteration}.pth', make=accumulating)
    assert_same_end(run, accumulated, since=iteration)


@pytest.mark.slow
def test_run_terminated_between_updates_goes_on_as_if_it_had_not(resume, accumulating, accumulated, tmp_path):
    with pytest.raises(SystemExit):
        train(accumulating(tmp_path / 'work'), Terminate('train', 7))
    assert_same_end(resume(tmp_path / 'work/iter_7.pth', make=accumulating), accumulated, since=7)


def test_what_had_accumulated_for_another_number_is_left_out(resume, accumulating, accumulated, warnings):
    def fewer(work_dir: Path) -> Config:
        cfg = accumulating(work_dir)
        cfg.optim_wrapper.accumulative_counts, cfg.train_cfg.max_iters = 2, 4
        return cfg

    resume(accumulated.work_dir / 'iter_3.pth', make=fewer)
    said = 'between updates of 4 accumulated iterations, and the config accumulates 2'
    assert any(said in message for message in warnings)


def test_an_optimiser_of_another_type_is_another(resume, whole, tmp_path):
    """Adam's settings and RAdam's differ in what Adam has besides, as those of two versions of torch do."""
    checkpoint = whole.work_dir / 'iter_5.pth'
    checkpoint = spoil(checkpoint, tmp_path / 'spoilt', UPDATES, lambda given: given | {'optimizer': 'RAdam'})
    message = "checkpoint's optimiser has the type RAdam, the config SGD: it cannot"
    with pytest.raises(ValueError, match=message):
        resume(checkpoint)


@pytest.mark.slow
def test_a_schedule_that_has_ended_is_said(config, tmp_path, warnings):
    cfg = config(tmp_path / 'work')
    cfg.param_scheduler[0].end = cfg.train_cfg.max_iters = 5
    train(cfg)
    cfg.train_cfg.max_iters, cfg.resume, cfg.load_from = 7, True, str(tmp_path / 'work/iter_5.pth')
    train(cfg)
    (message,) = [message for message in warnings if 'learning rate of 0' in message]
    assert message.startswith('resumed at iteration 5 of 7 with a learning rate of 0: the schedule has ended')


def test_a_finished_run_says_so_and_loads_nothing(resume, whole, warnings):
    def fail_if_a_batch_is_loaded(runner: Runner) -> None:
        runner.train_loop.dataloader_iterator = iter(())

    run = resume(whole.work_dir / 'iter_10.pth', hook('before_train', fail_if_a_batch_is_loaded, 'VERY_HIGH'))
    assert not run.batches and run.rows == whole.rows
    assert warnings[-1] == (
        'The run is at its end, at iteration 10 of train_cfg.max_iters=10: nothing was left to train. To '
        'train on, raise max_iters and the end of param_scheduler'
    )


@pytest.mark.parametrize('scores', [['mIoU'], ['mIoU', 'aAcc']], ids=len)
@pytest.mark.parametrize('out_dir', [None, 'checkpoints'])
def test_a_copied_run_replaces_its_own_best_checkpoint_alone(tmp_path, monkeypatch, out_dir, scores):
    monkeypatch.chdir(tmp_path)
    folders = [Path(out_dir or tmp_path, name) for name in ('a', 'b')]
    for folder in folders:
        folder.mkdir(parents=True)
        for score in scores:
            (folder / f'best_{score}_iter_5.pth').touch()
    hub = MessageHub.get_instance(uuid4().hex)
    for score in scores:
        end = f'_{score}' if len(scores) > 1 else ''
        hub.update_info(f'best_ckpt{end}', str(folders[0] / f'best_{score}_iter_5.pth'))
        hub.update_info(f'best_score{end}', 20.0)
    hub.update_info('last_ckpt', str(folders[0] / 'iter_5.pth'))
    checkpoints = ExactCheckpointHook(by_epoch=False, save_best=scores, out_dir=out_dir)
    runner = SimpleNamespace(
        work_dir=str(tmp_path / 'b'),
        logger=logging.getLogger('test'),
        message_hub=hub,
        train_loop=None,
        iter=10,
        epoch=0,
        save_checkpoint=lambda folder, filename, *_, **__: Path(folder, filename).touch(),
    )
    checkpoints.before_train(runner)
    assert Path(hub.get_info('last_ckpt')) == Path(checkpoints.out_dir, 'iter_5.pth')
    checkpoints.after_val_epoch(runner, {'mIoU': 30.0, 'aAcc': 40.0})
    for folder, iteration in zip(folders, (5, 10), strict=True):
        assert {path.name for path in folder.iterdir()} == {f'best_{s}_iter_{iteration}.pth' for s in scores}


def test_former_batches_are_played_where_the_fork_would_skip_them():
    played = []
    batches = _Batches(played.append(number) or number for number in range(5))
    batches.skip_iter(3)
    assert next(batches) == 3
    assert played == [0, 1, 2, 3]
