import copy
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_deeplab_study.models import AtrousBackbone

R18 = dict(type='mmpretrain.ResNet', depth=18)
# As narrow as it gets, for tests that any network would do for.
MOBILE = dict(type='mmpretrain.MobileNetV2', widen_factor=0.35)

FAMILIES = {
    'resnet18': (R18, (0, 1, 2, 3)),
    'resnet50-caffe': (dict(type='mmpretrain.ResNet', depth=50, style='caffe'), (0, 1, 2, 3)),
    'resnetv1c50': (dict(type='mmpretrain.ResNetV1c', depth=50), (0, 1, 2, 3)),
    'mobilenet_v2': (dict(type='mmpretrain.MobileNetV2'), (0, 1, 2, 4, 6)),
    'mobilenet_v2-0.5': (dict(type='mmpretrain.MobileNetV2', widen_factor=0.5), (0, 1, 2, 4, 6)),
}
both = pytest.mark.parametrize('backbone', [R18, MOBILE], ids=['resnet', 'mobilenet'])
each_family = pytest.mark.parametrize('family', FAMILIES)


def build(backbone: dict, **options) -> AtrousBackbone:
    return MODELS.build(dict(type='AtrousBackbone', backbone=backbone, **options))


def randomise(model: nn.Module) -> nn.Module:
    """Batch norm that does something, so that a wrong border or a wrong statistic shows."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for tensor in (module.weight, module.running_var):
                tensor.data = 0.5 + torch.rand(tensor.shape, generator=generator)
            for tensor in (module.bias, module.running_mean):
                tensor.data = 0.1 * torch.randn(tensor.shape, generator=generator)
    return model


def images(height: int, width: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.randn(batch, 3, height, width, generator=generator)


def norms(model: nn.Module) -> dict[str, _BatchNorm]:
    return {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}


def statistics(model: nn.Module) -> dict[str, Tensor]:
    ends = ('running_mean', 'running_var')
    return {name: value.clone() for name, value in model.state_dict().items() if name.endswith(ends)}


@pytest.mark.parametrize(
    ('backbone', 'channels', 'strides'),
    [
        (R18, (64, 128, 256, 512), (4, 8, 16, 16)),
        (dict(type='mmpretrain.ResNet', depth=50), (256, 512, 1024, 2048), (4, 8, 16, 16)),
        # The last convolution is stage 7.
        (FAMILIES['mobilenet_v2'][0], (16, 24, 32, 64, 96, 160, 320, 1280), (2, 4, 8, 16, 16, 16, 16, 16)),
        # 24 * 0.5 = 12, which mmpretrain rounds to the nearest multiple of 8, upwards: 16.
        (FAMILIES['mobilenet_v2-0.5'][0], (8, 16, 16, 32, 48, 80, 160, 1280), (2, 4, 8, 16, 16, 16, 16, 16)),
    ],
)
def test_golden_declaration(backbone: dict, channels: tuple, strides: tuple):
    model = build(backbone, out_indices=tuple(range(len(channels))))  # output stride 16 is the default
    assert (model.out_channels, model.out_strides) == (channels, strides)


@each_family
def test_output_stride_32_is_mmpretrain_itself(family: str):
    backbone, out_indices = FAMILIES[family]
    peer = randomise(MODELS.build({**backbone, 'out_indices': out_indices}))
    peer.eval()  # theirs returns None
    model = build(backbone, output_stride=32, out_indices=out_indices).eval()
    model.load_state_dict(peer.state_dict(), strict=False)
    x = images(65, 64)
    with torch.no_grad():
        for expected, actual in zip(peer(x), model(x), strict=True):
            assert torch.equal(expected, actual)


@each_family
def test_state_dict_is_mmpretrains_without_the_later_stages(family: str):
    backbone, out_indices = FAMILIES[family]
    kept = out_indices[:-1]
    theirs = MODELS.build({**backbone, 'out_indices': kept}).state_dict()
    stages = {key.split('.')[0] for key in theirs if key.startswith('layer')}
    later = (*(f'{stage}.' for stage in stages if stage > f'layer{kept[-1] + 1}'), 'conv2.')
    expected = {key: value.shape for key, value in theirs.items() if not key.startswith(later)}
    ours = build(backbone, output_stride=8, out_indices=kept).state_dict()
    assert len(expected) < len(theirs)
    assert {key: value.shape for key, value in ours.items()} == expected
    assert list(ours) == list(expected)


CONVNEXT = dict(type='mmpretrain.ConvNeXt', arch='atto')


@pytest.mark.parametrize('backbone', [R18, MOBILE, CONVNEXT], ids=['resnet', 'mobilenet', 'convnext'])
def test_negative_out_indices_count_from_the_end(backbone: dict):
    count = 8 if backbone is MOBILE else 4
    networks = []
    for out_indices in ((1, count - 2), (1, -2)):
        torch.manual_seed(0)
        networks.append(build(backbone, output_stride=8, out_indices=out_indices).eval())
    expected, found = networks
    assert (found.out_channels, found.out_strides) == (expected.out_channels, expected.out_strides)
    assert list(found.state_dict()) == list(expected.state_dict())
    assert all(map(torch.equal, found(images(32, 32)), expected(images(32, 32))))


def test_config_is_not_mutated():
    config = dict(backbone=dict(R18), output_stride=8, out_indices=[1, -1], init_cfg=dict(type='Pretrained'))
    before = copy.deepcopy(config)
    build(**config)
    assert config == before


@pytest.mark.parametrize('twin_of', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_and_pickles_are_independent_and_work(twin_of):
    model = randomise(build(R18, output_stride=8, out_indices=(1, 3), frozen_stages=1)).eval()
    x = images(33, 33)
    expected = model(x)[-1].detach()
    twin = twin_of(model)
    assert torch.equal(twin(x)[-1], expected)
    assert twin.out_channels == model.out_channels
    twin.double()  # reaches what forward uses
    assert twin(x.double())[0].dtype == torch.float64
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(model(x)[-1], expected)
    # The frozen modules are the twin's own, too.
    assert not twin.train().bn1.training and not model.network.training


@both
def test_sync_bn_conversion_reaches_what_forward_uses(backbone: dict):
    model = randomise(build(backbone, output_stride=8, frozen_stages=1)).train()
    x = images(33, 33, batch=2)
    before = statistics(model)
    expected = copy.deepcopy(model)(x)[-1]
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model).train()
    assert {type(norm) for norm in norms(converted).values()} == {nn.SyncBatchNorm}
    torch.testing.assert_close(converted(x)[-1], expected)
    # Forward goes through each; the stem's norm was replaced, and is frozen still.
    stem = ('bn1.', 'conv1.', 'layer1.')
    moved = {name for name, value in statistics(converted).items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if not name.startswith(stem)}


@pytest.mark.parametrize('norm_eval', [True, False])
@both
def test_norm_eval_keeps_every_statistic(backbone: dict, norm_eval: bool):
    model = build(backbone, norm_eval=norm_eval).train()
    assert model.training and all(norm.training != norm_eval for norm in norms(model).values())
    before = statistics(model)
    model(images(33, 33, batch=2))
    assert {torch.equal(value, before[name]) for name, value in statistics(model).items()} == {norm_eval}
    assert all(p.requires_grad for p in model.parameters())


def test_norm_momentum():
    assert {norm.momentum for norm in norms(build(R18, norm_momentum=0.01)).values()} == {0.01}
    assert {norm.momentum for norm in norms(build(R18)).values()} == {0.1}


@pytest.mark.parametrize(
    ('backbone', 'frozen_stages', 'frozen'),
    [
        (R18, -1, ()),
        (R18, 0, ('conv1.', 'bn1.')),
        (R18, 2, ('conv1.', 'bn1.', 'layer1.', 'layer2.')),
        (R18, 4, ('conv1.', 'bn1.', 'layer1.', 'layer2.', 'layer3.', 'layer4.')),
        (FAMILIES['resnetv1c50'][0], 1, ('stem.', 'layer1.')),
        (MOBILE, 3, ('conv1.', 'layer1.', 'layer2.', 'layer3.')),
    ],
)
def test_frozen_stages_do_not_move(backbone: dict, frozen_stages: int, frozen: tuple[str, ...]):
    out_indices = (1, 3) if 'depth' in backbone else (2, 6)
    model = build(backbone, out_indices=out_indices, frozen_stages=frozen_stages, output_stride=8)
    model.eval().train()  # frozen stages stay in evaluation mode through a switch back
    before = {name: value.clone() for name, value in model.state_dict().items()}
    features = model(images(33, 33, batch=2))
    if frozen_stages < 4:
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
        sum((f * torch.randn_like(f)).sum() for f in features).backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith(frozen), name
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != name.startswith(frozen), name


@both
@pytest.mark.parametrize('inside', [False, True], ids=['alone', 'inside a segmentor'])
def test_init_cfg_loads_a_classifier(backbone: dict, inside: bool, tmp_path: Path):
    weights = randomise(MODELS.build(backbone)).state_dict()
    state = {'head.fc.weight': torch.ones(1000, 8)} | {f'backbone.{key}': weights[key] for key in weights}
    path = tmp_path / 'classifier.pth'
    torch.save({'state_dict': state}, path)
    config = dict(type='AtrousBackbone', backbone=backbone, out_indices=(0, 2), output_stride=8)
    config['init_cfg'] = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
    model = adapter = MODELS.build(config)
    if inside:
        head = dict(type='DeepLabV3Head', in_channels=adapter.out_channels[1], in_index=1, channels=8)
        head['num_classes'] = 19
        model = MODELS.build(dict(type='EncoderDecoder', backbone=config, decode_head=head))
        adapter = model.backbone
    model.init_weights()
    assert all(torch.equal(value, weights[key]) for key, value in adapter.state_dict().items())
    if inside:
        # The head is initialised as mmseg does: a normal distribution of 0.01 in the classifier.
        assert 0.005 < model.decode_head.conv_seg.weight.std() < 0.02
    for module in (*model.modules(), *adapter.network.modules()):
        assert '_params_init_info' not in vars(module), type(module).__name__


def test_without_init_cfg_mmpretrain_initialises():
    """mmpretrain's default: Kaiming normal, fan out, and zero in the last norm of each residual."""
    model = build(R18)
    model.init_weights()
    assert not model.layer1[0].bn2.weight.any() and model.layer1[0].bn1.weight.eq(1).all()
    found, fan_out = model.layer4[1].conv2.weight.std().item(), 512 * 3 * 3
    assert found == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


