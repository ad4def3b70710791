"""``vainf://``: DeepLabV3 and V3+ of VainF/DeepLabV3Plus-Pytorch."""

from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from .layouts import (
    RESNET_PAIRS,
    Layout,
    Pairs,
    aspp_pairs,
    conv_norm,
    load_peer,
    mobilenet_v2_blocks,
    v3_pairs,
)

SCHEME = 'vainf://'

V3_PLUS_PAIRS = (
    *aspp_pairs('classifier.aspp'),
    *conv_norm('classifier.project', 'decode_head.low_level'),
    *conv_norm('classifier.classifier', 'decode_head.fuse'),
    ('classifier.classifier.3.', 'decode_head.conv_seg.'),
)


def mobilenet_v2_pairs() -> Pairs:
    """VainF's names of MobileNetV2: torchvision's, in two groups."""
    pairs = list(conv_norm('backbone.low_level_features.0', 'backbone.conv1'))
    for k, (block, expands) in enumerate(mobilenet_v2_blocks(), 1):
        peer = f'backbone.{"low" if k < 4 else "high"}_level_features.{k}.conv'
        last = 2 if expands else 1
        for j in range(last):
            pairs += conv_norm(f'{peer}.{j}', f'backbone.{block}.conv.{j}')
        pairs += conv_norm(peer, f'backbone.{block}.conv.{last}', str(last), str(last + 1))
    return tuple(pairs)


def _layout(name: str, mark: str, backbone: dict, plus: bool) -> Layout:
    mobile = name == 'mobilenet'
    return Layout(
        peer='vainf',
        name=f'deeplabv3{"plus" if plus else ""}_{name}',
        marks=('classifier.aspp.' if plus else 'classifier.classifier.0.convs.', mark),
        pairs=(mobilenet_v2_pairs() if mobile else RESNET_PAIRS)
        + (V3_PLUS_PAIRS if plus else v3_pairs('classifier.classifier')),
        backbone=backbone,
        channels=(24, 320) if mobile else (256, 2048),
        output_stride=16,
        dropout=0.1,
        out_indices=(1, 2, 4, 6) if mobile else (0, 1, 2, 3),
        plus=plus,
    )


# The ResNet-101 comes after the ResNet-50, whose blocks it has too.
LAYOUTS = tuple(
    _layout(name, mark, backbone, plus)
    for plus in (False, True)
    for name, mark, backbone in (
        ('resnet50', 'backbone.layer3.5.', dict(type='mmpretrain.ResNet', depth=50)),
        ('resnet101', 'backbone.layer3.22.', dict(type='mmpretrain.ResNet', depth=101)),
        ('mobilenet', 'backbone.low_level_features.', dict(type='PreExpandPadMobileNetV2')),
    )
)


@CheckpointLoader.register_scheme(prefixes=SCHEME)
def load_from_vainf(filename: str, map_location: Any = None) -> dict:
    """Load ``vainf://PATH`` on ResNet-50, ResNet-101 or MobileNetV2; raises as ``load_peer``.

    A file does not say its output stride: the config does.
    """
    return load_peer(filename.removeprefix(SCHEME), LAYOUTS, map_location)
