"""Transformers as dense feature extractors: a pyramid of maps, or maps of one resolution."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from operator import mul
from types import MappingProxyType
from typing import Any, NamedTuple

from mmpretrain.models.backbones import SwinTransformer, VisionTransformer
from mmpretrain.models.utils import ShiftWindowMSA
from mmseg.models.backbones import MixVisionTransformer
from mmseg.registry import MODELS
from torch import Tensor, nn

from .families import check_rising, find_family

# What the adapter sets itself: in the backbone's own dict they would contradict it.
ADAPTER_OPTIONS = ('out_indices', 'init_cfg', 'out_type', 'pad_small_map')


class Maps(NamedTuple):
    """The maps that a family of transformers has, one of each stage or layer: their channels and strides.

    ``options`` go into the network's config, and ``prepare`` is called with what is built from it, so that it
    gives maps for images of any size.
    """

    channels: Callable[[nn.Module], Sequence[int]]
    strides: Callable[[nn.Module], Sequence[int]]
    options: Mapping[str, Any] = MappingProxyType({})
    prepare: Callable[[nn.Module], None] = lambda network: None


def _pad_what_is_smaller(attention: ShiftWindowMSA, inputs: tuple[Tensor, tuple[int, int]]) -> None:
    # mmpretrain shifts windows in a map of just one where small maps are padded, and else does not: its
    # networks have learnt without, at 224 in their last stage.
    attention.pad_small_map = min(inputs[1]) < attention.window_size


def _pad_small_maps(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, ShiftWindowMSA):
            module.register_forward_pre_hook(_pad_what_is_smaller)


# By exact class: a subclass may downsample elsewhere.
FAMILIES = {
    # Windows are padded; relative positions are those inside a window, whatever the image's size.
    SwinTransformer: Maps(
        channels=lambda network: network.num_features,
        strides=lambda network: [
            network.patch_embed.projection.stride[0] * 2**i for i in range(network.num_layers)
        ],
        prepare=_pad_small_maps,
    ),
    # Position embeddings are interpolated to the image's size.
    VisionTransformer: Maps(
        channels=lambda network: [network.embed_dims] * network.num_layers,
        strides=lambda network: [network.patch_embed.projection.stride[0]] * network.num_layers,
        options=MappingProxyType({'out_type': 'featmap'}),
    ),
    MixVisionTransformer: Maps(
        channels=lambda network: [network.embed_dims * heads for heads in network.num_heads],
        strides=lambda network: list(accumulate(network.strides, mul)),
    ),
}


@MODELS.register_module(name='TransformerBackbone')
def transformer_backbone(
    backbone: dict, out_indices: Sequence[int], init_cfg: dict | list[dict] | None = None
) -> nn.Module:
    """Build a transformer that gives feature maps and says which.

    What comes back is mmpretrain's or MMSeg's own network, state dict and all. Images of shape
    ``(N, 3, H, W)`` give one feature map of shape ``(N, out_channels[i], H / out_strides[i], W /
    out_strides[i])``, rounded up, per entry of ``out_indices``; images are padded to whole patches.

    Args:
        backbone: config of the network, such as ``dict(type='mmpretrain.SwinTransformer', arch='tiny')``.
        out_indices: the maps to return in rising order, the last one included: of stages, or of
            VisionTransformer's layers, whose maps all have the stride of its patches.
        init_cfg: as the network's own.

    Raises:
        ValueError: unsupported family, maps that do not exist, or an option inside ``backbone`` that belongs
            to the adapter.
    """
    if taken := sorted(set(backbone) & set(ADAPTER_OPTIONS)):
        raise ValueError(f'{taken} in backbone={backbone!r}: set by TransformerBackbone, not inside')
    maps = find_family('TransformerBackbone', FAMILIES, backbone.get('type'))
    check_rising(out_indices, 'maps')
    wanted = list(out_indices)
    options = {**maps.options, **({} if init_cfg is None else {'init_cfg': init_cfg})}
    # Which others there are, only the built network says.
    try:
        network = MODELS.build({**backbone, 'out_indices': wanted, **options})
    except (AssertionError, IndexError) as error:
        raise ValueError(
            f'TransformerBackbone: backbone={backbone!r} cannot be built with out_indices={tuple(wanted)}; '
            f'are there as many maps? {error!r}'
        ) from error
    channels, strides = maps.channels(network), maps.strides(network)
    if wanted[-1] != len(channels) - 1:
        raise ValueError(
            f'out_indices must end with {len(channels) - 1}, the last of {backbone["type"]}, but got '
            f'{tuple(wanted)}; for a shallower network give it fewer'
        )
    maps.prepare(network)
    network.out_channels = tuple(channels[i] for i in wanted)
    network.out_strides = tuple(strides[i] for i in wanted)
    return network