def error_cases() -> Iterator[tuple[dict, dict, str]]:
    supported = 'supported: mmpretrain.ResNet, .*mmpretrain.MobileNetV2, PreExpandPadMobileNetV2'
    yield dict(type='mmpretrain.VGG', depth=11), {}, rf"type='mmpretrain.VGG' \(<class .*VGG'>\); {supported}"
    # A family without out_indices, and one that downsamples elsewhere.
    yield dict(type='mmpretrain.HRNet', arch='w18'), {}, f'does not support .*HRNet.*; {supported}'
    yield dict(type='mmpretrain.ResNetV1d', depth=50), {}, f'does not support .*ResNetV1d.*; {supported}'
    # Without the scope it is mmseg's.
    yield dict(type='ResNet', depth=50), {}, rf"type='ResNet' \(<class 'mmseg\..*ResNet'>\); {supported}"
    yield dict(type='mmpretrain.ResNett'), {}, rf"type='mmpretrain.ResNett' \(None\); {supported}"
    yield dict(depth=50), {}, rf'type=None \(None\); {supported}'
    for option in ('strides', 'dilations', 'out_indices', 'norm_eval', 'frozen_stages', 'init_cfg'):
        yield {**R18, option: 1}, {}, rf"\['{option}'\] in backbone=.*set by AtrousBackbone, not inside"
    for output_stride in (4, 64, 12):
        yield R18, dict(output_stride=output_stride), f'must be one of .*, but got {output_stride}'
    yield MOBILE, dict(dilated='some_blocks'), r"dilated must be one of .*first_block.*'some_blocks'"
    yield R18, dict(output_stride=32, out_indices=(0, 1)), r'cannot have output_stride 32: they reach 8'
    avg_down = dict(type='mmpretrain.ResNet', depth=50, avg_down=True)
    for output_stride in (8, 32):
        options = dict(output_stride=output_stride)
        yield avg_down, options, 'only in a convolution, but got AvgPool2d.*avg_down'
    yield R18, dict(frozen_stages=5), r'frozen_stages must be in \[-1, 4\], but got 5'
    yield R18, dict(frozen_stages=-2), r'frozen_stages must be in \[-1, 4\], but got -2'
    yield R18, dict(out_indices=(0, 1, 2), frozen_stages=4), r'must be in \[-1, 3\], but got 4'
    for out_indices in ((0, 4), (-5,), (3, 2), (2, 2), (3, -1)):
        got = re.escape(repr(out_indices))
        message = rf'must be in \[-4, 3\], the maps of mmpretrain.ResNet, in rising order, but got {got}'
        yield R18, dict(out_indices=out_indices), message
    yield MOBILE, dict(out_indices=(8,)), r'in \[-8, 7\], the maps of mmpretrain.MobileNetV2, .* \(8,\)'
    for out_indices in ((), 3, ('3',)):
        got = re.escape(repr(out_indices))
        yield R18, dict(out_indices=out_indices), rf'numbers, such as \(2, 3\) or \(-1,\), but got {got}'


@pytest.mark.parametrize(('backbone', 'options', 'message'), error_cases())
def test_errors(backbone: dict, options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        AtrousBackbone(backbone, **options)
