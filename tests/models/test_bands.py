"""Blocks on bands of rows against the same blocks on the whole map."""

import copy

import pytest
import torch
from mmseg.registry import MODELS
from torch import nn

from mmseg_deeplab_study.models import bands
from mmseg_deeplab_study.models.bands import InBands, run_in_bands

NETWORKS = {
    'resnet-18': dict(type='mmpretrain.ResNet', depth=18),
    'resnet-50': dict(type='mmpretrain.ResNet', depth=50),
    'mobilenet-v2': dict(type='mmpretrain.MobileNetV2', widen_factor=0.35),
    'mobilenet-v2-padded': dict(type='PreExpandPadMobileNetV2', widen_factor=0.35),
}


@pytest.fixture
def narrow(monkeypatch):
    """Bands of 8 rows of whatever input, so that small maps are cut up."""
    monkeypatch.setattr(bands, '_WIDE', 0)
    monkeypatch.setattr(bands, '_ROWS', 8)


def build(network: dict, output_stride: int = 16) -> nn.Module:
    """Without norm, as folded, and in double: a band's result does not hang on the order of a sum."""
    torch.manual_seed(0)
    out_indices = (1, 2, 4, 6) if 'MobileNet' in network['type'] else (0, 1, 2, 3)
    config = dict(backbone=network, output_stride=output_stride, out_indices=out_indices)
    model = MODELS.build(dict(type='AtrousBackbone', **config)).eval().requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            parent, _, own = name.rpartition('.')
            setattr(model.get_submodule(parent), own, nn.Identity())
    return model.double()


@pytest.mark.parametrize('size', [(64, 40), (61, 33), (96, 8)], ids=str)
@pytest.mark.parametrize('output_stride', [8, 32])
@pytest.mark.parametrize('network', NETWORKS)
def test_bands_give_what_the_whole_gives(network, output_stride, size, narrow):
    whole = build(NETWORKS[network], output_stride)
    cut = copy.deepcopy(whole)
    run_in_bands(cut)
    assert sum(isinstance(module, InBands) for module in cut.modules()) >= 4
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for found, expected in zip(cut(images), whole(images), strict=True):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ('wide', 'expected'),
    # Two blocks of two 3x3 convolutions see 4 rows: 8 + 4 below, then 4 + 8 + 4, at last 4 + 8.
    [(40 * 8, [12, 16, 16, 16, 12]), (40 * 8 + 1, [40])],
    ids=['bands', 'small maps as a whole'],
)
def test_a_band_is_run_for_some_rows_only(wide, expected, narrow, monkeypatch):
    monkeypatch.setattr(bands, '_WIDE', wide)
    model = build(NETWORKS['resnet-18'])
    run_in_bands(model)
    heights = []
    stage = model.layer1
    stage.blocks.register_forward_pre_hook(lambda module, inputs: heights.append(inputs[0].shape[2]))
    stage(torch.zeros(1, 64, 40, 8, dtype=torch.float64))
    assert heights == expected


def test_margin_and_stride():
    stage = build(NETWORKS['resnet-50'], output_stride=16).layer4
    run_in_bands(parent := nn.ModuleDict({'stage': stage}))
    # Three bottlenecks with a 3x3 each: the first keeps dilation 1, then 2 and 2; stride became dilation.
    assert (parent['stage'].margin, parent['stage'].stride) == (5, 1)


@pytest.mark.parametrize(
    'build_network',
    [
        # Its blocks look at the whole map.
        lambda: build(dict(type='mmpretrain.SEResNet', depth=50)),
        lambda: build(dict(type='mmpretrain.ConvNeXt', arch='atto')),
        # 513 rows and a band of an even number get other padding.
        lambda: build(dict(NETWORKS['mobilenet-v2'], conv_cfg=dict(type='Conv2dAdaptivePadding')), 32),
        lambda: MODELS.build(dict(type='AtrousBackbone', backbone=NETWORKS['resnet-18'])),
    ],
    ids=['squeeze-excite', 'not known', 'padding by the size', 'norm not folded'],
)
def test_what_is_not_local_is_left_alone(build_network):
    model = build_network()
    run_in_bands(model)
    assert not any(isinstance(module, InBands) for module in model.modules())
