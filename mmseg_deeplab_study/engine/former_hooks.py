"""Hooks that ``ExactCheckpointHook`` has replaced, for configs that name them."""

import logging

from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from .exact_checkpoint import ExactCheckpointHook


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Deprecated: puts an ``ExactCheckpointHook`` in the place of the runner's ``CheckpointHook``.

    Raises:
        ValueError: before the run, if the runner has a subclass of ``CheckpointHook``.
    """

    def __init__(self) -> None:
        print_log(
            f'{type(self).__name__} is deprecated: leave it out, and set '
            "default_hooks.checkpoint.type='ExactCheckpointHook'",
            logger='current',
            level=logging.WARNING,
        )
        # Not later, for workers that are forked before a run.
        self._hook = ExactCheckpointHook()

    def before_run(self, runner: Runner) -> None:
        """Put an ``ExactCheckpointHook`` in the place of MMEngine's hook."""
        for hook in runner.hooks:
            if type(hook) is CheckpointHook:
                vars(self._hook).update(vars(hook))
                # A new list: the Runner is going through the old one.
                runner._hooks = [other for other in runner.hooks if other is not hook]
                runner.register_hook(self._hook)
            elif isinstance(hook, CheckpointHook) and not isinstance(hook, ExactCheckpointHook):
                raise ValueError(
                    f'{type(self).__name__} got {type(hook).__name__}, expected CheckpointHook: derive yours '
                    'from ExactCheckpointHook, and leave this hook out'
                )


@HOOKS.register_module()
class PlainCheckpointHook(ExactResumeHook):
    """Deprecated, as ``ExactResumeHook``."""
