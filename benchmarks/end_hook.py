"""A hook that ends a run."""

import os

from mmengine.hooks import Hook
from mmseg.registry import HOOKS


@HOOKS.register_module()
class EndHook(Hook):
    """Ends the process at the first call of a hook's method, such as ``after_train_iter``."""

    priority = 'HIGHEST'

    def __init__(self, moment: str) -> None:
        """Take the name of the method."""
        # Nothing that comes after is of interest, the end of the interpreter included.
        setattr(self, moment, lambda *args, **kwargs: os._exit(0))
