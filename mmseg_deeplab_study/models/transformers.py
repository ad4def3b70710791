"""Transformers as dense feature extractors."""

from collections.abc import Sequence
from itertools import accumulate
from operator import mul

from mmpretrain.models.backbones import SwinTransformer, VisionTransformer
from mmpretrain.models.utils import ShiftWindowMSA
from mmseg.models.backbones import MixVisionTransformer
from mmseg.registry import MODELS
from torch import Tensor, nn

from .families import Family, build_network, stride_of, windows

# What the adapter sets itself: in the backbone's own dict they would contradict it.
ADAPTER_OPTIONS = ('out_indices', 'init_cfg', 'out_type', 'pad_small_map')


def _pad_what_is_smaller(attention: ShiftWindowMSA, inputs: tuple[Tensor, tuple[int, int]]) -> None:
    # mmpretrain shifts windows in a map of just one where small maps are padded, and else does not: its
    # networks have learnt without, at 224 in their last stage.
    attention.pad_small_map = min(inputs[1]) < attention.window_size


# By exact class: a subclass may downsample elsewhere.
FAMILIES = {
    # Windows are padded; relative positions are those inside a window, for images of any size.
    SwinTransformer: Family(['stages'], norm_per_output=True, shrinks_after=True),
    # Position embeddings are interpolated to the image's size.
    VisionTransformer: Family(['layers'], options={'out_type': 'featmap'}),
    MixVisionTransformer: Family(['layers']),
}


@MODELS.register_module(name='TransformerBackbone')
def transformer_backbone(
    backbone: dict, out_indices: Sequence[int], init_cfg: dict | list[dict] | None = None
) -> nn.Module:
    """Build a transformer that gives feature maps and says which.

    What comes back is mmpretrain's or MMSeg's own network, state dict and all. Images of shape ``(N, 3, H,
    W)``, padded to whole patches, give one feature map of shape ``(N, out_channels[i], H / out_strides[i], W
    / out_strides[i])``, rounded up, per entry of ``out_indices``: these name stages, or VisionTransformer's
    layers, whose maps all have the stride of its patches, in rising order, the last one, or -1, included.

    Raises:
        ValueError: unsupported family, maps that do not exist, or an option inside ``backbone`` that belongs
            to the adapter.
    """
    network, family, wanted = build_network(
        'TransformerBackbone', FAMILIES, ADAPTER_OPTIONS, backbone, out_indices, init_cfg
    )
    stages = family.blocks(network)
    if wanted[-1] != len(stages) - 1:
        raise ValueError(
            f'out_indices must end with {len(stages) - 1} or -1, the last of {backbone["type"]}, but got '
            f'{out_indices!r}; for a shallower network give it fewer'
        )
    for module in network.modules():
        if isinstance(module, ShiftWindowMSA):
            module.register_forward_pre_hook(_pad_what_is_smaller)
    # After the first window of a stage, those of attention only reduce its keys.
    steps = [next(map(stride_of, windows(*part)), 1) for part in (family.stem(network), *stages)]
    reached = list(accumulate(steps, mul))[not family.shrinks_after :]
    network.out_channels = tuple(family.channels(stages[i]) for i in wanted)
    network.out_strides = tuple(reached[i] for i in wanted)
    return network
