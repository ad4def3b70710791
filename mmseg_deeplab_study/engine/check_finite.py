"""End a training that has failed numerically."""

import math
from collections.abc import Mapping
from typing import Any

from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor

from .bfloat16 import BFloat16OptimWrapper


@HOOKS.register_module()
class CheckFiniteHook(Hook):
    """End training at a loss or weights that are not finite.

    A finite loss leaves such weights if its gradient overflows. Record and checkpoints stay as they are.

    Raises:
        FloatingPointError: names the iteration, the learning rate and what to try.
    """

    # Before the next learning rate is set (LOW), and before the checkpoint is saved (LOWEST).
    priority = 'ABOVE_NORMAL'

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """Check the loss."""
        loss = (outputs or {}).get('loss')
        if loss is None:
            return
        if get_world_size() > 1:
            # One loss that is not finite makes the sum so: all ranks end together.
            all_reduce(loss := loss.detach().clone())
        if not math.isfinite(loss := loss.item()):
            _end(runner, batch_idx + 1, f'the loss is {loss}')

    def before_train(self, runner: Runner) -> None:
        """Check the weights that were loaded."""
        _check_weights(runner, runner.model.state_dict(), runner.iter)

    def before_val(self, runner: Runner) -> None:
        """Check the weights that are about to be validated."""
        _check_weights(runner, runner.model.state_dict(), runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights that are about to be saved."""
        _check_weights(runner, checkpoint['state_dict'], checkpoint['meta']['iter'])


def _check_weights(runner: Runner, weights: Mapping[str, Tensor], iteration: int) -> None:
    for name, value in weights.items():
        # An attention mask may be -inf for good.
        if value.is_floating_point() and (value.isnan() | (value == math.inf)).any():
            if iteration == 0:
                raise FloatingPointError(
                    f'{name} is not finite before training: load_from or an init_cfg names the checkpoint '
                    'of a failed run; give another'
                )
            _end(runner, iteration, f'{name} is not finite')


def _end(runner: Runner, iteration: int, what: str) -> None:
    wrapper = runner.optim_wrapper
    # Of several optimisers by name, 'generator.lr'.
    rates = [rate for name, some in wrapper.get_lr().items() if name.split('.')[-1] == 'lr' for rate in some]
    amp = ', or no --amp' if isinstance(wrapper, AmpOptimWrapper | BFloat16OptimWrapper) else ''
    raise FloatingPointError(
        f'iteration {iteration}: {what}, at learning rates up to {max(rates):g}. Try a lower '
        f'optim_wrapper.optimizer.lr, a warm-up, optim_wrapper.clip_grad=dict(max_norm=10){amp}. '
        f'The record and checkpoints in {runner.work_dir} are from before'
    )
