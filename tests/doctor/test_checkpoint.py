"""What files are, from real and made ones, and that none of them is run."""

import io
import os
import pickle
import re
import sys
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from mmseg_deeplab_study.checkpoints.conversion import SCHEMES
from mmseg_deeplab_study.checkpoints.layouts import expected_shapes, export_state, model_config
from mmseg_deeplab_study.checkpoints.safe_loading import load_plain
from mmseg_deeplab_study.checkpoints.torchvision import LAYOUTS as TORCHVISION
from mmseg_deeplab_study.checkpoints.vainf import LAYOUTS as VAINF
from mmseg_deeplab_study.doctor import checkpoint
from mmseg_deeplab_study.doctor.checkpoint import check_checkpoint, check_config
from mmseg_deeplab_study.doctor.findings import Finding

HEAD = {'decode_head.conv_seg.weight': torch.zeros(19, 4, 1, 1), 'decode_head.conv_seg.bias': torch.zeros(19)}


def look_at(path: Path) -> Finding:
    [finding] = check_checkpoint(path)
    return finding


class Foreign:
    """What a hostile file has: unpickled, it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trace),)


def peer_file(layout, path: Path, classes: int = 21) -> Path:
    shapes = expected_shapes(model_config(layout, classes))
    state = export_state({key: torch.zeros(shape) for key, shape in shapes.items()}, layout)
    whole = {'model_state': state, 'best_score': np.float64(0.7)}
    torch.save(whole if layout.peer == 'vainf' else state, path)
    return path


def test_the_published_tflite_model(voc_tflite, tmp_path):
    finding = look_at(voc_tflite)
    assert finding.level == 'ok'
    assert '21 classes (as many as PASCAL VOC has)' in finding.text
    assert 'configs/camvid/deeplabv3_mobilenet-v2-x0p5-os8' in finding.text
    assert finding.text.endswith(f'load_from=tflite://{voc_tflite}')
    (tmp_path / 'cut.tflite').write_bytes(voc_tflite.read_bytes()[:100000])
    finding = look_at(tmp_path / 'cut.tflite')
    assert finding.level == 'error' and 'damaged or cut short' in finding.text and 'again' in finding.cure


def test_quantised_networks_and_a_classifier(shared):
    finding = look_at(shared / 'data/voc_weights/deeplabv3_mnv2_pascal_quant.tflite')
    assert finding.level == 'ok' and finding.text.endswith('.tflite')
    assert "TensorFlow's mobile DeepLabV3 on MobileNetV2 x1.0 at output stride 16, quant" in finding.text
    assert 'images as (x - 128) / 128, 21 classes' in finding.text
    path = shared / 'data/imagenet_weights/mobilenet_v2_1.0_224_quant.tflite'
    finding = look_at(path)
    assert finding.level == 'warning' and "TensorFlow's MobileNetV2, a classifier of images" in finding.text
    expected = f"init_cfg=dict(type='Pretrained', checkpoint='tflite://{path}', prefix='backbone.')"
    assert finding.cure == f'as a backbone: {expected}'


@pytest.mark.parametrize(
    ('layouts', 'name', 'scheme', 'config'),
    [
        (VAINF, 'deeplabv3_mobilenet', 'vainf://', 'deeplabv3_mobilenet-v2-padded-os16'),
        (TORCHVISION, 'deeplabv3_mobilenet_v3_large', 'tvseg://', 'deeplabv3_mobilenet-v3-large-os16-aux'),
    ],
)
def test_peers_files_get_their_scheme(tmp_path, layouts, name, scheme, config):
    layout = next(layout for layout in layouts if layout.name == name)
    path = peer_file(layout, tmp_path / 'peer.pth')
    finding = look_at(path)
    assert finding.level == 'ok' and f'{layout.peer} {name} (configs/' in finding.text
    assert config in finding.text and '21 classes' in finding.text
    assert finding.text.endswith(f': load_from={scheme}{path}')


def test_a_peers_file_that_lacks_a_layer(tmp_path):
    layout = next(layout for layout in VAINF if layout.name == 'deeplabv3_mobilenet')
    data = load_plain(peer_file(layout, tmp_path / 'peer.pth'))
    data['model_state'].pop('classifier.classifier.4.bias')
    torch.save(data['model_state'], tmp_path / 'less.pth')
    finding = look_at(tmp_path / 'less.pth')
    assert finding.level == 'error' and '1 keys are missing' in finding.text
    assert finding.cure.startswith('docs/checkpoints.md')


COMPILED = {f'_orig_mod.{key}': value for key, value in HEAD.items()}
OF_A_SCRIPT = {'model': COMPILED, 'args': Namespace(lr=0.1)}
AT_40 = {'state_dict': HEAD, 'meta': {'iter': 40}}
WITH_STATES = {**AT_40, 'random_states': []}
WITH_OPTIMIZER = {**AT_40, 'optimizer': {}, 'message_hub': {}}


@pytest.mark.parametrize(
    ('content', 'form'),
    [
        (HEAD, 'a bare state dict of an MMSegmentation model'),
        (OF_A_SCRIPT, "a training script's state dict of an MMSegmentation model"),
        (AT_40, 'an MMEngine checkpoint at iteration 40, without what --resume needs'),
        (WITH_OPTIMIZER, 'an MMEngine checkpoint at iteration 40, with what --resume needs'),
        (WITH_STATES, 'a checkpoint of a run with this project at iteration 40, can be resumed'),
    ],
)
def test_our_own_and_mmengines(tmp_path, content, form):
    path = tmp_path / 'iter_40.pth'
    torch.save(content, path)
    text = f'{path}: {form}, 19 classes (as many as Cityscapes has): load_from={path}'
    assert look_at(path) == Finding('ok', 'checkpoint', text)


def test_a_backbone_goes_elsewhere(tmp_path):
    path = tmp_path / 'resnet.pth'
    torch.save({'state_dict': {'backbone.conv1.weight': torch.zeros(1)}}, path)
    finding = look_at(path)
    assert finding.level == 'warning' and 'none of the known DeepLabs' in finding.text
    assert f"init_cfg=dict(type='Pretrained', checkpoint='{path}', prefix='backbone.')" in finding.cure


@pytest.mark.parametrize(
    'save', [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))]
)
def test_foreign_objects_are_named_and_never_made(tmp_path, save):
    path, trace = tmp_path / 'hostile.pth', tmp_path / 'trace'
    save({'state_dict': {}, 'extra': Foreign(trace)}, path)
    finding = look_at(path)
    assert finding.level == 'error' and 'carries code (posix.mkdir)' in finding.text
    assert not trace.exists()


def saved(content: object, save: Callable = torch.save) -> bytes:
    file = io.BytesIO()
    save(content, file)
    return file.getvalue()


WHOLE = saved({'state_dict': {**HEAD, 'backbone.x': torch.ones(1000)}})
BUFFER = 'mmengine.logging.history_buffer.HistoryBuffer'


def of_mmengine() -> bytes:
    return saved({'state_dict': HEAD, 'message_hub': {'loss': HistoryBuffer([1.0], [1])}})


def scripted() -> bytes:
    return saved(torch.jit.script(torch.nn.Linear(2, 2)), torch.jit.save)


def flipped() -> bytes:
    content = bytearray(WHOLE)
    content[content.index(np.ones(1000, np.float32).tobytes()) + 2000] ^= 1
    return bytes(content)


def compressed() -> bytes:
    file = io.BytesIO()
    whole = zipfile.ZipFile(io.BytesIO(WHOLE))
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name in whole.namelist():
            archive.writestr(name, whole.read(name))
    return file.getvalue()


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize(
    ('make', 'text', 'cure'),
    [
        (lambda: b'', 'the file is empty', '.'),
        (lambda: b'version https://git-lfs.github.com/spec/v1\n', 'Git LFS', '.'),
        (lambda: b'\x80\x02nonsense', 'not a PyTorch file', '.'),
        (lambda: WHOLE[: len(WHOLE) // 10], 'cut short', 'again'),
        (lambda: WHOLE[:-5], 'cut short', 'again'),
        (flipped, 'check sum', 'again'),
        (compressed, 'refused, because it is compressed', 'ask its maker'),
        (lambda: saved([1, 2, 3]), 'expected a state dict, got list', ''),
        (of_mmengine, f'{BUFFER}.*without ExactCheckpointHook', 'docs/troubleshooting.md'),
        (scripted, 'model.pth: a TorchScript file', r'^where you trust its maker, torch.save\('),
    ],
)
def test_what_is_no_checkpoint(tmp_path, make, text, cure):
    path = tmp_path / 'model.pth'
    path.write_bytes(make())
    finding = look_at(path)
    assert finding.level == 'error'
    assert re.search(text, finding.text) and re.search(cure, finding.cure)


def test_a_scheme_before_a_path(voc_tflite, tmp_path):
    [finding] = check_checkpoint(f'tflite://{voc_tflite}')
    assert finding.level == 'ok' and finding.text.endswith(f'load_from=tflite://{voc_tflite}')
    finding, wrong = check_checkpoint(f'vainf://{voc_tflite}')
    assert (finding.level, wrong.level, wrong.cure) == ('ok', 'error', f'load_from=tflite://{voc_tflite}')
    for scheme in SCHEMES.values():
        [finding] = check_checkpoint(f'{scheme}{tmp_path}/absent.pth')
        assert finding.level == 'error' and finding.text == f'{tmp_path}/absent.pth: no such file'
    [finding] = check_checkpoint('https://example.org/a.pth')
    assert finding.level == 'info' and finding.text.startswith('https://example.org/a.pth is downloaded')
    assert {f'{scheme}://' for scheme in checkpoint.SCHEMES} == set(SCHEMES.values())


@pytest.fixture
def findings(tmp_path) -> Callable[..., list[Finding]]:
    """A function of a data root and a source checkpoint: what is said of a config that has them."""

    def check(root: Path, load_from: str | Path | None) -> list[Finding]:
        loader, path = dict(dataset=dict(data_root=str(root))), tmp_path / 'run.py'
        Config(dict(train_dataloader=loader, load_from=load_from and str(load_from))).dump(path)
        return list(check_config(path))

    return check


def test_a_config_whose_data_and_checkpoint_are_there(findings, tmp_path):
    torch.save(HEAD, tmp_path / 'source.pth')
    assert [finding.level for finding in findings(tmp_path, tmp_path / 'source.pth')] == ['ok', 'ok']
    [_, finding] = findings(tmp_path, None)
    assert finding.level == 'info' and 'no load_from' in finding.text


def test_a_config_that_points_nowhere(findings, tmp_path):
    found = findings(tmp_path / 'absent', tmp_path / 'absent.pth')
    assert [finding.level for finding in found] == ['error', 'error']
    assert 'absent.pth' in found[1].text and '--cfg-options' not in found[0].text
    assert 'set train_dataloader.dataset.data_root=DIR in the config' in found[0].text
    [finding] = check_config(tmp_path / 'absent.py')
    assert 'no such file' in finding.text


def test_a_config_whose_split_is_empty(tmp_path):
    path = tmp_path / 'run.py'
    (tmp_path / 'images').mkdir()
    dataset = dict(type='BaseSegDataset', data_root=str(tmp_path), data_prefix=dict(img_path='images'))
    Config(dict(val_dataloader=dict(dataset=dataset))).dump(path)
    finding = next(check_config(path))
    assert finding.level == 'error'
    assert '/images: no photograph whose name ends in .jpg; it has no' in finding.text


@pytest.mark.parametrize('load_from', ['torchvision://resnet50', 'https://example.org/a.pth'])
def test_a_checkpoint_that_is_fetched(findings, tmp_path, load_from):
    finding = findings(tmp_path, load_from)[-1]
    assert finding.level == 'info' and f'load_from={load_from} is downloaded by the run' in finding.text


def test_a_config_that_fails(tmp_path):
    path = tmp_path / 'broken.py'
    path.write_text("_base_ = './absent.py'")
    [finding] = check_config(path)
    assert finding.level == 'error' and finding.text.startswith(f'{path}: cannot be read as a config (')
    assert 'absent.py' in finding.text


def test_a_config_where_the_package_cannot_be_imported(findings, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmseg_deeplab_study', None)
    [finding] = findings(tmp_path, None)
    assert finding.level == 'warning' and 'mmseg_deeplab_study cannot be imported' in finding.text


def test_a_config_without_the_scheme(voc_tflite, findings, tmp_path):
    finding = findings(tmp_path, voc_tflite)[-1]
    assert finding.level == 'error' and finding.cure == f'load_from=tflite://{voc_tflite}'
    assert [finding.level for finding in findings(tmp_path, f'tflite://{voc_tflite}')] == ['ok', 'ok']
