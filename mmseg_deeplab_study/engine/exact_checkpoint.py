"""Checkpoints from which a run goes on exactly where it was interrupted."""

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, all_reduce, broadcast, get_rank, get_world_size
from mmengine.hooks import CheckpointHook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmseg.registry import HOOKS
from torch import Tensor

from ..models.segmentors import bare_model
from ..runs.random_states import random_states, restore_random_states
from ..runs.resuming import is_resuming, loaded_from
from .plain_data import rebuild_buffers, to_plain
from .resumed_optimizer import UPDATES, accumulated, follow_config, resumed_gradients, updates
from .termination import TerminationRequest

RANDOM_STATES = 'random_states'


@HOOKS.register_module()
class ExactCheckpointHook(CheckpointHook):
    """Save checkpoints from which a resumed run is the same as an uninterrupted one.

    Takes the arguments of ``CheckpointHook``. Each checkpoint, the first of iteration 0, also has the random
    states of every rank and the gradients that have accumulated for the next update, those of several ranks
    as their mean; it is plain data, which torch since 2.6 loads (open-mmlab/mmengine issue 1655). Every rank
    is given the main process's buffers (batch-norm statistics) before validating and saving. A resumed run
    follows the config's schedules and optimiser settings, as ``follow_config`` says, and replaces checkpoints
    in its own folder alone. On SIGTERM, also to the whole process group if workers are forked, a run in one
    process saves and ends with status 143; a distributed one ends at once.

    Exact is what the hardware computes the same way twice: on CUDA that needs
    ``randomness=dict(deterministic=True)``. With another number of ranks a resume goes on with new random
    states, and with an epoch-based loop it is not exact; the log says so.
    """

    priority = 'LOWEST'  # what other hooks change and add is saved too, and made plain

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._states: list[dict[str, Any]] | None = None
        self._gradients: dict[str, Tensor] = {}
        self._captured_at: int | None = None
        self._resumed_at: int | None = None
        # Here, as the train loop forks its workers before any hook is called.
        self._termination = TerminationRequest()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take what a resumed run needs besides the weights."""
        if 'message_hub' in checkpoint:
            checkpoint['message_hub'] = rebuild_buffers(checkpoint['message_hub'])
        # A source checkpoint has random states too, of another run.
        if not is_resuming(runner) or not isinstance(runner.train_loop, IterBasedTrainLoop):
            return
        self._resumed_at = checkpoint['meta']['iter']
        self._states = checkpoint.get(RANDOM_STATES) or []
        if len(self._states) == get_world_size():
            self._captured_at = self._resumed_at
        else:
            runner.logger.warning(
                f'the checkpoint has random states of {len(self._states)} processes, expected '
                f'{get_world_size()}: training continues with new ones, and not exactly as it would have'
            )
        self._gradients = resumed_gradients(runner, checkpoint)
        follow_config(runner, checkpoint)

    def before_train(self, runner: Runner) -> None:
        """Save iteration 0, or set a resumed run up as the uninterrupted one was."""
        super().before_train(runner)
        self._keep_to_own_folder(runner)
        if not isinstance(runner.train_loop, IterBasedTrainLoop):
            runner.logger.warning(
                f'ExactCheckpointHook got {type(runner.train_loop).__name__}: a resume is exact with '
                "train_cfg.type='IterBasedTrainLoop' alone"
            )
            return
        self._termination.expect()
        self._capture(runner, runner.iter)
        if self._resumed_at is not None:
            self._go_on(runner)
        elif runner.iter == 0:
            self._save_checkpoint_with_step(runner, 0, dict(epoch=0, iter=0))

    def after_train_iter(self, runner: Runner, batch_idx: int, *args, **kwargs) -> None:
        """Save at the interval, and leave if SIGTERM has come."""
        super().after_train_iter(runner, batch_idx, *args, **kwargs)
        if self._termination:
            self._capture(runner, batch_idx + 1)
            self._end(runner, batch_idx + 1)

    def before_val(self, runner: Runner) -> None:
        """Give every rank the model and random states of now."""
        # A new best score saves the latest checkpoint once more, after a validation that has drawn.
        self._capture(runner, runner.iter)

    def after_val_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Leave between two batches, if SIGTERM has come."""
        self.end_if_terminated(runner)

    def end_if_terminated(self, runner: Runner) -> None:
        """Save and leave, if SIGTERM has come; between two iterations."""
        if self._termination:
            self._end(runner, runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add random states and gradients, and make all plain data."""
        checkpoint[RANDOM_STATES] = self._states
        checkpoint[UPDATES] = {**updates(runner), 'gradients': accumulated(runner)}
        for key in checkpoint.keys() - {'state_dict'}:
            checkpoint[key] = to_plain(checkpoint[key], runner.logger.warning)

    def after_train(self, runner: Runner) -> None:
        """Publish as ``CheckpointHook`` does, and say if nothing was left to train."""
        super().after_train(runner)
        if self._resumed_at is not None and self._resumed_at >= runner.max_iters:
            runner.logger.warning(
                f'The run is at its end, at iteration {self._resumed_at} of train_cfg.max_iters='
                f'{runner.max_iters}: nothing was left to train. To train on, raise max_iters and the end of '
                'param_scheduler'
            )
        self._termination.expect_no_more()

    def _keep_to_own_folder(self, runner: Runner) -> None:
        # MMEngine 0.10.7 restores whole paths, and deletes the best checkpoint's once there is a better one:
        # in a copied run that of the original.
        def own(path: str | None) -> str | None:
            return path and self.file_backend.join_path(self.out_dir, Path(path).name)

        for key, path in list(runner.message_hub.runtime_info.items()):
            if key.startswith(('last_ckpt', 'best_ckpt')):
                runner.message_hub.update_info(key, own(path))
        # It has one or the other, by how many scores it looks at.
        self.best_ckpt_path = own(getattr(self, 'best_ckpt_path', None))
        paths = getattr(self, 'best_ckpt_path_dict', {})
        self.best_ckpt_path_dict = {key: own(path) for key, path in paths.items()}

    def _go_on(self, runner: Runner) -> None:
        """Set up a resumed run as the uninterrupted one was."""
        # So that a best score found first thing is saved with this checkpoint, as it would have been.
        self.last_ckpt = loaded_from(runner)
        for name, parameter in bare_model(runner.model).named_parameters():
            if name in self._gradients:
                parameter.grad = self._gradients[name].to(parameter)
        self._gradients = {}  # the next update frees them
        loop = runner.train_loop
        if runner.iter >= runner.max_iters:
            # MMEngine would load all batches of the run to get to its end.
            loop.dataloader_iterator = _Batches(itertools.repeat(None))
            return
        if not any(rate for some in runner.optim_wrapper.get_lr().values() for rate in some):
            runner.logger.warning(
                f'resumed at iteration {runner.iter} of {runner.max_iters} with a learning rate of 0: the '
                'schedule has ended, and nothing will be learnt unless param_scheduler goes on; give it a '
                'later end, as --cfg-options param_scheduler.0.end=...'
            )
        batches, states = loop.dataloader_iterator, self._states[get_rank()]

        def new_batches() -> Iterator[Any]:
            restore_random_states(states)
            yield from batches

        # MMEngine plays the former ones, which draw too.
        played = itertools.islice(batches, loop.iter)
        loop.dataloader_iterator = _Batches(itertools.chain(played, new_batches()))

    def _save_checkpoint(self, runner: Runner) -> None:
        # On every rank, which gathering waits for.
        self._capture(runner, runner.iter + 1)
        super()._save_checkpoint(runner)

    def _capture(self, runner: Runner, iteration: int) -> None:
        """Gather what ranks have of their own, as it is after an iteration, unless a checkpoint gave it."""
        if iteration == self._captured_at:
            return
        self._captured_at = iteration
        if get_world_size() > 1:
            # Batch norm that is not synchronised has statistics of each rank's own, and a checkpoint those of
            # the main process. Validated and saved are one model.
            for buffer in runner.model.buffers():
                broadcast(buffer)
            # Accumulated gradients are each rank's own too. Once: a mean of means may be rounded again.
            for gradient in accumulated(runner).values():
                all_reduce(gradient, 'mean')
        self._states = all_gather_object(random_states())

    def _end(self, runner: Runner, iteration: int) -> None:
        self._save_checkpoint_with_step(runner, iteration, dict(epoch=runner.epoch, iter=iteration))
        runner.logger.warning(f'SIGTERM: saved iteration {iteration} and ended; resume with --resume')
        raise SystemExit(128 + signal.SIGTERM)


class _Batches:
    """An iterator over batches as a train loop uses it."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._batches)

    def skip_iter(self, number: int) -> None:
        """Load the batches that a resumed run has already trained on.

        The loop of MMEngine's fork calls this. Its own method skips them unloaded, and their augmentations
        would not draw their random numbers.
        """
        for _ in range(number):
            next(self)
