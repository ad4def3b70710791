"""``tvseg://``: torchvision's DeepLabV3."""

from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain.models.backbones import MobileNetV3

from .layouts import BY_STRIDE, RESNET_PAIRS, Layout, Pairs, conv_norm, load_peer, v3_pairs

SCHEME = 'tvseg://'

AUXILIARY_PAIRS = (
    *conv_norm('aux_classifier', 'auxiliary_head.convs.0'),
    ('aux_classifier.4.', 'auxiliary_head.conv_seg.'),
)


def mobilenet_v3_pairs() -> Pairs:
    """torchvision's names of MobileNetV3-Large."""
    settings = MobileNetV3.arch_settings['large']
    pairs = list(conv_norm('backbone.0', 'backbone.layer0'))
    in_channels = 16
    for k, (_, mid_channels, out_channels, with_se, _, _) in enumerate(settings, 1):
        peer, ours = f'backbone.{k}.block', f'backbone.layer{k}'
        parts = ['expand_conv', 'depthwise_conv', *(['se'] if with_se else []), 'linear_conv']
        for j, part in enumerate(parts if mid_channels != in_channels else parts[1:]):
            if part == 'se':
                pairs += [(f'{peer}.{j}.fc{n}.', f'{ours}.se.conv{n}.conv.') for n in (1, 2)]
            else:
                pairs += conv_norm(f'{peer}.{j}', f'{ours}.{part}')
        in_channels = out_channels
    last = len(settings) + 1
    return (*pairs, *conv_norm(f'backbone.{last}', f'backbone.layer{last}'))


def _resnet(depth: int, mark: str) -> Layout:
    return Layout(
        peer='torchvision',
        name=f'deeplabv3_resnet{depth}',
        marks=('classifier.0.convs.', mark),
        pairs=RESNET_PAIRS + v3_pairs('classifier') + AUXILIARY_PAIRS,
        backbone=dict(type='mmpretrain.ResNet', depth=depth),
        channels=(256, 2048),
        output_stride=8,
        dropout=0.5,
        auxiliary=(1024, 2),
    )


LAYOUTS = (
    _resnet(50, 'backbone.layer3.5.'),
    # After the ResNet-50, whose blocks it has too.
    _resnet(101, 'backbone.layer3.22.'),
    Layout(
        peer='torchvision',
        name='deeplabv3_mobilenet_v3_large',
        marks=('classifier.0.convs.', 'backbone.16.'),
        pairs=mobilenet_v3_pairs() + v3_pairs('classifier') + AUXILIARY_PAIRS,
        backbone=dict(type='mmpretrain.MobileNetV3', arch='large'),
        channels=(24, 960),
        output_stride=16,
        # torchvision keeps the rates of output stride 8.
        dilations=dict.fromkeys(BY_STRIDE, BY_STRIDE[8]),
        dropout=0.5,
        out_indices=(3, 4, 12, 16),
        auxiliary=(40, 1),
    ),
)


@CheckpointLoader.register_scheme(prefixes=SCHEME)
def load_from_tvseg(filename: str, map_location: Any = None) -> dict:
    """Load ``tvseg://PATH`` on ResNet-50, ResNet-101 or MobileNetV3-Large; raises as ``load_peer``.

    The auxiliary head comes along where the file has one.
    """
    return load_peer(filename.removeprefix(SCHEME), LAYOUTS, map_location)
