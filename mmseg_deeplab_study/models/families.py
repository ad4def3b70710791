"""How mmpretrain's families of backbones are laid out, and the one that mmpretrain lacks."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

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
    """Pads its input by what the 3x3 convolution, its last but one layer, will take away."""

    def forward(self, x: Tensor) -> Tensor:
        margin = self[-2].conv.dilation[0]
        return super().forward(functional.pad(x, (margin,) * 4))


@MODELS.register_module()
class PreExpandPadMobileNetV2(MobileNetV2):
    """MobileNetV2 as VainF/DeepLabV3Plus-Pytorch pads it, for its checkpoints.

    No convolution pads, the stem included, and each block pads its input before the 1x1 expansion: a border
    pixel becomes ReLU6 of the batch norm's shift, where it is 0 in every other MobileNetV2. Keys and shapes
    are mmpretrain's. An image side H gives a stem of (H - 3) // 2 + 1 pixels, one fewer than elsewhere if H
    is odd.

    Source: ``network/backbone/mobilenetv2.py`` there.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.conv1.conv.padding = (0, 0)
        for block in self.modules():
            if isinstance(block, InvertedResidual):
                block.conv[-2].conv.padding = (0, 0)
                block.conv = _PadFirst(*block.conv)


_Family = TypeVar('_Family')


class Family(NamedTuple):
    """How a family of mmpretrain backbones is laid out.

    ``stem`` gives the modules before the stages, ``stages`` each stage's modules in the order of the data,
    ``keep`` drops all stages but the first so many, ``channels`` gives a stage's output channels. ``options``
    go into the network's config; ``norm_per_output`` says that it builds a norm for each wanted stage. With
    ``dilate_strided`` a convolution that lost its stride gets the new dilation at once.
    """

    stem: Callable[[nn.Module], list[nn.Module]]
    stages: Callable[[nn.Module], list[list[nn.Module]]]
    keep: Callable[[nn.Module, int], None]
    channels: Callable[[list[nn.Module]], int] = lambda stage: _convs(*stage)[-1].out_channels
    options: Mapping[str, Any] = MappingProxyType({})
    norm_per_output: bool = False
    dilate_strided: bool = False


def _convs(*modules: nn.Module) -> list[nn.Conv2d]:
    return [m for m in chain.from_iterable(m.modules() for m in modules) if isinstance(m, nn.Conv2d)]


def _by_name(attribute: str, stem: Callable[[nn.Module], list[nn.Module]], **kwargs: Any) -> Family:
    """A family whose ``attribute`` lists the names of its stages."""

    def stages(network: nn.Module) -> list[list[nn.Module]]:
        return [_blocks(getattr(network, name)) for name in getattr(network, attribute)]

    def keep(network: nn.Module, count: int) -> None:
        names = getattr(network, attribute)
        for name in names[count:]:
            delattr(network, name)
        del names[count:]

    return Family(stem, stages, keep, **kwargs)


def _by_list(
    attributes: Sequence[str], stem: Callable[[nn.Module], list[nn.Module]], **kwargs: Any
) -> Family:
    """A family whose ``attributes`` are lists, of which a stage has one entry each."""

    def stages(network: nn.Module) -> list[list[nn.Module]]:
        entries = zip(*(getattr(network, attribute) for attribute in attributes), strict=True)
        return [[block for part in parts for block in _blocks(part)] for parts in entries]

    def keep(network: nn.Module, count: int) -> None:
        for attribute in attributes:
            del getattr(network, attribute)[count:]

    return Family(stem, stages, keep, **kwargs)


def _blocks(stage: nn.Module) -> list[nn.Module]:
    return list(stage) if isinstance(stage, nn.Sequential) else [stage]


def _resnet_stem(network: nn.Module) -> list[nn.Module]:
    first = [network.stem] if network.deep_stem else [network.conv1, network.norm1]
    return [*first, network.maxpool]


def _shuffled_channels(stage: list[nn.Module]) -> int:
    branches = [stage[0].branch1, stage[0].branch2] if hasattr(stage[0], 'branch1') else stage
    return sum(_convs(branch)[-1].out_channels for branch in branches)


_RESNET = _by_name('res_layers', _resnet_stem)
_MOBILENET_V2 = _by_name('layers', lambda network: [network.conv1])
# By exact class: a subclass may downsample elsewhere (ResNetV1d and ResNeSt pool in their shortcuts).
FAMILIES = {
    ResNet: _RESNET,
    ResNetV1c: _RESNET,
    ResNeXt: _RESNET,
    SEResNet: _RESNET,
    SEResNeXt: _RESNET,
    RegNet: _by_name('res_layers', lambda network: [network.conv1, network.norm1]),
    MobileNetV2: _MOBILENET_V2,
    PreExpandPadMobileNetV2: _MOBILENET_V2,
    # torchvision's rule, by which its checkpoints were trained.
    MobileNetV3: _by_name('layers', lambda network: [], dilate_strided=True),
    EfficientNet: _by_list(['layers'], lambda network: []),
    ShuffleNetV2: _by_list(
        ['layers'], lambda network: [network.conv1, network.maxpool], channels=_shuffled_channels
    ),
    ConvNeXt: _by_list(
        ['downsample_layers', 'stages'],
        lambda network: [],
        options={'gap_before_final_norm': False},
        norm_per_output=True,
    ),
}


def find_family(adapter: str, families: Mapping[type, _Family], kind: str | type | None) -> _Family:
    """What an adapter knows of a network by its ``type``, in a config a name or the class itself.

    Raises:
        ValueError: names the type and those that ``adapter`` supports.
    """
    cls = MODELS.get(kind) if isinstance(kind, str) else kind
    if cls not in families:
        scopes = {known: 'mmpretrain.' * known.__module__.startswith('mmpretrain.') for known in families}
        supported = ', '.join(scope + known.__name__ for known, scope in scopes.items())
        raise ValueError(f'{adapter} does not support type={kind!r} ({cls}); supported: {supported}')
    return families[cls]


def check_rising(out_indices: Sequence[int], what: str) -> None:
    """Refuse what does not say which maps of a network an adapter shall return.

    Raises:
        ValueError: names ``what`` is counted, and what was given.
    """
    numbers = list(out_indices) if isinstance(out_indices, Sequence) else []
    if (
        not numbers
        or not all(isinstance(number, int) for number in numbers)
        or numbers[0] < 0
        or numbers != sorted(set(numbers))
    ):
        raise ValueError(
            f'out_indices must be {what} from 0 on in rising order, such as (2, 3), but got {out_indices!r}'
        )
