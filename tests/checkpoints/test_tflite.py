import hashlib
import shutil
import sys
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tflite as schema
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_deeplab_study.checkpoints import load_from_tflite, tflite
from mmseg_deeplab_study.checkpoints.tflite import convert_state_dict, read_constants, to_conv_weight
from mmseg_deeplab_study.datasets.label_spaces import resolve_classes

CONFIG = Path(__file__).parents[2] / 'configs/camvid/deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid.py'


@pytest.fixture(scope='session')
def constants(voc_tflite: Path) -> dict[str, np.ndarray]:
    return read_constants(voc_tflite)


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


def test_padded_channels_stay_zero_in_training(model: nn.Module, constants: dict[str, np.ndarray]):
    # Of constants that are all ones, what is 0 was padded.
    ones = convert_state_dict({name: np.ones_like(value) for name, value in constants.items()})
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


def test_to_conv_weight():
    kernel = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)  # (O, H, W, I)
    assert to_conv_weight(kernel).shape == (2, 7, 3, 5)
    assert to_conv_weight(kernel)[1, 6, 2, 4] == kernel[1, 2, 4, 6]
    depthwise = np.arange(3 * 3 * 7).reshape(1, 3, 3, 7)  # (1, H, W, C)
    assert to_conv_weight(depthwise).shape == (7, 1, 3, 3)
    assert to_conv_weight(depthwise)[6, 0, 2, 1] == depthwise[0, 2, 1, 6]
    assert to_conv_weight(np.ones((1, 1, 1, 7))).shape == (1, 7, 1, 1)  # 1x1 to one channel


def test_constants_are_not_mutated(constants: dict[str, np.ndarray]):
    before = {name: value.copy() for name, value in constants.items()}
    state = convert_state_dict(constants)
    for value in state.values():
        value.zero_()
    assert all(np.array_equal(constants[name], value) for name, value in before.items())


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
        with pytest.raises(ValueError, match=rf'^{path} is damaged or cut short|not a mobile DeepLabV3'):
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


def test_another_network(constants: dict[str, np.ndarray]):
    first = 'MobilenetV2/expanded_conv_3/expand/weights'
    fewer = {name: value for name, value in constants.items() if name not in (first, 'aspp0/weights')}
    message = rf"not a mobile DeepLabV3 .*: 2 tensors are missing, first \['{first}'"
    with pytest.raises(ValueError, match=message):
        convert_state_dict(fewer)
    # 16 stem and block groups: 1 + 2 + 16 * 3 convolutions and 4 of the head, each a kernel and a bias.
    with pytest.raises(ValueError, match=r': 110 tensors are missing, first .*MobilenetV2/Conv/weights'):
        convert_state_dict({})


@pytest.mark.parametrize(
    ('name', 'shape', 'message'),
    [
        # DeepLabV3 on MobileNetV2 with atrous branches has all the names, too.
        ('concat_projection', (256, 1, 1, 1280), 'takes 1280 channels .* 1x1 branch give 512: .* atrous br'),
        (
            'MobilenetV2/expanded_conv_5/project',
            (64, 1, 1, 96),
            r'kernel of shape \(64, 96, 1, 1\) does not fit MobileNetV2, which has \(16, 96, 1, 1\)',
        ),
    ],
)
def test_another_shape(constants: dict[str, np.ndarray], name: str, shape: tuple[int, ...], message: str):
    with pytest.raises(ValueError, match=message):
        convert_state_dict({**constants, f'{name}/weights': np.zeros(shape, np.float32)})


def test_another_label_space(voc_tflite: Path, constants: dict, monkeypatch: pytest.MonkeyPatch):
    names = ('logits/semantic/weights', 'logits/semantic/Conv2D_bias')
    cityscapes = {**constants, **{name: constants[name][:19] for name in names}}
    monkeypatch.setattr(tflite, 'read_constants', lambda path: cityscapes)
    with pytest.raises(ValueError, match=rf'^{voc_tflite}: expected 21 PASCAL VOC classes, got 19'):
        load_from_tflite(f'tflite://{voc_tflite}')
