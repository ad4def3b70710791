"""StudyEncoderDecoder against MMSeg's EncoderDecoder with the same weights."""

import copy
from collections.abc import Callable

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_deeplab_study.models import bands
from mmseg_deeplab_study.models.segmentors import (
    StudyEncoderDecoder,
    _contenders,
    bare_model,
    upsampled_labels,
)

INPUTS = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def build(config: ConfigDict) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(config)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        # As after training: without this, folding would have nothing to do.
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.2)
        norm.momentum = 1.0
    nn.init.normal_(model.decode_head.conv_seg.weight)
    with torch.no_grad():
        # Statistics of what comes in; drawn ones let nothing through a deep network.
        model.train().decode_head(model.extract_feat(INPUTS))
    for norm in norms:
        norm.momentum = 0.1
    return model


@pytest.fixture
def both(model_config) -> Callable[..., tuple[StudyEncoderDecoder, nn.Module]]:
    """A function that builds ours and MMSeg's, with the same weights, evaluating."""
    return lambda **changes: with_the_stock(build(model_config(**changes)), model_config(**changes))


def with_the_stock(ours: nn.Module, config: ConfigDict) -> tuple[nn.Module, nn.Module]:
    stock = {key: value for key, value in config.items() if key not in ('output', 'eval_dtype')}
    stock = MODELS.build(ConfigDict(stock | {'type': 'EncoderDecoder'}))
    # Strictly: the state dict is EncoderDecoder's.
    assert list(stock.state_dict()) == list(ours.state_dict())
    stock.load_state_dict(ours.state_dict())
    return ours.eval(), stock.eval()


def samples(*shapes: tuple[int, int], **meta) -> list[SegDataSample]:
    found = []
    for height, width in shapes:
        sizes = dict(img_shape=(height, width), ori_shape=(height, width), pad_shape=(64, 96))
        sizes['padding_size'] = [0, 96 - width, 0, 64 - height]
        found.append(SegDataSample(metainfo=sizes | meta))
    return found


@torch.no_grad()
def predict(model: nn.Module, inputs: torch.Tensor, given: list[SegDataSample]) -> list[SegDataSample]:
    return model.predict(inputs, copy.deepcopy(given))


def assert_same_labels(models: tuple, given: list[SegDataSample], dtype: torch.dtype = torch.uint8) -> None:
    found, expected = (predict(model, INPUTS[: len(given)], given) for model in models)
    for one, other in zip(found, expected, strict=True):
        labels = one.pred_sem_seg.data
        assert labels.dtype == dtype and labels.shape == other.pred_sem_seg.data.shape
        assert (labels == other.pred_sem_seg.data).float().mean() >= 0.999


class Deformable(nn.Module):
    """As mmcv's deformable convolutions: own convolution for the offsets, and an op for planes alone."""

    __module__ = 'mmcv.ops.deform_conv'

    def __init__(self) -> None:
        super().__init__()
        self.conv_offset = nn.Conv2d(3, 3, 3, padding=1)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for tensor in (images, offset := self.conv_offset(images), self.conv.weight):
            assert tensor.is_contiguous(), 'input must be contiguous'
        return self.conv(images + offset)


def test_compiled_ops_get_planes(model_config):
    """Of a real one, tests/test_compat.py has a test for where mmcv is compiled."""

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.op = nn.Conv2d(3, 3, 3, padding=1), Deformable()

        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return [self.op(self.first(images))]

    config = model_config()
    config.backbone = dict(type=Backbone)
    config.decode_head.in_channels = 3
    ours = MODELS.build(config)
    assert ours.backbone.first.weight.is_contiguous(memory_format=torch.channels_last)
    predict(ours.eval(), INPUTS, samples((64, 96), (48, 80)))
    ours.train().extract_feat(INPUTS)[0].sum().backward()


@pytest.mark.parametrize('head', ['DeepLabV3Head', 'ASPPHead'])
@pytest.mark.parametrize('backbone', ['mobilenet-v2', 'resnet-18', 'mobilenet-v3'])
def test_labels_are_those_of_mmseg(backbone, head, both):
    models, given = both(backbone=backbone, head=head), samples((64, 96), (48, 80))
    assert_same_labels(models, given)
    found = predict(models[0], INPUTS, given)[0]
    assert len(found.pred_sem_seg.data.unique()) > 1 and 'seg_logits' not in found


