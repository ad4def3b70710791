"""The exported network computes what the model computes, at any size, whatever the model is made of."""

import json
import sys
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmseg_deeplab_study.checkpoints.layouts import model_config
from mmseg_deeplab_study.checkpoints.parity import measure
from mmseg_deeplab_study.checkpoints.torchvision import LAYOUTS as TORCHVISION
from mmseg_deeplab_study.checkpoints.vainf import LAYOUTS as VAINF
from mmseg_deeplab_study.inference import onnx_export
from mmseg_deeplab_study.inference.onnx_export import (
    OnnxNetwork,
    PixelsToLogits,
    check,
    describe,
    export_onnx,
    images_to_check_with,
    load_for_export,
    torch_logits,
)

pytestmark = pytest.mark.usefixtures('one_thread')
PUBLISHED = {
    f'{layout.peer} {layout.name}': model_config(layout, num_classes=19)
    for layout in (*VAINF, *TORCHVISION)
    if layout.peer == 'torchvision' or 'mobilenet' in layout.name
    if 'resnet101' not in layout.name
}
# VainF's padding and DeepLabV3+, cut off after a few blocks: the exporter takes its time for each.
SHALLOW = deepcopy(PUBLISHED['vainf deeplabv3plus_mobilenet'])
SHALLOW['backbone'].update(out_indices=(1, 2), output_stride=8)
SHALLOW['decode_head'].update(in_channels=32, in_index=1, channels=16)
ARCHITECTURES = {**PUBLISHED, 'shallow': SHALLOW}
PREPROCESSOR = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
)
SIZE = (65, 97)


@pytest.fixture
def load(make_config, write_trained, tmp_path):
    """A function that builds a model for export, of random weights: the tiny one, or one of the published
    architectures; other arguments are the data preprocessor's, and the segmentor's type."""

    def make(architecture: str = '', kind: str = 'StudyEncoderDecoder', **preprocessor):
        cfg = make_config(tmp_path / 'data', tmp_path / 'work')
        if architecture:
            parts = deepcopy(ARCHITECTURES[architecture])
            cfg.model.backbone, cfg.model.decode_head = parts['backbone'], parts['decode_head']
        cfg.model.type = kind
        cfg.model.data_preprocessor = {**PREPROCESSOR, 'size': (64, 64), **preprocessor}
        cfg = Config(cfg.to_dict())
        write_trained(cfg, tmp_path / 'a.pth')
        return load_for_export(cfg, str(tmp_path / 'a.pth'))

    return make


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


@torch.no_grad()
def in_torch(network: PixelsToLogits, batch: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(batch.transpose(0, 3, 1, 2).astype(np.float32))).numpy()


def agree(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return measure(ours, theirs).difference < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize('architecture', ['', *ARCHITECTURES])
def test_the_network_to_export_is_the_model(load, architecture):
    model = load(architecture)
    network = PixelsToLogits(model, SIZE)
    for shape in ((1, *SIZE), (2, 80, 64)):
        theirs = torch_logits(model, images(*shape))
        assert theirs.shape == (shape[0], 19, *shape[1:]) and theirs.std() > 0
        assert agree(in_torch(network, images(*shape)), theirs)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert not norms  # folded


@pytest.mark.parametrize('kind', ['StudyEncoderDecoder', 'EncoderDecoder'])
@pytest.mark.parametrize(
    'preprocessor',
    [
        dict(bgr_to_rgb=False),
        dict(mean=None, std=None),
        # lower than this and wider; and of another value than 0
        dict(test_cfg=dict(size=(81, 90)), pad_val=0.7),
    ],
    ids=['bgr', 'not normalised', 'padded'],
)
def test_the_models_own_preprocessing_is_inside(load, kind, preprocessor):
    model = load(kind=kind, **preprocessor)
    batch = images(1, *SIZE)
    theirs = torch_logits(model, batch)
    assert agree(in_torch(PixelsToLogits(model, SIZE), batch), theirs)
    # And it matters: what is inside changes the logits.
    plain = load(kind=kind)
    assert not agree(in_torch(PixelsToLogits(plain, SIZE), batch), theirs)


def test_the_model_is_left_as_it_is(load):
    """And its own logits are made without a trick of the export."""
    model = load()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    PixelsToLogits(model, SIZE)
    after = model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[key], before[key]) for key in before)
    torch_logits(model, images(1, *SIZE))
    assert model._folded is None


def test_what_cannot_be_exported(load):
    model = load(test_cfg=dict(size_divisor=32))
    with pytest.raises(ValueError, match='follows data_preprocessor.test_cfg.size, but not size_divisor'):
        PixelsToLogits(model, SIZE)
    with pytest.raises(ValueError, match='takes an EncoderDecoder with one decode head .*but got Identity'):
        PixelsToLogits(torch.nn.Identity(), SIZE)
    model = load()
    model.decode_head.out_channels = 1
    with pytest.raises(ValueError, match='but got StudyEncoderDecoder with DeepLabV3Head of 1'):
        PixelsToLogits(model, SIZE)

    class Own(type(model.decode_head)):
        def predict_by_feat(self, *args):
            raise NotImplementedError

    model = load()
    model.decode_head.__class__ = Own
    with pytest.raises(ValueError, match='cannot follow Own: it has its own predict_by_feat'):
        PixelsToLogits(model, SIZE)


