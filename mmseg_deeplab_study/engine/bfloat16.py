"""Mixed precision where MMEngine has none: on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn

from ..hardware import warn_of_slow_bfloat16


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Compute the losses under bfloat16 autocast on the CPU.

    ``AmpOptimWrapper`` of MMEngine 0.10.7 refuses to be built without an accelerator. bfloat16 has float32's
    range, so it needs no loss scaling.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        warn_of_slow_bfloat16('--amp on the CPU')

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute in bfloat16 where autocast sees fit."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
