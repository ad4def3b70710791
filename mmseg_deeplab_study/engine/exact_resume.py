"""A resumed run goes on exactly where the interrupted one was."""

import itertools
import multiprocessing.util
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from mmengine.dist import all_gather_object, all_reduce, broadcast, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor

from ..models.segmentors import bare_model
from ..runs.random_states import random_states, restore_random_states
from ..runs.resuming import is_resuming, loaded_from
from .resumed_optimizer import follow_config, refuse_optimizer
from .schedule import require_iterations

KEY = 'random_states'
UPDATES = 'updates'
# One request may come as two signals: `timeout` sends its command one, and its process group another.
_ONE_REQUEST = 1.0  # seconds


def replay(batches: Iterator[Any], steps: int, then: Callable[[], None]) -> Iterator[Any]:
    """The same batches, with ``then`` called between the first ``steps`` and the others."""
    for _ in range(steps):
        yield next(batches)
    then()
    while True:
        yield next(batches)


def obey_parent_alone() -> None:
    """In a forked child: let SIGTERM pass, unless the parent sends it, as to end a data loader's worker.

    What ends a whole process group, as `timeout` and SLURM do, would take the workers from a run that is to
    save a checkpoint first. Ctrl-C needs no such thing: a run ends by it without one.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Make an interrupted and resumed run the same as an uninterrupted one.

    MMEngine 0.10.7 saves no random states, so that dropout and, without workers, augmentation diverge after a
    resume; and before the first checkpoint there is nothing to resume from. This hook

    - puts the random states of every rank into each checkpoint, and on resume sets them once MMEngine has
      played the data loader forward to where it was;
    - puts the gradients that have accumulated for the next update into each checkpoint, those of several
      ranks as their mean, which is what the update takes;
    - gives every rank the main process's buffers (batch-norm statistics) before validating and saving;
    - on resume follows the config's schedules and optimiser settings, as ``follow_config`` says;
    - has ``CheckpointHook`` save iteration 0, before anything is trained;
    - on SIGTERM, also to the whole process group, saves a checkpoint and ends with status 143 (in one
      process; a distributed run ends at once). For the group workers must be forked, as they are by default.

    Exact is what the hardware computes the same way twice: on CUDA that needs
    ``randomness=dict(deterministic=True)``. A resume with another number of ranks goes on with new random
    states and says so.
    """

    # Before AdaptationHook (ABOVE_NORMAL) records iteration 0, and CheckpointHook (VERY_LOW) saves.
    priority = 'HIGH'

    def __init__(self) -> None:
        self._states: list[dict[str, Any]] | None = None
        self._gradients: dict[str, Tensor] = {}
        self._shared_at: int | None = None
        self._resumed_at: int | None = None
        self._begun = False
        self._terminated_at: float | None = None
        if _is_alone() and hasattr(signal, 'sigwaitinfo'):
            # Here, as the train loop forks its workers before any hook is called. For as long as this lives.
            multiprocessing.util.register_after_fork(self, lambda hook: obey_parent_alone())

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        # A source checkpoint has random states too, of another run.
        if is_resuming(runner):
            self._states = checkpoint.get(KEY)
            self._resumed_at = self._shared_at = checkpoint['meta']['iter']
            if self._states is None or len(self._states) != get_world_size():
                had = 'none' if self._states is None else f'those of {len(self._states)} processes'
                runner.logger.warning(
                    f'the checkpoint has random states of {get_world_size()} processes expected, but {had} '
                    'found: training goes on with new ones, and not exactly as it would have'
                )
                self._states = None
            self._resume_updates(runner, checkpoint)

    def _resume_updates(self, runner: Runner, checkpoint: dict) -> None:
        saved, now = checkpoint.get(UPDATES, {}), _updates(runner)
        if saved.get('optimizer', now['optimizer']) != now['optimizer']:
            refuse_optimizer(f'the type {saved["optimizer"]}, the config {now["optimizer"]}')
        self._gradients = saved.get('gradients', {})
        if self._gradients and saved['counts'] != now['counts']:
            runner.logger.warning(
                f'the checkpoint lies between updates of {saved["counts"]} accumulated iterations, and the '
                f'config accumulates {now["counts"]}: what had been accumulated is left out'
            )
            self._gradients = {}
        follow_config(runner, checkpoint)

    def before_train(self, runner: Runner) -> None:
        require_iterations(runner, self)
        if self._resumed_at is not None and runner.iter < runner.max_iters:
            rates = [rate for some in runner.optim_wrapper.get_lr().values() for rate in some]
            if not any(rates):
                runner.logger.warning(
                    f'resumed at iteration {runner.iter} of {runner.max_iters} with a learning rate of 0: '
                    'the schedule has ended, and nothing will be learnt unless param_scheduler goes on; give '
                    'it a later end, as --cfg-options param_scheduler.0.end=...'
                )
        if _is_alone():
            previous = signal.signal(signal.SIGTERM, self._note_termination)
            if isinstance(owner := getattr(previous, '__self__', None), ExactResumeHook):
                # Of a run in this process that ended with an error.
                previous = owner._previous_handler
            self._previous_handler = previous or signal.SIG_DFL

    def before_train_epoch(self, runner: Runner) -> None:
        if self._begun:
            return
        self._begun = True
        hook = _checkpoint_hook(runner)
        if self._resumed_at is None:
            self._capture(runner, 0)
            if hook is not None:
                hook._save_checkpoint_with_step(runner, 0, dict(epoch=0, iter=0))
            return
        if hook is not None:
            # So that a best score found first thing is saved with this checkpoint, as it would have been.
            hook.last_ckpt = loaded_from(runner)
        for name, parameter in bare_model(runner.model).named_parameters():
            if name in self._gradients:
                parameter.grad = self._gradients[name].to(parameter)
        self._gradients = {}  # the next update frees them
        if self._states is None:
            self._capture(runner, runner.iter)
        if runner.iter >= runner.max_iters:
            # MMEngine would load all batches of the run to get to its end.
            runner.train_loop.dataloader_iterator = itertools.repeat(None)
            return
        states, loop = self._states[get_rank()], runner.train_loop
        loop.dataloader_iterator = replay(
            loop.dataloader_iterator, loop.iter, lambda: restore_random_states(states)
        )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.end_if_terminated(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        hook = _checkpoint_hook(runner)
        # Gathering costs a synchronisation; alone, a few microseconds.
        if get_world_size() == 1 or (
            hook is not None
            and (hook.every_n_train_iters(runner, hook.interval) or hook.is_last_train_iter(runner))
        ):
            self._capture(runner, batch_idx + 1)

    def before_val(self, runner: Runner) -> None:
        # A new best score saves the latest checkpoint once more, after a validation that has drawn.
        if get_world_size() > 1 and runner.iter != self._resumed_at:
            self._capture(runner, runner.iter)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.end_if_terminated(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint[KEY] = self._states
        checkpoint[UPDATES] = {**_updates(runner), 'gradients': _gradients(runner)}

    def after_train(self, runner: Runner) -> None:
        if self._resumed_at is not None and self._resumed_at >= runner.max_iters:
            runner.logger.warning(
                f'The run is at its end, at iteration {self._resumed_at} of train_cfg.max_iters='
                f'{runner.max_iters}: nothing was left to train. To go on set max_iters, and the end of '
                'param_scheduler, to more'
            )
        if signal.getsignal(signal.SIGTERM) == self._note_termination:
            signal.signal(signal.SIGTERM, self._previous_handler)

    def _capture(self, runner: Runner, iteration: int) -> None:
        if get_world_size() > 1:
            # Batch norm that is not synchronised has statistics of each rank's own, and a checkpoint those of
            # the main process. Validated and saved are one model.
            for buffer in runner.model.buffers():
                broadcast(buffer)
            # Accumulated gradients are each rank's own too. Once: a mean of means may be rounded again.
            if iteration != self._shared_at:
                for gradient in _gradients(runner).values():
                    all_reduce(gradient, 'mean')
            self._shared_at = iteration
        self._states = all_gather_object(random_states())

    def _note_termination(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._terminated_at is None:
            self._terminated_at = now
        elif now - self._terminated_at > _ONE_REQUEST:
            # A second request ends at once, whatever training is waiting for.
            signal.signal(signal.SIGTERM, self._previous_handler)
            signal.raise_signal(signal.SIGTERM)

    def end_if_terminated(self, runner: Runner) -> None:
        """Save and leave, if SIGTERM has come."""
        if self._terminated_at is None:
            return
        hook = _checkpoint_hook(runner)
        if hook is not None:
            hook._save_checkpoint_with_step(runner, runner.iter, dict(epoch=runner.epoch, iter=runner.iter))
            runner.logger.warning(f'SIGTERM: saved iteration {runner.iter} and end here; go on with --resume')
        raise SystemExit(128 + signal.SIGTERM)


def _is_alone() -> bool:
    """Whether SIGTERM is this process's to handle: it is no rank of several, and in its main thread."""
    return get_world_size() == 1 and threading.current_thread() is threading.main_thread()


def _gradients(runner: Runner) -> dict[str, Tensor]:
    """What has accumulated for the next update, by parameter; nothing where each iteration updates."""
    parameters = bare_model(runner.model).named_parameters()
    return {name: parameter.grad for name, parameter in parameters if parameter.grad is not None}


def _updates(runner: Runner) -> dict[str, Any]:
    """The optimiser's type, and how many iterations accumulate for an update."""
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return {
        'optimizer': ', '.join(type(one.optimizer).__name__ for one in wrappers),
        'counts': max(one._accumulative_counts for one in wrappers),
    }


def _checkpoint_hook(runner: Runner) -> CheckpointHook | None:
    return next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
