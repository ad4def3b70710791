"""Checkpoints that hold weights and plain data only."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

KEPT = ('meta', 'state_dict')


@HOOKS.register_module()
class BareCheckpointHook(Hook):
    """Save weights and meta data only, for a run whose checkpoint is another run's ``load_from``.

    Since version 2.6 torch loads nothing but tensors and plain data, and refuses the message hub that
    MMEngine 0.10.7 adds (open-mmlab/mmengine issue 1655). A run with this hook cannot be resumed.
    """

    priority = 'VERY_LOW'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        for key in set(checkpoint) - set(KEPT):
            del checkpoint[key]