def test_missing_package(load, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ImportError, match='needs onnxruntime: pip install onnx onnxruntime onnxscript$'):
        OnnxNetwork(b'')


def test_a_graph_that_is_bound_to_its_size(monkeypatch):
    """As torch 2.6 and 2.7 export with --dynamic."""

    def refuse(outputs: list, inputs: dict) -> None:
        raise RuntimeError('INVALID_ARGUMENT: Got 1 Expected: 2\n Please fix')

    network = OnnxNetwork.__new__(OnnxNetwork)
    network._session = SimpleNamespace(run=refuse)
    said = r'on images of 1x4x6x3 \(INVALID_ARGUMENT: Got 1 Expected: 2\); update torch, or export without'
    with pytest.raises(ValueError, match=said):
        network(np.zeros((1, 4, 6, 3), np.uint8))


def test_torch_that_cannot_export(monkeypatch):
    monkeypatch.setattr(onnx_export, 'TORCH', (2, 5))
    with pytest.raises(ImportError, match=r'^ONNX export needs torch 2\.6 or later, not \d'):
        OnnxNetwork(b'')


def need_onnx() -> None:
    if onnx_export.TORCH < (2, 6):
        pytest.skip(f'torch {torch.__version__} does not export')
    for package in ('onnx', 'onnxruntime', 'onnxscript'):
        pytest.importorskip(package, reason=f'{package} is not installed: pip install -e ".[onnx]"')


@pytest.mark.parametrize(
    'architecture', ['', pytest.param('torchvision deeplabv3_resnet50', marks=pytest.mark.slow)]
)
def test_onnxruntime_agrees(load, architecture):
    need_onnx()
    model = load(architecture)
    proto = export_onnx(PixelsToLogits(model, SIZE), SIZE, dynamic=False, opset=18)
    (parity,) = check(proto.SerializeToString(), model, [images(1, *SIZE)])
    assert parity.difference < 1e-5 and parity.agreement > 0.999
    given, wanted = proto.graph.input[0], proto.graph.output[0]
    assert (given.name, wanted.name) == ('images', 'logits')
    assert [side.dim_value for side in given.type.tensor_type.shape.dim] == [1, 3, *SIZE]
    assert [side.dim_value for side in wanted.type.tensor_type.shape.dim] == [1, 19, *SIZE]
    kinds = {node.op_type for node in proto.graph.node}
    assert 'Conv' in kinds and 'BatchNormalization' not in kinds


@pytest.mark.skipif(onnx_export.TORCH < (2, 8), reason='torch 2.6 and 2.7 bind the graph to its size')
@pytest.mark.slow
def test_onnxruntime_agrees_at_sizes_it_was_not_exported_at(load):
    """Smaller than what is padded to, and larger, by odd and even sides."""
    need_onnx()
    model = load('shallow', test_cfg=dict(size=(65, 97)))
    proto = export_onnx(PixelsToLogits(model, SIZE), SIZE, dynamic=True, opset=18)
    batches = [images(*shape) for shape in ((1, 65, 97), (3, 48, 60), (1, 130, 71), (2, 65, 200))]
    for parity in check(proto.SerializeToString(), model, batches):
        assert parity.difference < 1e-5 and parity.agreement > 0.999


def test_metadata(load):
    need_onnx()
    import onnx

    proto = onnx.ModelProto()
    describe(proto, classes=('road', 'car'), palette=[[1, 2, 3], [4, 5, 6]], checkpoint_digest=None)
    found = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    assert found == {'classes': ['road', 'car'], 'palette': [[1, 2, 3], [4, 5, 6]]}
    assert 'RGB, 0 to 255' in proto.doc_string


@pytest.mark.slow
def test_an_opset_that_torch_does_not_give(load, caplog):
    need_onnx()
    message = r'--opset 7: torch exported opset (\d+) and could not convert it; give \1'
    with pytest.raises(ValueError, match=message):
        export_onnx(PixelsToLogits(load('shallow'), SIZE), SIZE, dynamic=False, opset=7)
    assert 'Traceback' not in caplog.text


def test_images_of_the_check(tmp_path):
    Image.new('RGB', (80, 40), (250, 0, 0)).save(tmp_path / 'red.png')
    (fixed,) = images_to_check_with((64, 96), False, tmp_path / 'red.png')
    assert fixed.shape == (1, 64, 96, 3) and fixed[0, 5, 5].tolist() == [250, 0, 0]
    own, other = images_to_check_with((64, 96), True, tmp_path / 'red.png')
    assert (own.shape, other.shape) == ((1, 40, 80, 3), (2, 48, 120, 3))
    first, again = (images_to_check_with((64, 96), False, None)[0] for _ in range(2))
    assert np.array_equal(first, again) and len(np.unique(first)) == 256
