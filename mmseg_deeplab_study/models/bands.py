"""Compute wide feature maps a band of rows at a time."""

from math import prod

import torch
from mmpretrain.models.backbones.mobilenet_v2 import InvertedResidual
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

_WIDE = 2**17  # input pixels; smaller maps would only lose time
_ROWS = 64
# Blocks, and what they may be made of, in which a pixel depends on pixels nearby alone.
_BLOCKS = (BasicBlock, Bottleneck, InvertedResidual)
_LOCAL = (nn.Conv2d, nn.ReLU, nn.ReLU6, nn.Identity)


class InBands(nn.Module):
    """Run residual blocks on large inputs in bands of rows, with small maps between.

    Exact: every band has the rows above and below that the blocks, of odd kernels and "same" padding, can
    see. For inference: training keeps the maps anyway.
    """

    def __init__(self, blocks: nn.Sequential) -> None:
        """See the class."""
        super().__init__()
        self.blocks = blocks
        convs = [[m for m in block.modules() if isinstance(m, nn.Conv2d)] for block in blocks]
        self.stride = prod(max(conv.stride[0] for conv in block) for block in convs)
        # In rows of the output, the coarsest ones; parallel branches count twice.
        self.margin = sum(conv.dilation[0] * (conv.kernel_size[0] // 2) for block in convs for conv in block)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the blocks give of ``x`` (N, C, H, W)."""
        height, width = x.shape[2:]
        if height * width < _WIDE:
            return self.blocks(x)
        rows = -(-height // self.stride)
        step = max(_ROWS // self.stride, 1)
        whole = None
        for start in range(0, rows, step):
            first = max(start - self.margin, 0)
            end = min(start + step, rows)
            band = self.blocks(x[:, :, first * self.stride : (end + self.margin) * self.stride])
            if whole is None:
                shape = (x.shape[0], band.shape[1], rows, band.shape[3])
                whole = torch.empty_like(band[:, :, :1].expand(shape), memory_format=torch.channels_last)
            whole[:, :, start:end] = band[:, :, start - first : end - first]
        return whole


def run_in_bands(network: nn.Module) -> None:
    """Let stages of a network with folded batch norm run in bands, where exact."""
    for name, stage in network.named_children():
        if isinstance(stage, nn.Sequential) and len(stage) and all(_is_local(block) for block in stage):
            setattr(network, name, InBands(stage))


def _is_local(block: nn.Module) -> bool:
    leaves = [module for module in block.modules() if not list(module.children())]
    # Not their subclasses, which pad or compute otherwise.
    return type(block) in _BLOCKS and all(type(leaf) in _LOCAL for leaf in leaves)
