"""Every further family under the adapter, held to what it declares."""

import pytest
import torch
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_deeplab_study.models import AtrousBackbone
from mmseg_deeplab_study.models.families import FAMILIES

pytestmark = pytest.mark.usefixtures('one_thread')

NETWORKS = {
    'resnext': (dict(type='mmpretrain.ResNeXt', depth=50), (0, 1, 2, 3)),
    'seresnet': (dict(type='mmpretrain.SEResNet', depth=50), (0, 1, 2, 3)),
    'seresnext': (dict(type='mmpretrain.SEResNeXt', depth=50), (0, 1, 2, 3)),
    'regnet': (dict(type='mmpretrain.RegNet', arch='regnetx_400mf'), (0, 1, 2, 3)),
    'mobilenet_v3-large': (dict(type='mmpretrain.MobileNetV3', arch='large'), (1, 3, 6, 12, 16)),
    'mobilenet_v3-small': (dict(type='mmpretrain.MobileNetV3', arch='small'), (1, 3, 8, 12)),
    'efficientnet-b0': (dict(type='mmpretrain.EfficientNet', arch='b0'), (1, 2, 3, 4, 6)),
    'efficientnet-es': (dict(type='mmpretrain.EfficientNet', arch='es'), (1, 2, 3, 5)),
    'shufflenet_v2': (dict(type='mmpretrain.ShuffleNetV2'), (0, 1, 2, 3)),
    'convnext': (dict(type='mmpretrain.ConvNeXt', arch='atto'), (0, 1, 2, 3)),
    'padded': (dict(type='PreExpandPadMobileNetV2'), (1, 2, 4, 6)),
}
# Sizes that the network rounds up; a patch stem and a stem without padding round down.
ROUNDS_DOWN = ('convnext', 'padded')
# Squeeze and excitation averages over more places, and torchvision's rule dilates one convolution early.
NOT_THE_SAME_FUNCTION = ('seresnet', 'seresnext', 'mobilenet_v3-large', 'mobilenet_v3-small')
each_stride = pytest.mark.parametrize('output_stride', [8, 16, 32])


def build(name: str, output_stride: int) -> AtrousBackbone:
    torch.manual_seed(0)
    backbone, out_indices = NETWORKS[name]
    config = dict(
        type='AtrousBackbone', backbone=backbone, output_stride=output_stride, out_indices=out_indices
    )
    return MODELS.build(config).eval()


def images(height: int, width: int) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_every_family_is_tested():
    tested = {type(build(name, 32).network) for name in NETWORKS}
    assert {cls.__name__ for cls in set(FAMILIES) - tested} == {'ResNet', 'ResNetV1c', 'MobileNetV2'}


@each_stride
@pytest.mark.parametrize('name', NETWORKS)
def test_declares_what_it_gives(name: str, output_stride: int):
    model = build(name, output_stride)
    assert model.out_strides[-1] == output_stride
    for height, width in ((64, 96),) if name in ROUNDS_DOWN else ((64, 96), (65, 49)):
        with torch.no_grad():
            features = model(images(height, width))
        assert [tuple(f.shape[1:]) for f in features] == [
            (channels, -(-height // stride), -(-width // stride))
            for channels, stride in zip(model.out_channels, model.out_strides, strict=True)
        ]


@pytest.mark.parametrize('output_stride', [8, 16])
@pytest.mark.parametrize('name', [name for name in NETWORKS if name not in NOT_THE_SAME_FUNCTION])
def test_dilated_network_computes_the_strided_one_at_more_places(name: str, output_stride: int):
    # An odd size, where TensorFlow's padding (EfficientNet) is symmetric, as ours is.
    dilated, strided = build(name, output_stride), build(name, 32)
    strided.load_state_dict(dilated.state_dict())
    image = images(97, 129)
    with torch.no_grad():
        dense, sparse = dilated(image)[-1], strided(image)[-1]
    step = 32 // output_stride
    assert sparse.abs().max() > 0
    torch.testing.assert_close(dense[..., ::step, ::step], sparse, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', NETWORKS)
def test_state_dict_does_not_depend_on_the_stride(name: str):
    shapes = [{k: v.shape for k, v in build(name, stride).state_dict().items()} for stride in (8, 32)]
    assert shapes[0] == shapes[1]


def test_torchvision_dilates_mobilenet_v3s_strided_convolution_at_once():
    depthwise = [
        module
        for name, module in build('mobilenet_v3-large', 16).named_modules()
        if name.endswith('depthwise_conv.conv')
    ]
    # Blocks 13 to 15, from the last strided one on, as torchvision's `dilated=True`.
    assert [conv.dilation[0] for conv in depthwise] == 12 * [1] + 3 * [2]


def test_unsupported_families_list_the_supported():
    with pytest.raises(ValueError, match=r'ResNetV1d.*supported: .*mmpretrain\.RegNet'):
        MODELS.build(dict(type='AtrousBackbone', backbone=dict(type='mmpretrain.ResNetV1d', depth=50)))


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
def test_first_block_is_mmsegs_mobilenet_v2(output_stride: int, strides: tuple, dilations: tuple):
    def features(dilated: str) -> Tensor:
        config = dict(type='AtrousBackbone', backbone=dict(type='mmpretrain.MobileNetV2'), dilated=dilated)
        model = MODELS.build({**config, 'output_stride': output_stride, 'out_indices': (1, 2, 4, 6)}).eval()
        model.load_state_dict(mmseg.state_dict())
        with torch.no_grad():
            return model(image)[-1]

    torch.manual_seed(0)
    config = dict(type='mmseg.MobileNetV2', out_indices=(1, 2, 4, 6), strides=strides, dilations=dilations)
    mmseg = MODELS.build(config)
    mmseg.eval()
    image = images(97, 129)
    with torch.no_grad():
        theirs = mmseg(image)[-1]
    torch.testing.assert_close(features('first_block'), theirs)
    assert not torch.allclose(features('all_blocks'), theirs, rtol=1e-2)


def test_dilated_must_be_known():
    with pytest.raises(ValueError, match=r"dilated must be one of .*first_block.*'some_blocks'"):
        MODELS.build(
            dict(type='AtrousBackbone', backbone=dict(type='mmpretrain.MobileNetV2'), dilated='some_blocks')
        )
