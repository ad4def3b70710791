import hashlib
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import flatbuffers
import numpy as np
import pytest
import tflite as schema
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_deeplab_study.checkpoints import load_from_tflite, tflite
from mmseg_deeplab_study.checkpoints.fitting import check_network
from mmseg_deeplab_study.checkpoints.tflite import Convolution, convert_state_dict, read_graph, to_conv_weight
from mmseg_deeplab_study.datasets.label_spaces import resolve_classes

CONFIG = Path(__file__).parents[2] / 'configs/camvid/deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid.py'


@pytest.fixture(scope='session')
def convolutions(voc_tflite: Path) -> list[Convolution]:
    return read_graph(voc_tflite).convolutions


@pytest.fixture
def model(voc_tflite: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The shipped config's model with the file's 21 classes and weights."""
    monkeypatch.setenv('CAMVID_ROOT', 'not-read')
    cfg = Config.fromfile(CONFIG)
    cfg.model.decode_head.num_classes = 21
    model = MODELS.build(cfg.model)
    load_checkpoint(model, f'tflite://{voc_tflite}', strict=True)
    return model.eval()


def to_input(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 to (1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def test_logits_are_litert_s(model: nn.Module, shared: Path):
    golden = np.load(shared / 'golden' / 'tflite_deeplabv3_257_mv_gpu.npz')
    expected = golden['voc_bird_logits']
    with torch.no_grad():
        logits = model(to_input(golden['voc_bird_image']), mode='tensor')
    logits = F.interpolate(logits, (257, 257), mode='bilinear', align_corners=True)
    actual = logits[:, :, ::4, ::4].numpy()
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1e-4 * np.abs(expected).max()


def test_padded_channels_stay_zero_in_training(model: nn.Module, convolutions: list[Convolution]):
    # Of constants that are all ones, what is 0 was padded.
    ones = convert_state_dict(
        [one._replace(kernel=np.ones_like(one.kernel), bias=np.ones_like(one.bias)) for one in convolutions]
    )
    zeros = {name: value == 0 for name, value in ones.items() if name.endswith(('conv.weight', 'bn.bias'))}
    padded = {name: mask for name, mask in zeros.items() if mask.any()}
    # Stage 2 has 24 * 0.5 = 12 channels where mmpretrain has 16; times 6 in between, 72 and 96.
    assert padded['backbone.layer2.0.conv.2.bn.bias'].sum() == 16 - 12
    assert padded['backbone.layer2.1.conv.1.conv.weight'].sum() == (96 - 72) * 3 * 3
    assert 'backbone.layer7.0.conv.2.conv.weight' not in padded
    torch.manual_seed(0)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    for _ in range(2):
        optimizer.zero_grad()
        logits = model(torch.randn(2, 3, 65, 65), mode='tensor')
        F.cross_entropy(logits, torch.randint(21, (2, *logits.shape[2:]))).backward()
        optimizer.step()
    after = model.state_dict()
    for name, mask in padded.items():
        assert not after[name][mask].any(), name
        assert not torch.equal(after[name][~mask], before[name][~mask]), name


def convolution(kernel: np.ndarray, depthwise: bool = False) -> Convolution:
    return Convolution(kernel, np.zeros(len(kernel)), depthwise, stride=1, dilation=1, pooled=False)


def test_to_conv_weight():
    kernel = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)  # (O, H, W, I)
    weight = to_conv_weight(convolution(kernel))
    assert weight.shape == (2, 7, 3, 5) and weight[1, 6, 2, 4] == kernel[1, 2, 4, 6]
    kernel = np.arange(3 * 3 * 7).reshape(1, 3, 3, 7)  # (1, H, W, C)
    weight = to_conv_weight(convolution(kernel, depthwise=True))
    assert weight.shape == (7, 1, 3, 3) and weight[6, 0, 2, 1] == kernel[0, 2, 1, 6]


def test_what_is_read_is_not_changed(convolutions: list[Convolution]):
    before = [(one.kernel.copy(), one.bias.copy()) for one in convolutions]
    for value in convert_state_dict(convolutions).values():
        value.zero_()
    for one, (kernel, bias) in zip(convolutions, before, strict=True):
        assert np.array_equal(one.kernel, kernel) and np.array_equal(one.bias, bias)


def test_through_mmengines_loader(voc_tflite: Path):
    checkpoint = CheckpointLoader.load_checkpoint(f'tflite://{voc_tflite}', map_location='cpu')
    assert set(checkpoint) == {'state_dict', 'meta'}
    assert checkpoint['meta']['source_format'] == 'tflite'
    assert checkpoint['meta']['source_digest'] == hashlib.sha256(voc_tflite.read_bytes()).hexdigest()
    classes = checkpoint['meta']['dataset_meta']['classes']
    assert classes == resolve_classes('voc')
    assert len(checkpoint['state_dict']['decode_head.conv_seg.weight']) == len(classes)
    assert all(value.device.type == 'cpu' for value in checkpoint['state_dict'].values())


def test_other_places(voc_tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    state = load_from_tflite(f'tflite://{voc_tflite}', map_location='meta')['state_dict']
    assert {value.device.type for value in state.values()} == {'meta'}
    monkeypatch.setenv('HOME', str(tmp_path))
    shutil.copy(voc_tflite, tmp_path / 'deeplab.tflite')
    assert load_from_tflite('tflite://~/deeplab.tflite')['state_dict']
    monkeypatch.setitem(sys.modules, 'tflite', None)
    with pytest.raises(ImportError, match='flatbuffer schema: pip install tflite$'):
        load_from_tflite(f'tflite://{voc_tflite}')


@pytest.mark.parametrize('content', [b'', b'TFL', b'PK\x03\x04' + bytes(100), b'\x80\x02}q\x00.'])
def test_no_tflite_file(content: bytes, tmp_path: Path):
    path = tmp_path / 'weights.pth'
    with pytest.raises(FileNotFoundError, match=rf'^tflite://{path}: no such file'):
        load_from_tflite(f'tflite://{path}')
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'^{path} is not a TensorFlow Lite model: expected .* TFL3, got b'):
        load_from_tflite(f'tflite://{path}')
    with pytest.raises(FileNotFoundError, match=rf'^tflite://{tmp_path}: no such file'):
        load_from_tflite(f'tflite://{tmp_path}')
    builder = flatbuffers.Builder(0)  # a whole file without a network
    schema.ModelStart(builder)
    builder.Finish(schema.ModelEnd(builder), file_identifier=b'TFL3')
    path.write_bytes(builder.Output())
    with pytest.raises(ValueError, match=rf'^{path} is damaged or cut short'):
        load_from_tflite(f'tflite://{path}')


def test_cut_file(voc_tflite: Path, tmp_path: Path):
    data = voc_tflite.read_bytes()
    path = tmp_path / 'cut.tflite'
    # Some bytes at the end may be padding; a thousand are not.
    cuts = np.random.default_rng(0).integers(0, len(data) - 1000, 40)
    for cut in [8, 9, 12, 100, 1000, *cuts, len(data) - 1000]:
        path.write_bytes(data[:cut])
        with pytest.raises(
            ValueError, match=rf'^{path} is damaged or cut short|not a MobileNetV2|convolutions follow'
        ):
            load_from_tflite(f'tflite://{path}')


def test_damaged_file(voc_tflite: Path, tmp_path: Path):
    """The reader refuses a damaged file or gives tensors of the right shapes."""
    data = voc_tflite.read_bytes()
    state = load_from_tflite(f'tflite://{voc_tflite}')['state_dict']
    shapes = {name: value.shape for name, value in state.items()}
    path = tmp_path / 'damaged.tflite'
    random = np.random.default_rng(0)
    refused = 0
    # Its tables are in the first 1 kB and the last 20 kB, the numbers between.
    places = [*range(8, 1000), *range(len(data) - 20_000, len(data))]
    for _ in range(60):
        damaged = bytearray(data)
        for place in random.choice(places, 8):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            state = load_from_tflite(f'tflite://{path}')['state_dict']
        except ValueError:
            refused += 1
        else:
            assert {name: value.shape for name, value in state.items()} == shapes
    assert refused > 20


def test_another_network(convolutions: list[Convolution]):
    for others in (convolutions[1:], convolutions[:40], []):
        with pytest.raises(ValueError, match=f'not a MobileNetV2 .* its {len(others)} convolutions are not'):
            convert_state_dict(others)
    # With atrous branches, and without a head.
    for others in (convolutions + convolutions[-2:], convolutions[:51]):
        with pytest.raises(
            ValueError, match=f'^{len(others) - 51} convolutions follow MobileNetV2: expected'
        ):
            convert_state_dict(others)


@pytest.mark.parametrize(
    ('place', 'shape', 'message'),
    [
        (53, (256, 1, 1, 1280), 'takes 1280 channels .* 1x1 branch give 512: .* atrous br'),
        (
            17,
            (64, 1, 1, 96),
            r'kernel of shape \(64, 96, 1, 1\) does not fit MobileNetV2, .* \(16, 96, 1, 1\)',
        ),
    ],
)
def test_another_shape(convolutions: list[Convolution], place: int, shape: tuple[int, ...], message: str):
    changed = list(convolutions)
    changed[place] = changed[place]._replace(kernel=np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=message):
        convert_state_dict(changed)


def test_another_label_space(
    voc_tflite: Path, convolutions: list[Convolution], monkeypatch: pytest.MonkeyPatch
):
    last = convolutions[-1]
    cityscapes = [*convolutions[:-1], last._replace(kernel=last.kernel[:19], bias=last.bias[:19])]
    monkeypatch.setattr(tflite, 'read_graph', lambda path: tflite.Graph(cityscapes, None))
    with pytest.raises(ValueError, match=rf'^{voc_tflite}: expected 21 PASCAL VOC classes, got 19'):
        load_from_tflite(f'tflite://{voc_tflite}')


# Quantised


QUANTISED = {'deeplabv3_mnv2_pascal_quant': (1.0, 320), 'deeplabv3_mnv2_dm05_pascal_quant': (0.5, 160)}


def build_quantised(name: str, **backbone) -> nn.Module:
    """The model of a quantised file, without its weights."""
    width, channels = QUANTISED[name]
    cfg = Config.fromfile(CONFIG)
    cfg.model.decode_head.update(num_classes=21, in_channels=channels)
    cfg.model.backbone.update(dict(output_stride=16) | backbone)
    cfg.model.backbone.backbone.widen_factor = width
    cfg.model.data_preprocessor.update(mean=[128.0] * 3, std=[128.0] * 3)
    return MODELS.build(cfg.model).eval()


@pytest.mark.parametrize('name', QUANTISED)
def test_labels_are_those_of_integer_arithmetic(shared: Path, name: str):
    model, golden = build_quantised(name), np.load(shared / 'golden/tflite_quantised_labels.npz')
    checkpoint = load_from_tflite(f'tflite://{shared}/data/voc_weights/{name}.tflite')
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    check_network(checkpoint['meta']['network'], model)
    photographs = [key.partition('.')[2] for key in golden if key.startswith('image.')]
    assert len(photographs) == 5
    for photograph in photographs:
        images = torch.from_numpy(golden[f'image.{photograph}'].copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            logits = model((images - 128) / 128, mode='tensor')
        logits = F.interpolate(logits, (513, 513), mode='bilinear', align_corners=True)
        labels = logits.argmax(1)[0].numpy()
        assert (labels == golden[f'labels.{name}.{photograph}']).mean() >= 0.995


def test_scores_of_imagenet_are_those_of_integer_arithmetic(shared: Path):
    """With each layer's output rounded as the file says, and padded at the end alone, as TensorFlow does."""
    path = shared / 'data/imagenet_weights/mobilenet_v2_1.0_224_quant.tflite'
    head = dict(type='LinearClsHead', num_classes=1001, in_channels=1280)
    network = dict(_scope_='mmpretrain', type='ImageClassifier', backbone=dict(type='MobileNetV2'), head=head)
    network = MODELS.build(network | dict(neck=dict(type='GlobalAveragePooling'))).eval()
    checkpoint = load_from_tflite(f'tflite://{path}')
    network.load_state_dict(checkpoint['state_dict'], strict=True)
    assert 'dataset_meta' not in checkpoint['meta']

    graph = schema.Model.GetRootAsModel(path.read_bytes(), 0).Subgraphs(0)
    outputs = [
        graph.Tensors(graph.Operators(i).Outputs(0)).Quantization() for i in range(graph.OperatorsLength())
    ]
    left = []

    def round_output(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        quantised = left.pop(0)
        scale, zero_point = quantised.Scale(0), quantised.ZeroPoint(0)
        return ((output / scale + zero_point).round().clamp(0, 255) - zero_point) * scale

    for module in network.modules():
        if isinstance(module, ConvModule) or getattr(module, 'use_res_connect', False):
            module.register_forward_hook(round_output)
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.padding = (0, 0)
            module.register_forward_pre_hook(lambda module, inputs: F.pad(inputs[0], (0, 1, 0, 1)))
    network.neck.gap.register_forward_hook(round_output)
    network.head.fc.register_forward_hook(round_output)

    golden = np.load(shared / 'golden/tflite_imagenet_scores.npz')
    photographs = [key.partition('.')[2] for key in golden if key.startswith('image.')]
    assert len(photographs) == 3
    for photograph in photographs:
        left[:] = outputs
        images = torch.from_numpy(golden[f'image.{photograph}'].copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            scores = network.head(network.extract_feat((images - 128) / 128)).softmax(1)[0].numpy()
        expected = golden[f'scores.{photograph}'] / 256
        assert scores.argmax() == expected.argmax()
        assert abs(scores - expected).max() <= 0.06
        assert len(left) == 2  # reshape and softmax


def test_a_classifier_is_a_backbone(shared: Path):
    path = shared / 'data/imagenet_weights/mobilenet_v2_1.0_224_quant.tflite'
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.backbone.widen_factor = 1.0
    pretrained = dict(type='Pretrained', checkpoint=f'tflite://{path}', prefix='backbone.')
    backbone = MODELS.build(cfg.model.backbone | dict(init_cfg=pretrained))
    backbone.init_weights()
    expected = load_from_tflite(f'tflite://{path}')['state_dict']
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, expected[f'backbone.{name}']), name


def test_per_channel_int8():
    values = np.array([[-128, 0], [127, 5]], np.int8)
    tensor = SimpleNamespace(
        Buffer=lambda: 0,
        Type=lambda: schema.TensorType.INT8,
        ShapeAsNumpy=lambda: np.array([2, 2]),
        Quantization=lambda: SimpleNamespace(
            ScaleAsNumpy=lambda: np.array([0.5, 0.25], np.float32),
            ZeroPointAsNumpy=lambda: np.array([0, -3]),
            QuantizedDimension=lambda: 0,
        ),
    )
    model = SimpleNamespace(
        Buffers=lambda i: SimpleNamespace(DataAsNumpy=lambda: values.reshape(-1).view(np.uint8))
    )
    assert tflite._values(schema, model, tensor).tolist() == [[-64, 0], [32.5, 2]]


def test_an_operator_of_another_network_is_named(voc_tflite: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tflite, '_OPERATORS', ('CONV_2D', 'DEPTHWISE_CONV_2D'))
    with pytest.raises(
        ValueError, match=rf'^{voc_tflite}: operator \d+ is ADD, which no MobileNetV2 of Tensor'
    ):
        read_graph(voc_tflite)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        (
            dict(output_stride=8),
            r'at output stride 16, whose .* strides are \[1, 2.* give .*output_stride=16',
        ),
        (
            dict(dilated='first_block'),
            r'dilations are \[.*, 2, 2, 2\], and those .* model\.backbone\.dilated=all',
        ),
        (
            dict(std=127.5),
            r'as \(x - 128\) / 128, .* has std=\[127.5, .* model.data_preprocessor.std=\[128.0, 128',
        ),
    ],
)
def test_another_model_is_refused(shared: Path, changes: dict, said: str):
    name = 'deeplabv3_mnv2_dm05_pascal_quant'
    network = load_from_tflite(f'tflite://{shared}/data/voc_weights/{name}.tflite')['meta']['network']
    std = changes.pop('std', None)
    model = build_quantised(name, **changes)
    if std:
        model.data_preprocessor.std.fill_(std)
    with pytest.raises(ValueError, match=said):
        check_network(network, model)
