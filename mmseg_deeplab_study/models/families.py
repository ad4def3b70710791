"""Layouts of mmpretrain's families of backbones, and a family that it lacks."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, takewhile
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from mmpretrain.models.backbones import (
    ConvNeXt,
    EfficientNet,
    MobileNetV2,
    MobileNetV3,
    RegNet,
    ResNet,
    ResNetV1c,
    ResNeXt,
    SEResNet,
    SEResNeXt,
    ShuffleNetV2,
)
from mmpretrain.models.backbones.mobilenet_v2 import InvertedResidual
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional


class _PadFirst(nn.Sequential):
    """Pad the input by what the 3x3 convolution, the last but one layer, takes away."""

    def forward(self, x: Tensor) -> Tensor:
        margin = self[-2].conv.dilation[0]
        return super().forward(functional.pad(x, (margin,) * 4))


@MODELS.register_module()
class PreExpandPadMobileNetV2(MobileNetV2):
    """MobileNetV2, padded as VainF/DeepLabV3Plus-Pytorch does, for its checkpoints.

    No convolution pads, the stem included, and each block pads its input before the 1x1 expansion: a border
    pixel becomes ReLU6 of the batch norm's shift, where it is 0 in every other MobileNetV2. Keys and shapes
    are mmpretrain's. An image side H gives a stem of (H - 3) // 2 + 1 pixels, one fewer than elsewhere if H
    is odd. Source: ``network/backbone/mobilenetv2.py`` there.
    """

    def __init__(self, **kwargs) -> None:
        """See the class."""
        super().__init__(**kwargs)
        self.conv1.conv.padding = (0, 0)
        for block in self.modules():
            if isinstance(block, InvertedResidual):
                block.conv[-2].conv.padding = (0, 0)
                block.conv = _PadFirst(*block.conv)


def windows(*modules: nn.Module) -> Iterator[nn.Module]:
    """Yield all that has a stride, in the order of registration."""
    for module in chain.from_iterable(m.modules() for m in modules):
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.Unfold)):
            yield module


def stride_of(window: nn.Module) -> int:
    """Return the stride of rows, which is also that of columns."""
    return window.stride if isinstance(window.stride, int) else window.stride[0]


class Family(NamedTuple):
    """How a family of backbones keeps its stages; what comes before the first is its stem.

    ``stages`` are names of the network's lists of stages, whose entries are modules or their names; a stage
    has one of each list. ``joined`` are the parallel branches of a stage's first block that its output
    concatenates; ``options`` go into the network's config. ``norm_per_output``: the network builds a norm for
    each wanted stage; ``dilate_strided``: a convolution that lost its stride gets the new dilation at once;
    ``shrinks_after``: a stage downsamples after its map was taken.
    """

    stages: Sequence[str]
    joined: Sequence[str] = ()
    options: Mapping[str, Any] = MappingProxyType({})
    norm_per_output: bool = False
    dilate_strided: bool = False
    shrinks_after: bool = False

    def blocks(self, network: nn.Module) -> list[list[nn.Module]]:
        """Return each stage's modules, in the order of the data."""
        lists = [
            [getattr(network, entry) if isinstance(entry, str) else entry for entry in getattr(network, name)]
            for name in self.stages
        ]
        return [
            [block for part in parts for block in (part if isinstance(part, nn.Sequential) else [part])]
            for parts in zip(*lists, strict=True)
        ]

    def stem(self, network: nn.Module) -> list[nn.Module]:
        """Return the modules before the stages."""
        first = set(self.blocks(network)[0])
        return list(takewhile(lambda child: first.isdisjoint(child.modules()), network.children()))

    def keep(self, network: nn.Module, count: int) -> None:
        """Drop all stages but the first ``count``."""
        for stages in (getattr(network, name) for name in self.stages):
            for dropped in stages[count:]:
                if isinstance(dropped, str):
                    delattr(network, dropped)
            del stages[count:]

    def channels(self, stage: Sequence[nn.Module]) -> int:
        """Return the channels of a stage's map."""
        modules = list(chain.from_iterable(block.modules() for block in stage))
        if width := next((module.embed_dims for module in modules if hasattr(module, 'embed_dims')), None):
            return width  # a transformer's
        branches = [getattr(stage[0], name) for name in self.joined if hasattr(stage[0], name)]
        ends = [list(branch.modules()) for branch in branches] or [modules]
        return sum([m for m in end if isinstance(m, nn.Conv2d)][-1].out_channels for end in ends)


_RESNET = Family(['res_layers'])
_MOBILENET_V2 = Family(['layers'])
# By exact class: a subclass may downsample elsewhere (ResNetV1d and ResNeSt pool in their shortcuts).
FAMILIES = {
    ResNet: _RESNET,
    ResNetV1c: _RESNET,
    ResNeXt: _RESNET,
    SEResNet: _RESNET,
    SEResNeXt: _RESNET,
    RegNet: _RESNET,
    MobileNetV2: _MOBILENET_V2,
    PreExpandPadMobileNetV2: _MOBILENET_V2,
    # torchvision's rule, by which its checkpoints were trained.
    MobileNetV3: Family(['layers'], dilate_strided=True),
    EfficientNet: Family(['layers']),
    ShuffleNetV2: Family(['layers'], joined=['branch1', 'branch2']),
    ConvNeXt: Family(
        ['downsample_layers', 'stages'], options={'gap_before_final_norm': False}, norm_per_output=True
    ),
}


def build_network(
    adapter: str,
    families: Mapping[type, Family],
    taken: Sequence[str],
    backbone: dict,
    out_indices: Sequence[int],
    init_cfg: dict | list[dict] | None,
) -> tuple[nn.Module, Family, tuple[int, ...]]:
    """Build the network of ``adapter``, which sets the options ``taken`` itself.

    Returns it, its family and the wanted maps, counted from 0; negative ``out_indices`` count from the end.

    Raises:
        ValueError: unsupported family, maps that do not exist or do not rise, or one of the options in
            ``backbone``.
    """
    if found := sorted(set(backbone) & set(taken)):
        raise ValueError(f'{found} in backbone={backbone!r}: set by {adapter}, not inside')
    kind = backbone.get('type')
    cls = MODELS.get(kind) if isinstance(kind, str) else kind
    if cls not in families:
        scopes = {known: 'mmpretrain.' * known.__module__.startswith('mmpretrain.') for known in families}
        supported = ', '.join(scope + known.__name__ for known, scope in scopes.items())
        raise ValueError(f'{adapter} does not support type={kind!r} ({cls}); supported: {supported}')
    family, options = families[cls], {} if init_cfg is None else {'init_cfg': init_cfg}
    config = {**backbone, **family.options, **options}
    numbers = list(out_indices) if isinstance(out_indices, Sequence) else []
    if not numbers or not all(isinstance(number, int) for number in numbers):
        raise ValueError(f'out_indices must be numbers, such as (2, 3) or (-1,), but got {out_indices!r}')
    # Only a built network says how many maps it has; every one has the first.
    with torch.random.fork_rng(devices=[], enabled=family.norm_per_output):
        network = MODELS.build({**config, 'out_indices': [0]})
    count = len(family.blocks(network))
    wanted = [number + count if number < 0 else number for number in numbers]
    if wanted != sorted(set(wanted) & set(range(count))):
        raise ValueError(
            f'out_indices must be in [{-count}, {count - 1}], the maps of {kind}, in rising order, but got '
            f'{out_indices!r}'
        )
    if family.norm_per_output:
        network = MODELS.build({**config, 'out_indices': wanted})
    network.out_indices = tuple(wanted)
    return network, family, network.out_indices
