"""Every family under the adapter, held to what it declares at every output stride."""

from functools import lru_cache

import pytest
import torch
from mmengine.structures import PixelData
from mmpretrain.models.utils import SELayer
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_deeplab_study.models import AtrousBackbone
from mmseg_deeplab_study.models.families import FAMILIES


def network(kind: str, out_indices: tuple = (0, 1, 2, 3), **options) -> tuple[dict, tuple[int, ...]]:
    return dict(type=kind if '.' in kind else f'mmpretrain.{kind}', **options), out_indices


NETWORKS = {
    'resnet18': network('ResNet', depth=18),
    'resnet50': network('ResNet', depth=50),
    'resnet50-caffe': network('ResNet', depth=50, style='caffe'),
    'resnetv1c': network('ResNetV1c', depth=50),
    'resnext': network('ResNeXt', depth=50),
    'seresnet': network('SEResNet', depth=50),
    'seresnext': network('SEResNeXt', depth=50),
    'regnet': network('RegNet', arch='regnetx_400mf'),
    **{
        f'mobilenet_v2-{width}': network('MobileNetV2', (0, 1, 2, 4, 6), widen_factor=width)
        for width in (0.35, 0.5, 1.0, 1.4)
    },
    'mobilenet_v3-large': network('MobileNetV3', (1, 3, 6, 12, 16), arch='large'),
    'mobilenet_v3-small': network('MobileNetV3', (1, 3, 8, 12), arch='small'),
    'efficientnet-b0': network('EfficientNet', (1, 2, 3, 4, 6), arch='b0'),
    'efficientnet-es': network('EfficientNet', (1, 2, 3, 5), arch='es'),
    'shufflenet_v2': network('ShuffleNetV2'),
    'convnext': network('ConvNeXt', arch='atto'),
    'padded': network('mmseg.PreExpandPadMobileNetV2', (1, 2, 4, 6)),
}
# Sides that are no multiples of 32 are rounded up; a patch stem and a stem without padding round down.
ROUNDS_DOWN = ('convnext', 'padded')
# TensorFlow's padding is symmetric, as ours is, at odd sides alone.
ODD_ALONE = (*ROUNDS_DOWN, 'efficientnet-b0', 'efficientnet-es')
# torchvision's rule dilates one convolution early.
NOT_THE_SAME_FUNCTION = ('mobilenet_v3-large', 'mobilenet_v3-small')
ODD, EVEN = (97, 65), (96, 72)


def adapter(name: str, **options) -> dict:
    backbone, out_indices = NETWORKS[name]
    return dict(type='AtrousBackbone', backbone=backbone, out_indices=out_indices) | options


def build(name: str, output_stride: int) -> AtrousBackbone:
    torch.manual_seed(0)
    return MODELS.build(adapter(name, output_stride=output_stride)).eval()


def images(height: int, width: int) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def maps_of(model: AtrousBackbone) -> dict[tuple[int, int], tuple[Tensor, ...]]:
    """Its maps of an odd and an even image, by the image's size."""
    return {size: model(images(*size)) for size in (ODD, EVEN)}


# The tests come family by family.
@lru_cache(maxsize=1)
def strided(name: str) -> tuple[AtrousBackbone, dict]:
    """A network as mmpretrain builds it, and its maps."""
    model = build(name, 32)
    # Batch norm that does something, so that a wrong border shows.
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(std=0.1, generator=generator)
        elif isinstance(module, SELayer):
            # Else it averages over more places where the network is dilated.
            module.conv2.conv.weight.data.zero_()
    return model, maps_of(model)


def test_every_family_is_tested():
    assert {MODELS.get(backbone['type']) for backbone, _ in NETWORKS.values()} == set(FAMILIES)


