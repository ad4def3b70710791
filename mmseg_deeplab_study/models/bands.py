"""Wide feature maps a band of rows at a time."""

from math import prod

import torch
from mmpretrain.models.backbones.mobilenet_v2 import InvertedResidual
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

# Below so many input pixels the maps are small, and bands would only cost time.
_WIDE = 2**17
_ROWS = 64
# Blocks, and what they may be made of, in which a pixel depends on pixels nearby alone.
_BLOCKS = (BasicBlock, Bottleneck, InvertedResidual)
_LOCAL = (nn.Conv2d, nn.ReLU, nn.ReLU6, nn.Identity)


class InBands(nn.Module):
    """Residual blocks that see large inputs in bands of rows, so that what is between them stays small.

    Exact: every band is given as many rows more, above and below, as the blocks can see, and of the result
    only the rows are kept that saw nothing of the band's edge. For inference: training keeps the maps anyway.

    Args:
        blocks: one after the other, of an odd kernel and "same" padding.
    """

    def __init__(self, blocks: nn.Sequential) -> None:
        super().__init__()
        self.blocks = blocks
        convs = [[m for m in block.modules() if isinstance(m, nn.Conv2d)] for block in blocks]
        self.stride = prod(max(conv.stride[0] for conv in block) for block in convs)
        # In rows of the output, than which no convolution's are larger; parallel branches count twice.
        self.margin = sum(conv.dilation[0] * (conv.kernel_size[0] // 2) for block in convs for conv in block)

    def forward(self, x: Tensor) -> Tensor:
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
                whole = torch.empty(
                    shape, dtype=band.dtype, device=band.device, memory_format=torch.channels_last
                )
            whole[:, :, start:end] = band[:, :, start - first : end - first]
        return whole


def run_in_bands(network: nn.Module) -> None:
    """Let the stages of a network with folded batch norm run in bands, where that is exact."""
    for name, stage in network.named_children():
        if isinstance(stage, nn.Sequential) and len(stage) and all(_is_local(block) for block in stage):
            setattr(network, name, InBands(stage))


def _is_local(block: nn.Module) -> bool:
    leaves = [module for module in block.modules() if not list(module.children())]
    # Not their subclasses, which pad or compute otherwise.
    return type(block) in _BLOCKS and all(type(leaf) in _LOCAL for leaf in leaves)