@pytest.mark.parametrize('backbone', ['mobilenet-v2', 'resnet-18'])
def test_labels_of_bands_are_those_of_mmseg(backbone, monkeypatch, both):
    monkeypatch.setattr(bands, '_WIDE', 0)
    monkeypatch.setattr(bands, '_ROWS', 8)
    models = both(backbone=backbone)
    assert_same_labels(models, samples((64, 96), (48, 80)))
    assert sum(isinstance(module, bands.InBands) for module in models[0]._fold(INPUTS).modules()) >= 4


@pytest.mark.parametrize(
    ('size', 'meta'),
    [
        ((48, 80), dict(ori_shape=(96, 160))),
        ((40, 80), dict(padding_size=[5, 11, 16, 8])),
        ((40, 80), dict(padding_size=[5, 11, 16, 8], ori_shape=(20, 40))),
    ],
    ids=['resized', 'padded', 'padded and resized'],
)
def test_labels_have_the_original_size(size, meta, both):
    assert_same_labels(both(), samples(size, **meta))


@MODELS.register_module()
class NoClassifierHead(FCNHead):
    """As Segmenter's: nothing that is called conv_seg."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.last = self.conv_seg
        del self.conv_seg

    def cls_seg(self, feat):
        return self.last(feat)


@pytest.mark.parametrize(
    ('kind', 'options', 'dtype'),
    [
        ('NoClassifierHead', dict(num_convs=1), torch.uint8),
        # It predicts by itself.
        ('DAHead', dict(pam_channels=4), torch.int64),
    ],
)
def test_heads_of_other_kinds(kind, options, dtype, model_config):
    config = model_config(head=kind)
    config.decode_head.update(options)
    models = with_the_stock(MODELS.build(config), config)
    assert_same_labels(models, samples((64, 96), (48, 80)), dtype)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', [(64, 96), (7, 200), (45, 33), (4, 6), (3, 2), (1, 1)], ids=str)
def test_upsampled_labels_are_those_of_upsampled_logits(size, align_corners):
    logits = torch.randn(2, 19, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        given = logits.contiguous(memory_format=memory_format)[1:]
        assert_labels_of_resized(given, size, align_corners)


def assert_labels_of_resized(logits: torch.Tensor, size: tuple[int, int], align_corners: bool) -> None:
    found = upsampled_labels(logits, size, align_corners)
    resized = nn.functional.interpolate(logits, size, mode='bilinear', align_corners=align_corners)
    assert found.dtype == torch.uint8 and found.shape == size
    assert torch.equal(found, resized[0].argmax(dim=0).to(torch.uint8))


def won_by(winners: list[list[int]], classes: int) -> torch.Tensor:
    """Logits (1, C, h, w) whose largest are as given; the others are near enough to win between them."""
    ahead = nn.functional.one_hot(torch.tensor(winners), classes).permute(2, 0, 1)[None]
    noise = torch.rand(ahead.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = noise + ahead
    assert logits[0].argmax(dim=0).tolist() == winners
    return logits


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', [(48, 17), (6, 4), (13, 9), (3, 2)], ids=str)
@pytest.mark.parametrize(
    'winners',
    [
        [[3] * 4] * 6,
        [[3] * 4] * 3 + [[3, 3, 0, 1]] * 3,
        [[4, 2, 0, 1]] * 2 + [[3] * 4] * 4,
        [[1] * 4, [0, 0, 1, 0], [1] * 4, [1] * 4, [2, 2, 2, 0], [2] * 4],
        [[3] * 4] * 3 + [[0] * 4] * 3,
        [[0, 1, 2, 3], [4, 5, 6, 7]] * 3,
    ],
    ids=['one class', 'top', 'bottom', 'between others', 'two', 'many classes'],
)
def test_upsampled_labels_where_few_classes_win(winners, size, align_corners):
    for classes in (8, 40):
        assert_labels_of_resized(won_by(winners, classes), size, align_corners)


@pytest.mark.parametrize(('size', 'align_corners'), [((10, 12), False), ((9, 11), True)])
@pytest.mark.parametrize('classes', [2, 5, 20])
def test_of_equal_logits_the_first_class_wins(classes, size, align_corners):
    """Small integers, at weights of quarters and halves: sums are exact, and ties everywhere."""
    for high in (1, 2, 4):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randint(high, (1, classes, 5, 6), generator=generator).double()
        assert_labels_of_resized(logits, size, align_corners)


@pytest.mark.parametrize('shape', [(1, 2), (2, 1)], ids=['row', 'column'])
def test_a_class_that_wins_between_pixels_alone(shape):
    # 4, 0, 3 and 0, 4, 3; halfway 2, 2, 3; what is 1 at both never wins.
    logits = torch.tensor([[4.0, 0], [0, 4], [3, 3], [1, 1]]).reshape(1, 4, *shape)
    size = tuple(2 * side - 1 for side in shape)
    assert upsampled_labels(logits, size, align_corners=True).flatten().tolist() == [0, 2, 1]


def test_classes_that_can_win():
    # The last but one is below the first in both; the others are not below one winner in both.
    pixels = torch.tensor([[4.0, 0, 3, 4, 2, 1], [0.0, 4, 3, -1, -1, 0]])
    assert _contenders(pixels, torch.tensor([0, 1])) == [0, 1, 2, 3, 5]
    assert _contenders(torch.rand(9, 8), torch.arange(7)) == list(range(8))
    pixels[0] = torch.nan
    assert _contenders(pixels, torch.tensor([0, 1])) == list(range(6))


@pytest.mark.parametrize('how', ['full output', 'slide', 'flip', 'no samples'])
def test_logits_are_there_for_what_needs_them(how, both):
    # In MobileNetV2's channels that hardly vary rounding grows, on some processors to more than 1e-4.
    ours, stock = both(backbone='resnet-18', output='full' if how == 'full output' else 'labels')
    given = samples((64, 96), (48, 80), **(dict(flip=False) if how == 'flip' else {}))
    if how == 'slide':
        for model in (ours, stock):
            model.test_cfg = ConfigDict(mode='slide', crop_size=(48, 48), stride=(16, 16))
    results = [predict(model, INPUTS, None if how == 'no samples' else given) for model in (ours, stock)]
    for found, expected in zip(*results, strict=True):
        logits, other = found.seg_logits.data, expected.seg_logits.data
        assert logits.shape == other.shape and logits.dtype == torch.float32
        torch.testing.assert_close(logits, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
        assert found.pred_sem_seg.data.dtype == torch.int64


def first_norm(model: nn.Module) -> nn.BatchNorm2d:
    return next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))


@pytest.mark.slow
@pytest.mark.parametrize(
    'change',
    [
        lambda m: m.decode_head.conv_seg.bias.data.copy_(torch.arange(19.0) * 9),
        # Neither a version counter nor a sum sees this one.
        lambda m: m.backbone.conv1.conv.weight.data.copy_(m.backbone.conv1.conv.weight.data.flip(0)),
        lambda m: first_norm(m).running_mean.add_(5),
        lambda m: first_norm(m).running_var.data.mul_(9),
        lambda m: setattr(m.decode_head, 'conv_seg', nn.Conv2d(16, 19, 1)),
    ],
    ids=['bias', 'order', 'mean', 'variance', 'module'],
)
def test_folded_copy_follows_the_weights(change, both):
    ours, _ = both(output='full')
    given = samples((64, 96))
    before = predict(ours, INPUTS[:1], given)[0].seg_logits.data
    change(ours)
    after = predict(ours, INPUTS[:1], given)[0].seg_logits.data
    with torch.no_grad():
        expected = ours.decode_head(ours.extract_feat(INPUTS[:1]))
        expected = ours.decode_head.predict_by_feat(expected, [given[0].metainfo])[0]
    assert not torch.equal(before, after)
    # Nearer to what the weights are than to what they were.
    assert (after - expected).abs().max() < 0.01 * (before - expected).abs().max()


@torch.no_grad()
def test_folded_copy_is_made_once_for_the_same_weights_and_dropped_for_training(both):
    ours, _ = both()
    next(ours.parameters()).fill_(torch.nan)  # which does not equal itself
    first = ours._fold(INPUTS)
    predict(ours, INPUTS[:1], samples((64, 96)))
    assert ours.eval()._fold(INPUTS) is first
    # The multiplication happens once, at folding: no batch norm is left to run.
    assert not any(isinstance(module, nn.BatchNorm2d) for module in first.modules())
    ours.train()
    assert ours._folded is None


def test_training_is_that_of_mmseg(both):
    """Without dropout: it draws in the order of memory, so that the two have other masks."""
    given = samples((64, 96), (64, 96))
    for sample in given:
        sample.gt_sem_seg = PixelData(data=(torch.arange(64 * 96) % 19).reshape(1, 64, 96))
    results = []
    for model in both():
        for module in model.train().modules():
            if isinstance(module, nn.Dropout | nn.Dropout2d):
                module.p = 0.0
        loss = model.double().loss(INPUTS.double(), given)['decode.loss_ce']
        loss.backward()
        results.append([loss, *(parameter.grad for parameter in model.parameters())])
    torch.testing.assert_close(*results, rtol=1e-8, atol=1e-8)


def test_channels_last_throughout(both):
    ours, _ = both()
    kernels = [p for p in ours.parameters() if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert kernels and all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)
    features = ours.train().extract_feat(INPUTS)[-1]
    assert features.is_contiguous(memory_format=torch.channels_last)
    logits = ours.decode_head(ours.extract_feat(INPUTS))
    assert logits.is_contiguous()  # planes, which cross entropy reads
    # With gradients the folded copy, which has none, is not asked.
    assert ours.encode_decode(INPUTS, [dict(img_shape=(64, 96))] * 2).requires_grad


def test_bfloat16(both):
    ours, stock = both(backbone='resnet-18', eval_dtype='bfloat16', output='full')
    given = samples((64, 96))
    found, expected = (predict(model, INPUTS[:1], given)[0].seg_logits.data for model in (ours, stock))
    assert found.dtype == torch.float32
    # 8 bits of mantissa, through 20 layers
    assert (found - expected).abs().mean() < 0.05 * expected.abs().mean()
    assert not torch.equal(found, expected)
    parts = ours._fold(INPUTS)
    assert {p.dtype for p in parts['backbone'].parameters()} == {torch.bfloat16}
    # Else hundreds of logits of 4 would be one of 3 values.
    assert {p.dtype for p in parts['decode_head'].conv_seg.parameters()} == {torch.float32}
    assert parts['decode_head'].conv_seg.weight.equal(ours.decode_head.conv_seg.weight)
    assert len(found.unique()) > 0.1 * found.numel()
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    # Another precision later.
    ours.eval_dtype = torch.float32
    assert not torch.equal(predict(ours, INPUTS[:1], given)[0].seg_logits.data, found)


GIVES = 'but the backbone gives'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(eval_dtype='float16'), "eval_dtype must be one of float32, bfloat16, but got 'float16'"),
        (dict(output=''), "output must be one of labels, full, but got ''"),
        (dict(test_cfg=dict(output='logits')), "output must be one of labels, full, but got 'logits'"),
        (dict(test_cfg=dict(mode='hole')), "test_cfg.mode must be one of whole, slide, but got 'hole'"),
        (dict(test_cfg=dict(mode='slide', stride=8)), "^test_cfg.mode='slide' needs crop_size, such as"),
        (
            dict(of_head=dict(in_channels=5)),
            rf'^decode_head.in_channels=5, {GIVES} \[\d+\] at in_index=\d: give',
        ),
        (
            dict(of_head=dict(in_index=4)),
            f'^decode_head.in_index=4, {GIVES} . feature maps: see its out_indices',
        ),
    ],
)
def test_unknown_options(changes, message, model_config):
    changes = dict(changes)
    head = changes.pop('of_head', {})
    config = model_config(**changes)
    config.decode_head.update(head)
    with pytest.raises(ValueError, match=message):
        build(config)


def test_bare_model_is_without_all_that_wraps_it(model_config):
    model = MODELS.build(model_config())
    assert bare_model(model) is model
    assert bare_model(nn.DataParallel(SegTTAModel(model))) is model


def test_a_config_that_asks_for_nothing_gets_what_mmseg_gives(both):
    """Of the kinds that MMSeg's metrics and writers of files take."""
    models = both(backbone='resnet-18', test_cfg=dict(mode='whole'))
    assert models[0].output == 'full'
    given = samples((64, 96), (48, 80))
    for sample in given:
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, *sample.ori_shape, dtype=torch.int64))
    for found, expected in zip(*(predict(model, INPUTS, given) for model in models), strict=True):
        assert found.to_dict().keys() == expected.to_dict().keys()
        for key in ('pred_sem_seg', 'seg_logits'):
            ours, theirs = found.get(key).data, expected.get(key).data
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), key
        assert (found.pred_sem_seg.data == expected.pred_sem_seg.data).float().mean() >= 0.999


def test_labels_are_asked_for_by_test_cfg_or_by_the_argument(model_config):
    for changes, expected in (
        (dict(test_cfg=dict(output='labels')), 'labels'),
        (dict(test_cfg=dict(output='labels'), output='full'), 'full'),
        (dict(test_cfg=dict(), output='labels'), 'labels'),
        (dict(test_cfg=None), 'full'),
    ):
        assert MODELS.build(model_config(**changes)).output == expected
    # In a config that has it, EncoderDecoder is still a choice.
    model = MODELS.build(model_config(type='EncoderDecoder')).eval()
    assert predict(model, INPUTS[:1], samples((64, 96)))[0].pred_sem_seg.data.dtype == torch.int64
