"""What a model costs: parameters and multiply-adds."""

import logging
from copy import deepcopy
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def describe_model(model: nn.Module, height: int, width: int) -> dict[str, Any]:
    """Parameters and multiply-adds of an MMSeg segmentor as it is used, without auxiliary heads.

    Multiply-adds of one image ``(1, 3, H, W)`` up to the logits, counted by torch on shapes alone; None, and
    a warning says why, where a part of the model cannot run so.
    """
    parameters = sum(p.numel() for name, p in model.named_parameters() if 'auxiliary_head' not in name)
    counter = FlopCounterMode(display=False)
    try:
        shapes = deepcopy(model).to('meta').eval()
        with counter, torch.no_grad():
            shapes(torch.empty(1, 3, height, width, device='meta'), mode='tensor')
        # Two operations to a multiply-add.
        multiply_adds = counter.get_total_flops() // 2
    except Exception as error:
        # Whatever a model may do with numbers that it does not have: no reason not to train it.
        print_log(f'multiply-adds are not counted: {error!r}', 'current', level=logging.WARNING)
        multiply_adds = None
    return {'parameters': parameters, 'multiply_adds': multiply_adds, 'input': [height, width]}
