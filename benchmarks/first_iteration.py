"""A hook that says when a run first validates and trains, and ends it."""

import json
import os
import resource
import sys
import time

from mmengine.hooks import Hook
from mmseg.registry import HOOKS


@HOOKS.register_module()
class FirstIterationHook(Hook):
    """Prints a line of JSON before the first validation and after iteration 1."""

    priority = 'HIGHEST'

    def before_train(self, runner) -> None:
        """Say that the first validation begins."""
        self._say('the validation at iteration 0')

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        """Say that an iteration is over, and end."""
        self._say('the end of iteration 1')
        # Nothing that comes after is of interest, the end of the interpreter included.
        os._exit(0)

    def _say(self, moment: str) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        figures = {'cpu': usage.ru_utime + usage.ru_stime, 'mb': usage.ru_maxrss / 1024}
        print(f'\n{json.dumps({"moment": moment, "clock": time.monotonic(), **figures})}', flush=True)
        sys.stderr.flush()
