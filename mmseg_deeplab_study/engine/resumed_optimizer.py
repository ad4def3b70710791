"""A resumed run's optimiser and schedule: the config's, with what differs from the checkpoint named."""

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mmengine.optim import OptimWrapper, OptimWrapperDict, _ParamScheduler
from mmengine.runner import Runner
from torch import Tensor

from ..models.segmentors import bare_model
from ..runs.header import list_changes

UPDATES = 'updates'  # of a checkpoint
# What a scheduler has come to, not what it was set to; the last three of ReduceOnPlateauLR.
_PROGRESS = ('last_step', 'base_values', 'verbose', 'best', 'num_bad_epochs', 'cooldown_counter')


def accumulated(runner: Runner) -> dict[str, Tensor]:
    """Gradients that wait for the next update, by parameter; none where each iteration updates."""
    parameters = bare_model(runner.model).named_parameters()
    return {name: parameter.grad for name, parameter in parameters if parameter.grad is not None}


def updates(runner: Runner) -> dict[str, Any]:
    """The optimiser's type, and how many iterations accumulate for an update."""
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return {
        'optimizer': ', '.join(type(one.optimizer).__name__ for one in wrappers),
        'counts': max(one._accumulative_counts for one in wrappers),
    }


def resumed_gradients(runner: Runner, checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """What had ``accumulated`` when a checkpoint was saved; nothing if the config accumulates another number.

    Raises:
        ValueError: the checkpoint's optimiser is of another type.
    """
    saved, now = checkpoint.get(UPDATES, {}), updates(runner)
    if saved.get('optimizer', now['optimizer']) != now['optimizer']:
        refuse_optimizer(f'the type {saved["optimizer"]}, the config {now["optimizer"]}')
    gradients = saved.get('gradients', {})
    if gradients and saved['counts'] != now['counts']:
        runner.logger.warning(
            f'the checkpoint lies between updates of {saved["counts"]} accumulated iterations, and the '
            f'config accumulates {now["counts"]}: what had been accumulated is left out'
        )
        return {}
    return gradients


def follow_config(runner: Runner, checkpoint: Mapping[str, Any]) -> None:
    """Put the config's optimiser settings and schedules into a checkpoint that is about to be resumed from.

    MMEngine 0.10.7 restores the checkpoint's, whatever the config says: a schedule made longer keeps its old
    end, and the added iterations a learning rate of 0. Here the config's schedulers are stepped to the
    checkpoint's iteration, which gives the learning rates of a run that had this config from the start; where
    the config is the checkpoint's, nothing changes. What differs is logged. Schedulers that follow a score
    (``ReduceOnPlateauLR``) keep what they have come to, and the values they have set, unless the config's
    initial value is another.

    Raises:
        ValueError: the checkpoint's optimiser is another one, or has other parameter groups.
    """
    iteration, wrapper = checkpoint['meta']['iter'], runner.optim_wrapper
    saved, before = checkpoint.get('optimizer'), checkpoint.get('param_schedulers')
    if saved is None:
        return
    if isinstance(wrapper, OptimWrapperDict):
        schedulers, before = runner.param_schedulers or {}, before or {}
        changes = [
            f'{name}.{change}'
            for name, one in wrapper.items()
            for change in _follow(one, schedulers.get(name, []), saved[name], before.get(name, []), iteration)
        ]
    else:
        changes = _follow(wrapper, runner.param_schedulers or [], saved, before or [], iteration)
    if changes:
        runner.logger.warning(
            f"resumed at iteration {iteration} with other settings than the checkpoint's: "
            f"{list_changes(changes)}. Training takes the config's"
        )


def _follow(
    wrapper: OptimWrapper,
    schedulers: Sequence[_ParamScheduler],
    saved: Mapping[str, Any],
    before: Sequence[dict[str, Any]],
    iteration: int,
) -> list[str]:
    """Change the ``saved`` state of an optimiser and the states of its schedulers ``before``; says how."""
    _check_groups(saved['param_groups'], wrapper.optimizer.param_groups)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of schedulers that step before the optimiser
        for _ in range(iteration):
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
    changes, by_score = [], set()
    if len(before) != len(schedulers):
        changes.append(f'{len(before)} schedulers, now {len(schedulers)}')
    for i, (then, scheduler) in enumerate(zip(before, schedulers, strict=False)):
        now = scheduler.state_dict()
        same = then.keys() == now.keys()
        if not same:
            changes.append(f'param_scheduler.{i} of another type, now {type(scheduler).__name__}')
        changes += [f'param_scheduler.{i}.{change}' for change in _changes(then, now)]
        if same and getattr(scheduler, 'need_val_args', False):
            by_score.add(scheduler.param_name)
            now = {key: value for key, value in now.items() if _is_setting(key)}
        else:
            then.clear()
        then.update(now)
    groups = [*saved['param_groups'], saved.get('base_param_settings', {})]
    for then, group in zip(groups, wrapper.param_groups, strict=False):
        kept = {name for name in by_score if then.get(f'initial_{name}') == group.get(f'initial_{name}')}
        now = {key: value for key, value in group.items() if key not in {'params', *kept}}
        changes += [f'optimizer.{change}' for change in _changes(then, now)]
        then.update(now)
    return changes


def _is_setting(key: str) -> bool:
    return not key.startswith('_') and key not in _PROGRESS


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f'{key} {then[key]}, now {now[key]}'
        for key in now
        if key in then and _is_setting(key) and not _equal(then[key], now[key])
    ]


def _equal(then: Any, now: Any) -> bool:
    if isinstance(then, float) and isinstance(now, float):
        return math.isclose(then, now, rel_tol=1e-9, abs_tol=1e-15)
    # As lists: plain checkpoints may hold one for the other.
    if isinstance(then, tuple | list) and isinstance(now, tuple | list):
        return list(then) == list(now)
    return then == now


def _check_groups(saved: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]]) -> None:
    # A version of torch may have settings that another lacks; another optimiser has some and lacks some.
    then, now = (set().union(*(group.keys() for group in side)) - {'params'} for side in (saved, groups))
    if (only_then := then - now) and (only_now := now - then):
        what = f'settings {_listed(only_then)}, the config an optimiser with {_listed(only_now)}'
    elif (sizes := [len(g['params']) for g in saved]) != (own := [len(g['params']) for g in groups]):
        what = f'{len(sizes)} groups of {sum(sizes)} parameters, the config {len(own)} of {sum(own)}'
    else:
        return
    refuse_optimizer(what)


def refuse_optimizer(what: str) -> None:
    """Raise ValueError; ``what`` says what the checkpoint's optimiser has and what the config's."""
    raise ValueError(
        f"the checkpoint's optimiser has {what}: it cannot be resumed like that. Resume with the config "
        'of the start, or start a new run from these weights: load_from=CHECKPOINT and another --work-dir'
    )


def _listed(names: Collection[str]) -> str:
    return ', '.join(sorted(names))
