"""Transformers as feature extractors: mmpretrain's own maps, at sizes that they were not trained at, too."""

import copy
import pickle

import pytest
import torch
from mmengine.config import ConfigDict
from mmpretrain.models.backbones import SwinTransformer, VisionTransformer
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

SWIN_ARCH = dict(embed_dims=12, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])
SWIN = dict(type='mmpretrain.SwinTransformer', arch=SWIN_ARCH)
VIT_ARCH = dict(embed_dims=48, num_layers=3, num_heads=3, feedforward_channels=96)
VIT = dict(type='mmpretrain.VisionTransformer', arch=VIT_ARCH, img_size=64)
MIT = dict(type='MixVisionTransformer', embed_dims=8, num_layers=[1, 1, 1, 1], num_heads=[1, 2, 5, 8])
NETWORKS = {
    'swin': (SWIN, (0, 1, 2, 3), (12, 24, 48, 96), (4, 8, 16, 32)),
    'vit': (VIT, (0, 1, 2), (48, 48, 48), (16, 16, 16)),
    'vit, last map': (VIT, (-1,), (48,), (16,)),
    'mit': (MIT, (0, 1, 2, 3), (8, 16, 40, 64), (4, 8, 16, 32)),
    'mit, last maps': (MIT, (-2, -1), (40, 64), (16, 32)),
}

each_network = pytest.mark.parametrize('name', NETWORKS)


def adapted(backbone: dict, out_indices: tuple[int, ...] = (-1,)) -> nn.Module:
    return MODELS.build(dict(type='TransformerBackbone', backbone=backbone, out_indices=out_indices))


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return trained(adapted(*NETWORKS[name][:2]))


def trained(network: nn.Module) -> nn.Module:
    """As after training: initial weights of positions and norms hardly matter to what comes out."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    network.eval()  # of mmpretrain's networks it returns nothing
    return network


def images(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


@each_network
@pytest.mark.parametrize('size', [(64, 64), (65, 97), (48, 200), (33, 31)])
def test_declared_channels_and_strides_hold(name, size):
    _, _, channels, strides = NETWORKS[name]
    network = build(name)
    assert network.out_channels == channels and network.out_strides == strides
    with torch.no_grad():
        maps = network(images(*size))
    for found, number, stride in zip(maps, channels, strides, strict=True):
        assert found.shape == (2, number, *(-(-side // stride) for side in size))


@pytest.mark.parametrize(
    ('name', 'kind', 'side', 'options'),
    [('swin', SwinTransformer, 224, {'img_size': 224}), ('vit', VisionTransformer, 64, {'out_type': 'raw'})],
)
def test_maps_are_mmpretrains_own_at_the_trained_size(name, kind, side, options):
    backbone, out_indices, *_ = NETWORKS[name]
    arch = {key: value for key, value in backbone.items() if key != 'type'}
    plain = trained(kind(**arch, **options, out_indices=list(out_indices)))
    ours = build(name)
    ours.load_state_dict(plain.state_dict())
    # Swin's last map, 7x7, is one window.
    with torch.no_grad():
        for found, expected in zip(ours(images(side, side)), plain(images(side, side)), strict=True):
            if name == 'vit':
                # After the class token, a token for each patch, row by row.
                expected = expected[:, 1:].transpose(1, 2).reshape(2, 48, 4, 4)
            assert torch.equal(found, expected)


def test_the_published_sizes_of_networks():
    swin, deit = ('SwinTransformer', 'tiny', 768, 32), ('VisionTransformer', 'deit-small', 384, 16)
    for kind, arch, channels, stride in (swin, deit):
        network = adapted(dict(type=f'mmpretrain.{kind}', arch=arch))
        assert (network.out_channels, network.out_strides) == ((channels,), (stride,))


def interpolated(positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Positions (1, 1 + 4 * 4, C) of a class token and a grid of patches, for a grid of another size."""
    grid = positions[:, 1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size, mode='bicubic', align_corners=False)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def test_positions_are_those_of_the_images_size():
    learnt, exact = build('vit, last map'), adapted(dict(VIT, img_size=(96, 128)))
    exact.load_state_dict({**learnt.state_dict(), 'pos_embed': interpolated(learnt.pos_embed, (6, 8))})
    exact.eval()
    with torch.no_grad():
        (found,), (expected,) = learnt(images(96, 128)), exact(images(96, 128))
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_checkpoint_of_another_size_is_interpolated():
    small, network = build('vit'), adapted(dict(VIT, img_size=96))
    network.load_state_dict(small.state_dict())
    assert torch.allclose(network.pos_embed, interpolated(small.pos_embed, (6, 6)), atol=1e-6)


@each_network
def test_what_comes_back_is_the_network_itself_and_survives_pickling_and_copying(name):
    network = build(name)
    assert type(network) is MODELS.get(NETWORKS[name][0]['type'])
    with torch.no_grad():
        expected = network(images(65, 97))
        for twin in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
            assert twin.out_channels == network.out_channels
            assert all(map(torch.equal, twin(images(65, 97)), expected))


@each_network
def test_the_segmentor_evaluates_them_as_mmsegs_does(name):
    backbone, out_indices, channels, _ = NETWORKS[name]
    head = dict(type='DeepLabV3Head', in_channels=channels[-1], in_index=-1, channels=16, dilations=(1, 2))
    config = dict(
        backbone=dict(type='TransformerBackbone', backbone=backbone, out_indices=out_indices),
        decode_head=dict(head, num_classes=5, norm_cfg=dict(type='BN')),
        test_cfg=ConfigDict(mode='whole'),
    )
    torch.manual_seed(0)
    ours = trained(MODELS.build(dict(type='StudyEncoderDecoder', output='full', **config)))
    stock = MODELS.build(dict(type='EncoderDecoder', **config)).eval()
    stock.load_state_dict(ours.state_dict())
    with torch.no_grad():
        results = [[one.seg_logits.data for one in model.predict(images(65, 97))] for model in (ours, stock)]
    for found, expected in zip(*results, strict=True):
        scale = expected.abs().max()
        assert (found - expected).abs().max() < 1e-4 * scale
        assert expected.std(dim=(1, 2)).max() > 1e-3 * scale


RESNET, NO_SUPPORT = dict(type='mmpretrain.ResNet', depth=50), 'TransformerBackbone does not support'


@pytest.mark.parametrize(
    ('backbone', 'out_indices', 'message'),
    [
        (RESNET, (2,), f"{NO_SUPPORT} type='mmpretrain.ResNet' .*; supported: mmpretrain.SwinTr"),
        (dict(VIT, out_type='raw'), (2,), r"\['out_type'\] in backbone=.*: set by TransformerBackbone"),
        (VIT, (), r'out_indices must be numbers, such as .* but got \(\)'),
        (VIT, (0, 1), r'out_indices must end with 2 or -1, the last of mmpretrain.VisionTran'),
        ({}, (2,), 'does not support type=None'),
        (SWIN, (0, 12), r'in \[-4, 3\], the maps .*\(0, 12\)'),
        (VIT, (0, 12), r'in \[-3, 2\], the maps .*\(0, 12\)'),
        (MIT, (0, 12), r'in \[-4, 3\], the maps .*\(0, 12\)'),
    ],
)
def test_refuses_what_cannot_be_adapted(backbone, out_indices, message):
    with pytest.raises(ValueError, match=message):
        adapted(backbone, out_indices)
