import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_deeplab_study.models import DeepLabV3Head


def build(**options) -> DeepLabV3Head:
    defaults = dict(in_channels=8, in_index=1, channels=4, num_classes=3, norm_cfg=dict(type='BN'))
    return MODELS.build(dict(type='DeepLabV3Head') | defaults | options)


def features(height: int = 9, width: int = 13, batch: int = 2) -> list[Tensor]:
    """Two feature maps, of which the heads here read the second."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, channels, height, width, generator=generator) for channels in (5, 8)]


@pytest.mark.parametrize('dilations', [(1,), (1, 6, 12, 18), (2, 3)])
@pytest.mark.parametrize('size', [(9, 13), (1, 1), (8, 4)])
def test_logits_have_the_size_of_the_features(dilations: tuple, size: tuple[int, int]):
    head = build(dilations=dilations).eval()
    assert head(features(*size)).shape == (2, 3, *size)


@pytest.mark.parametrize('refine', [True, False])
def test_values_against_plain_convolutions(refine: bool):
    """Atrous branches in order, the pooling branch last, projection, refinement, classifier."""
    head = build(dilations=(1, 2, 3), refine=refine, norm_cfg=None).eval()
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    weights = head.state_dict()

    def conv(name: str, x: Tensor, relu: bool = True, **options) -> Tensor:
        x = F.conv2d(x, weights.pop(f'{name}.weight'), weights.pop(f'{name}.bias'), **options)
        return x.relu() if relu else x

    inputs = features()
    x = inputs[1]
    branches = [
        conv('aspp.0.conv', x),
        conv('aspp.1.conv', x, dilation=2, padding=2),
        conv('aspp.2.conv', x, dilation=3, padding=3),
        conv('image_pool.1.conv', x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, 9, 13),
    ]
    expected = conv('project.conv', torch.cat(branches, dim=1))
    if refine:
        expected = conv('refine.conv', expected, padding=1)
    expected = conv('conv_seg', expected, relu=False)
    assert not weights  # there is nothing else in the head
    torch.testing.assert_close(head(inputs), expected)


def test_dropout_after_the_projection_is_elementwise_and_of_training_only():
    head = build(aspp_dropout_ratio=0.5, channels=16, norm_cfg=None).train()
    calls = []
    for module in (head.project, head.aspp_dropout, head.refine):
        module.register_forward_hook(lambda module, args, output: calls.append((args[0], output)))
    torch.manual_seed(0)
    head(features(32, 32))
    (_, projected), (before, after), (refined, _) = calls
    assert before is projected and after is refined
    dropped = (before > 0) & (after == 0)
    # Elementwise: in each map, and not a channel as a whole.
    for channel, lost in zip((before > 0).flatten(0, 1), dropped.flatten(0, 1), strict=True):
        assert 0 < lost.sum() < channel.sum() or channel.sum() < 20
    torch.testing.assert_close(after[~dropped], 2 * before[~dropped])  # 1 / (1 - 0.5)
    head.eval()
    head(features(32, 32))
    assert torch.equal(*calls[4])


def test_defaults():
    head = MODELS.build(dict(type='DeepLabV3Head', in_channels=8, num_classes=3))
    assert [branch.conv.dilation[0] for branch in head.aspp] == [1, 6, 12, 18]
    assert [branch.conv.kernel_size[0] for branch in head.aspp] == [1, 3, 3, 3]
    assert head.conv_seg.in_channels == 256 and head.refine.conv.kernel_size == (3, 3)
    assert head.aspp_dropout.p == 0.1 and head.dropout is None
    # mmseg's own, channelwise, before the classifier, if asked for.
    assert build(dropout_ratio=0.3).dropout.p == 0.3
    with pytest.raises(ValueError, match=r'dilations must name at least one branch, such as \(1,\), but got'):
        build(dilations=())


@pytest.mark.parametrize('align_corners', [True, False])
def test_plus_joins_the_first_map_with_the_pyramid(align_corners: bool):
    plus = build(align_corners=align_corners, type='DeepLabV3PlusHead', c1_in_channels=5, c1_channels=6)
    plain = build(refine=False)
    plus.eval()
    plain.load_state_dict(plus.state_dict(), strict=False)
    low, high = features(17, 25)[0], features()[1]
    pyramid = plain.eval()._pyramid([low, high])
    resized = F.interpolate(pyramid, (17, 25), mode='bilinear', align_corners=align_corners)
    expected = plus.conv_seg(plus.fuse(torch.cat([plus.low_level(low), resized], dim=1)))
    assert expected.shape == (2, 3, 17, 25)
    torch.testing.assert_close(plus([low, high]), expected)