@pytest.mark.parametrize('output_stride', [8, 16, 32])
@pytest.mark.parametrize('name', NETWORKS)
def test_gives_what_it_declares_and_computes_the_strided_network_at_more_places(name, output_stride):
    model, (sparse_model, sparse_maps) = build(name, output_stride), strided(name)
    # Keys and shapes do not depend on the stride.
    model.load_state_dict(sparse_model.state_dict(), strict=True)
    assert len(model.out_channels) == len(model.out_strides) == len(NETWORKS[name][1])
    assert model.out_strides[-1] == output_stride
    dense_maps = maps_of(model)
    declared = {(64, 96): model(images(64, 96))} if name in ROUNDS_DOWN else dense_maps
    for (height, width), maps in declared.items():
        for found, channels, stride in zip(maps, model.out_channels, model.out_strides, strict=True):
            assert found.shape == (1, channels, -(-height // stride), -(-width // stride))
    if name in NOT_THE_SAME_FUNCTION:
        return
    for size in (ODD,) if name in ODD_ALONE else (ODD, EVEN):
        steps = [one // other for one, other in zip(sparse_model.out_strides, model.out_strides, strict=True)]
        assert steps[-1] == 32 // output_stride
        for step, sparse, dense in zip(steps, sparse_maps[size], dense_maps[size], strict=True):
            scale = float(sparse.abs().max())
            assert scale > 0
            atol = 1e-5 * min(scale, 1.0)
            torch.testing.assert_close(dense[..., ::step, ::step], sparse, rtol=0, atol=atol)


def test_torchvision_dilates_mobilenet_v3s_strided_convolution_at_once():
    modules = build('mobilenet_v3-large', 16).named_modules()
    depthwise = [module for name, module in modules if name.endswith('depthwise_conv.conv')]
    # Blocks 13 to 15, from the last strided one on, as torchvision's `dilated=True`.
    assert [conv.dilation[0] for conv in depthwise] == 12 * [1] + 3 * [2]


def test_padded_block_differs_at_the_border_only():
    padded, plain = build('padded', 16), MODELS.build(dict(type='mmpretrain.MobileNetV2'))
    ours, theirs = padded.network.layer3[1], plain.layer3[1]
    theirs.load_state_dict(ours.state_dict())
    theirs.eval()
    x = torch.randn(1, 32, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # Without a shift ReLU6(BN(0)) is 0, the padding of every other MobileNetV2.
        torch.testing.assert_close(ours(x), theirs(x))
        for block in (ours, theirs):
            block.conv[0].bn.bias.fill_(0.5)
        difference = (ours(x) - theirs(x)).abs().amax(dim=(0, 1))
    assert difference[1:-1, 1:-1].max() < 1e-5
    for border in (difference[0], difference[-1], difference[:, 0], difference[:, -1]):
        assert border.min() > 1e-4


def test_padded_stem_does_not_pad():
    # (65 - 3) // 2 + 1 = 32 and (64 - 3) // 2 + 1 = 31.
    padded = build('padded', 16)
    assert padded.network.conv1(images(65, 64)).shape[2:] == (32, 31)


@pytest.mark.parametrize(
    ('output_stride', 'strides', 'dilations'),
    # MMSeg's own D8 and D16, in its terms.
    [(8, (1, 2, 2, 1, 1, 1, 1), (1, 1, 1, 2, 2, 4, 4)), (16, (1, 2, 2, 2, 1, 1, 1), (1, 1, 1, 1, 1, 2, 2))],
)
@torch.no_grad()
def test_first_block_is_mmsegs_mobilenet_v2(output_stride: int, strides: tuple, dilations: tuple):
    torch.manual_seed(0)
    same = dict(out_indices=(1, 2, 4, 6))
    mmseg = MODELS.build(dict(type='mmseg.MobileNetV2', strides=strides, dilations=dilations, **same))
    mmseg.eval()
    theirs = mmseg(images(97, 129))[-1]
    same |= dict(type='AtrousBackbone', backbone=dict(type='mmpretrain.MobileNetV2'))
    for dilated in ('first_block', 'all_blocks'):
        model = MODELS.build(dict(same, output_stride=output_stride, dilated=dilated)).eval()
        model.load_state_dict(mmseg.state_dict())
        difference = (model(images(97, 129))[-1] - theirs).abs().max() / theirs.abs().max()
        assert (difference < 1e-4) == (dilated == 'first_block')


def updates(name: str, amp: bool) -> list[float]:
    """Losses of two updates of a segmentor from random weights."""
    backbone = adapter(name, output_stride=8, out_indices=NETWORKS[name][1][-1:])
    channels = MODELS.build(backbone).out_channels[0]
    torch.manual_seed(0)
    head = dict(type='FCNHead', in_channels=channels, in_index=0, channels=16, num_convs=1, num_classes=4)
    head |= dict(concat_input=False, norm_cfg=dict(type='BN'), dropout_ratio=0)
    head |= dict(loss_decode=dict(type='CrossEntropyLoss'))
    model = MODELS.build(dict(type='StudyEncoderDecoder', backbone=backbone, decode_head=head)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    # Features 33 wide: what torch gets wrong begins at 25.
    inputs = torch.randn(1, 3, 33, 257, generator=generator)
    labels = torch.randint(0, 4, (1, 3, 17), generator=generator).repeat_interleave(11, 1)
    labels = torch.cat([labels.repeat_interleave(15, 2), labels[..., -1:].expand(1, 33, 2)], 2)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=labels))]
    losses = []
    for _ in range(2):
        with torch.autocast('cpu', torch.bfloat16, enabled=amp):
            loss = model.loss(inputs, samples)['decode.loss_ce']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize('name', {MODELS.get(NETWORKS[name][0]['type']): name for name in NETWORKS}.values())
def test_amp_trains_as_float32_does(name: str):
    """bfloat16 alone makes 3 % at most; wrong gradients made 13 % and more, and NaN."""
    assert updates(name, amp=True) == pytest.approx(updates(name, amp=False), rel=0.08)
