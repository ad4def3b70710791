"""What a resumed run takes from its config and what from its checkpoint."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from mmseg_deeplab_study.engine.resumed_optimizer import follow_config

POLY = dict(type='PolyLR', power=0.9, eta_min=0, begin=0, end=10, by_epoch=False)
COSINE = dict(type='CosineAnnealingLR', T_max=10, by_epoch=False)


def make_runner(optimizer: dict | None = None, schedulers: list[dict] | None = None, **wrapper):
    model = nn.ModuleDict(dict(backbone=nn.Linear(2, 2), decode_head=nn.Linear(2, 2)))
    sgd = dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4) | (optimizer or {})
    config = dict(optimizer=sgd, paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))))
    optim = build_optim_wrapper(model, config | wrapper)
    given = [POLY] if schedulers is None else schedulers
    schedulers = [PARAM_SCHEDULERS.build(scheduler | dict(optimizer=optim)) for scheduler in given]
    return SimpleNamespace(model=model, optim_wrapper=optim, param_schedulers=schedulers, logger=Mock())


def train(runner, iterations: int) -> list[list[float]]:
    """The learning rates of some updates."""
    rates = []
    for _ in range(iterations):
        rates.append([group['lr'] for group in runner.optim_wrapper.optimizer.param_groups])
        runner.optim_wrapper.update_params(sum(p.square().sum() for p in runner.model.parameters()))
        for scheduler in runner.param_schedulers:
            if not scheduler.by_epoch:
                scheduler.step()
    return rates


def save(runner, iteration: int) -> dict:
    return dict(
        meta=dict(iter=iteration),
        optimizer=runner.optim_wrapper.state_dict(),
        param_schedulers=[scheduler.state_dict() for scheduler in runner.param_schedulers],
    )


def resume(runner, checkpoint: dict) -> str:
    """As MMEngine does behind the hook; returns what was warned of."""
    follow_config(runner, checkpoint)
    runner.optim_wrapper.load_state_dict(checkpoint['optimizer'])
    for scheduler, state in zip(runner.param_schedulers, checkpoint['param_schedulers'], strict=False):
        scheduler.load_state_dict(state)
    return ' '.join(call.args[0] for call in runner.logger.warning.call_args_list)


def test_same_config_goes_on_as_before_and_without_a_word():
    whole, first, second = make_runner(), make_runner(), make_runner()
    rates = train(whole, 10)
    train(first, 4)
    assert resume(second, save(first, 4)) == ''
    assert train(second, 6) == rates[4:]


def test_schedule_made_longer_is_followed_and_named():
    longer = [POLY | dict(end=20)]
    whole, first, second = make_runner(schedulers=longer), make_runner(), make_runner(schedulers=longer)
    rates = train(whole, 20)
    train(first, 10)
    assert first.optim_wrapper.optimizer.param_groups[-1]['lr'] == 0
    message = resume(second, save(first, 10))
    assert train(second, 10) == rates[10:]
    assert message.startswith("resumed at iteration 10 with other settings than the checkpoint's: ")
    assert 'param_scheduler.0.end 10, now 20' in message
    assert message.endswith("Training takes the config's")


@pytest.mark.parametrize(
    ('options', 'named', 'key', 'value'),
    [
        (dict(lr=0.2), 'optimizer.initial_lr 0.1, now 0.2', 'initial_lr', 0.2),
        (dict(weight_decay=0.5), 'optimizer.weight_decay 0.0001, now 0.5', 'weight_decay', 0.5),
        (dict(momentum=0.5), 'optimizer.momentum 0.9, now 0.5', 'momentum', 0.5),
        (dict(nesterov=True), 'optimizer.nesterov False, now True', 'nesterov', True),
    ],
)
def test_settings_of_the_optimiser_are_followed_and_named(options, named, key, value):
    first, second = make_runner(), make_runner(options)
    train(first, 4)
    assert named in resume(second, save(first, 4))
    assert second.optim_wrapper.optimizer.param_groups[-1][key] == value
    # What it has come to is the checkpoint's.
    states = [runner.optim_wrapper.optimizer.state_dict()['state'] for runner in (first, second)]
    assert states[0][0]['momentum_buffer'].equal(states[1][0]['momentum_buffer'])


def test_learning_rate_without_a_schedule_is_the_configs():
    first, second = make_runner(schedulers=[]), make_runner(dict(lr=0.2), [])
    train(first, 4)
    assert 'optimizer.lr 0.1, now 0.2' in resume(second, save(first, 4))
    assert {round(rate, 12) for rate in train(second, 1)[0]} == {0.02, 0.2}


@pytest.mark.parametrize(
    ('schedulers', 'named'),
    [
        ([dict(type='LinearLR', start_factor=0.1, end=6, by_epoch=False), POLY], '1 schedulers, now 2'),
        ([], '1 schedulers, now 0'),
        ([COSINE], 'param_scheduler.0 of another type, now Cosine'),
    ],
)
def test_other_schedules_are_followed_and_named(schedulers, named):
    first, second = make_runner(), make_runner(schedulers=schedulers)
    rates = train(make_runner(schedulers=schedulers), 9)
    train(first, 4)
    assert named in resume(second, save(first, 4))
    assert train(second, 5) == rates[4:]


PLATEAU = dict(type='ReduceOnPlateauLR', monitor='mIoU', rule='greater', patience=1, factor=0.5)


def fallen():
    """A run of 4 iterations whose learning rate has fallen from 0.1 to 0.05 for want of a better score."""
    runner = make_runner(schedulers=[PLATEAU])
    for _ in range(3):
        runner.param_schedulers[0].step(dict(mIoU=1.0))
    train(runner, 4)
    return runner


def test_schedule_by_score_is_restored():
    first, second = fallen(), make_runner(schedulers=[PLATEAU])
    assert resume(second, save(first, 4)) == ''
    assert train(second, 1)[0][-1] == train(first, 1)[0][-1] == 0.05
    assert second.param_schedulers[0].best == 1.0


def test_settings_of_a_schedule_by_score_are_followed_and_named():
    second = make_runner(schedulers=[PLATEAU | dict(factor=0.1, patience=7)])
    message = resume(second, save(fallen(), 4))
    assert 'param_scheduler.0.factor 0.5, now 0.1' in message and '0.patience 1, now 7' in message
    (scheduler,) = second.param_schedulers
    assert (scheduler.factor, scheduler.patience, scheduler.best) == (0.1, 7, 1.0)
    assert train(second, 1)[0][-1] == 0.05


def test_another_learning_rate_beside_a_schedule_by_score_is_followed():
    second = make_runner(dict(lr=0.2), [PLATEAU])
    assert 'optimizer.initial_lr 0.1, now 0.2' in resume(second, save(fallen(), 4))
    assert train(second, 1)[0][-1] == 0.2


def test_schedule_by_score_in_place_of_another_begins_anew():
    first, second = make_runner(), make_runner(schedulers=[PLATEAU])
    train(first, 10)
    assert 'param_scheduler.0 of another type, now ReduceOnPlateauLR' in resume(second, save(first, 10))
    assert train(second, 1)[0][-1] == 0.1
    second.param_schedulers[0].step(dict(mIoU=1.0))


def test_several_optimisers():
    names, longer = ('head', 'body'), [POLY | dict(end=20)]
    first, second = [make_runner(), make_runner()], [make_runner(), make_runner(schedulers=longer)]
    checkpoint = dict(meta=dict(iter=10), optimizer={}, param_schedulers={})
    for name, runner in zip(names, first, strict=True):
        train(runner, 10)
        state = save(runner, 10)
        checkpoint['optimizer'][name] = state['optimizer']
        checkpoint['param_schedulers'][name] = state['param_schedulers']
    both = SimpleNamespace(
        optim_wrapper=OptimWrapperDict(**{n: r.optim_wrapper for n, r in zip(names, second, strict=True)}),
        param_schedulers={n: r.param_schedulers for n, r in zip(names, second, strict=True)},
        logger=Mock(),
    )
    follow_config(both, checkpoint)
    (message,) = both.logger.warning.call_args.args
    assert 'body.param_scheduler.0.end 10, now 20' in message and 'head.' not in message


def test_another_optimiser_is_refused():
    first, second = make_runner(), make_runner(schedulers=[])
    second.optim_wrapper = OptimWrapper(torch.optim.AdamW(second.model.parameters(), lr=0.1))
    train(first, 2)
    message = (
        "checkpoint's optimiser has settings dampening, .*nesterov, the config an optimiser with amsgrad"
    )
    with pytest.raises(ValueError, match=message):
        follow_config(second, save(first, 2))


def test_other_parameter_groups_are_refused():
    first, second = make_runner(), make_runner(paramwise_cfg=None)
    train(first, 2)
    message = 'has 4 groups of 4 parameters, the config 1 of 4: it cannot be resumed'
    with pytest.raises(ValueError, match=message):
        follow_config(second, save(first, 2))


def test_settings_that_a_version_of_torch_lacks_are_no_other_optimiser():
    first, second = make_runner(), make_runner()
    train(first, 2)
    checkpoint = save(first, 2)
    for group in checkpoint['optimizer']['param_groups']:
        del group['foreach']
    assert resume(second, checkpoint) == ''
