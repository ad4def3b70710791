"""Configs that name the hooks which ``ExactCheckpointHook`` has replaced."""

from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from mmseg_deeplab_study.engine import ExactCheckpointHook
from mmseg_deeplab_study.engine.preflight import warn_of_checkpoints


class OwnCheckpointHook(CheckpointHook):
    """What a project of its own may have."""


@pytest.fixture
def former(config) -> Config:
    config.default_hooks.checkpoint.type = 'CheckpointHook'
    config.default_hooks.plain_checkpoint = dict(type='PlainCheckpointHook')
    config.default_hooks.exact_resume = dict(type='ExactResumeHook')
    return config


def test_say_what_to_set_and_give_its_checkpoints(former, warnings):
    runner = Runner.from_cfg(former)
    runner.call_hook('before_run')
    assert [message for message in warnings if 'deprecated' in message] == [
        f"{name} is deprecated: leave it out, and set default_hooks.checkpoint.type='ExactCheckpointHook'"
        for name in ('PlainCheckpointHook', 'ExactResumeHook')
    ]
    (hook,) = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    assert type(hook) is ExactCheckpointHook and hook is runner.hooks[-1]
    assert (hook.interval, hook.by_epoch, hook.max_keep_ckpts) == (10, False, 3)
    assert hook.backend_args == dict(backend='atomic')


def test_leave_the_hook_that_has_replaced_them(former):
    former.default_hooks.checkpoint.type = 'ExactCheckpointHook'
    runner = Runner.from_cfg(former)
    before = list(runner.hooks)
    runner.call_hook('before_run')
    assert runner.hooks == before


def test_no_other_hook_is_left_out(former):
    """Although the Runner goes through its hooks while one of them is replaced."""
    called = []
    former.default_hooks.exact_resume.priority = 'LOWEST'
    runner = Runner.from_cfg(former)
    last = Hook()
    last.before_run = called.append
    runner.register_hook(last, 'LOWEST')
    runner.call_hook('before_run')
    assert called == [runner]


def test_refuse_a_hook_whose_own_part_would_be_lost(former):
    former.default_hooks.checkpoint.type = OwnCheckpointHook
    message = 'Hook got OwnCheckpointHook, expected CheckpointHook: derive yours from Exact'
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(former).call_hook('before_run')


def test_epochs_have_plain_checkpoints_too(former, warnings):
    del former.default_hooks.exact_resume
    epochs = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1)
    loader, checkpoints = dict(sampler=dict(type='DefaultSampler')), dict(by_epoch=True, interval=1)
    former.merge_from_dict(dict(custom_hooks=[], train_dataloader=loader, train_cfg=epochs))
    former.merge_from_dict(dict.fromkeys(('val_dataloader', 'val_cfg', 'val_evaluator')))
    former.default_hooks.checkpoint.update(checkpoints)
    Runner.from_cfg(former).train()
    checkpoint = Path(former.work_dir) / 'epoch_1.pth'
    assert torch.load(checkpoint, weights_only=True)['meta']['epoch'] == 1
    former.train_cfg.max_epochs, former.resume, former.load_from = 2, True, str(checkpoint)
    runner = Runner.from_cfg(former)
    runner.train()
    assert (runner.epoch, runner.iter) == (2, 4)
    said = "got EpochBasedTrainLoop: a resume is exact with train_cfg.type='IterBasedTrainLoop' alone"
    assert sum(said in message for message in warnings) == 2


@pytest.mark.parametrize(('kind', 'count'), [(OwnCheckpointHook, 1), (ExactCheckpointHook, 0)])
def test_a_recorded_run_warns_of_another_checkpoint_hook(kind, count):
    runner = Mock(hooks=[kind(interval=5)])
    warn_of_checkpoints(runner)
    assert runner.logger.warning.call_count == count
    said = 'default_hooks.checkpoint is a OwnCheckpointHook, expected an ExactCheckpointHook'
    assert all(said in call.args[0] for call in runner.logger.warning.call_args_list)
