"""Losses and weights that are not finite, in real runs of a tiny model."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_deeplab_study.engine import check_finite
from mmseg_deeplab_study.engine.check_finite import _check_weights
from mmseg_deeplab_study.runs.history import read_history


class Spoil(Hook):
    """Makes something infinite once some updates are done."""

    priority = 'VERY_HIGH'

    def __init__(self, what: str, iteration: int) -> None:
        self.what, self.iteration = what, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.what == 'images' and batch_idx == self.iteration:
            data_batch['inputs'] = [image.float() * float('nan') for image in data_batch['inputs']]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.what == 'weights' and batch_idx + 1 == self.iteration:
            runner.model.decode_head.conv_seg.weight.data[3] = float('inf')


@pytest.fixture
def run(config):
    """Trains with something spoilt."""

    def train(what: str, iteration: int, **options) -> None:
        config.merge_from_dict({'default_hooks.checkpoint.interval': 5, **options})
        runner = Runner.from_cfg(config)
        runner.register_hook(Spoil(what, iteration))
        runner.train()

    return train


def test_loss_that_is_not_finite_ends_training_with_the_record_intact(run, tmp_path):
    message = (
        r'^iteration 7: the loss is nan, at learning rates up to 0\.04\d+\. Try a lower '
        r'optim_wrapper\.optimizer\.lr, a warm-up, optim_wrapper\.clip_grad=\S+\. The record and checkpoints '
        'in .* are from before$'
    )
    with pytest.raises(FloatingPointError, match=message):
        run('images', 6)
    assert [row['iter'] for row in read_history(tmp_path / 'work').rows] == [0, 5]
    assert sorted(path.name for path in (tmp_path / 'work').glob('*.pth')) == ['iter_0.pth', 'iter_5.pth']


@pytest.mark.parametrize(
    ('iteration', 'interval', 'saved'),
    # They are looked at before a validation too.
    [(5, 5, ['iter_0.pth']), (10, 5, ['iter_0.pth', 'iter_5.pth']), (5, 1000, ['iter_0.pth'])],
)
def test_weights_that_are_not_finite_are_not_kept(run, tmp_path, iteration, interval, saved):
    """The loss is finite to the end: they come with the last update before a validation."""
    message = f'^iteration {iteration}: decode_head.conv_seg.weight is not fin'
    with pytest.raises(FloatingPointError, match=message):
        run('weights', iteration, **{'default_hooks.checkpoint.interval': interval})
    assert sorted(path.name for path in (tmp_path / 'work').glob('*.pth')) == saved
    assert max(row['iter'] for row in read_history(tmp_path / 'work').rows) == iteration - 5


def test_checkpoint_of_a_run_that_failed_is_refused(run, tmp_path, write_trained, make_config):
    path = tmp_path / 'spoilt.pth'
    checkpoint = write_trained(make_config(tmp_path, tmp_path), path)
    checkpoint['state_dict']['decode_head.conv_seg.bias'][0] = float('nan')
    torch.save(checkpoint, path)
    message = 'decode_head.conv_seg.bias is not finite before training: load_from or .* give another'
    with pytest.raises(FloatingPointError, match=message):
        run('nothing', 0, load_from=str(path))


def test_amp_is_named_where_it_is_on(run):
    with pytest.raises(FloatingPointError, match='or no --amp'):
        run('images', 1, **{'optim_wrapper.type': 'BFloat16OptimWrapper'})


def test_a_loss_of_another_rank_ends_this_one_too(monkeypatch):
    """The sum over ranks is looked at, and the loss itself left as it is."""
    monkeypatch.setattr(check_finite, 'get_world_size', lambda: 2)
    monkeypatch.setattr(check_finite, 'all_reduce', lambda loss: loss.add_(float('nan')))
    wrapper = SimpleNamespace(get_lr=lambda: {'lr': [0.1]})
    runner, loss = SimpleNamespace(optim_wrapper=wrapper, work_dir='work'), torch.tensor(0.5)
    message = '^iteration 3: the loss is nan, at learning rates up to 0.1'
    with pytest.raises(FloatingPointError, match=message):
        check_finite.CheckFiniteHook().after_train_iter(runner, 2, outputs={'loss': loss})
    assert loss == 0.5


def test_a_mask_of_minus_infinity_is_no_failure():
    mask = torch.full((2, 2), float('-inf'))
    _check_weights(SimpleNamespace(), {'decode_head.mask': mask}, 0)
    with pytest.raises(FloatingPointError, match='decode_head.mask is not finite'):
        _check_weights(SimpleNamespace(), {'decode_head.mask': -mask}, 0)
