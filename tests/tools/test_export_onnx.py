"""tools/export_onnx.py: real weights as ONNX against TensorFlow's own logits, and what it refuses."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mmseg.utils import get_classes, get_palette
from PIL import Image

from mmseg_deeplab_study import config_path
from mmseg_deeplab_study.checkpoints.parity import Parity, measure
from mmseg_deeplab_study.digests import file_digest
from mmseg_deeplab_study.inference import onnx_export
from mmseg_deeplab_study.inference.onnx_export import OnnxNetwork

CAMVID = config_path('deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid')
STEP = 4  # golden logits hold every 4th pixel


@pytest.fixture
def run(run_tool, tmp_path, monkeypatch):
    """A function that runs the tool, in a folder of its own, and returns exit code, output and errors."""
    for package in ('onnx', 'onnxruntime', 'onnxscript'):
        pytest.importorskip(package, reason=f'{package} is not installed: pip install -e ".[onnx]"')
    monkeypatch.chdir(tmp_path)
    return partial(run_tool, 'export_onnx')


@pytest.fixture
def trained(make_config, write_trained, tmp_path) -> tuple[str, str]:
    """Paths of a config and of a checkpoint that fits it."""
    cfg = make_config(tmp_path / 'data', tmp_path / 'work')
    cfg.dump(tmp_path / 'config.py')
    write_trained(cfg, tmp_path / 'a.pth')
    return str(tmp_path / 'config.py'), str(tmp_path / 'a.pth')


@pytest.mark.slow
def test_real_weights_give_tensorflows_logits(run, shared, voc_tflite):
    """The graph alone, from pixels, against what LiteRT computes from the file it was made of."""
    import onnx

    golden = np.load(shared / 'golden/tflite_deeplabv3_257_mv_gpu.npz')
    Image.fromarray(golden['voc_bird_image'].astype(np.uint8)).save('bird.png')
    options = ['--cfg-options', 'model.decode_head.num_classes=21', 'model.data_preprocessor.test_cfg=None']
    written = ['-o', 'voc.onnx', '--size', 257, 257, '--image', 'bird.png']
    code, output, errors = run(CAMVID, f'tflite://{voc_tflite}', *written, *options)
    assert (code, errors) == (0, '')
    assert '1x257x257: largest difference' in output and 'labels agree on 100.00 %' in output
    assert 'Wrote voc.onnx' in output
    logits = OnnxNetwork(Path('voc.onnx').read_bytes())(golden['voc_bird_image'].astype(np.uint8)[None])
    theirs = golden['voc_bird_logits']
    parity = measure(logits[:, :, ::STEP, ::STEP], theirs.reshape(1, *theirs.shape[-3:]))
    assert parity.difference < 1e-5 and parity.agreement == 1
    metadata = {entry.key: json.loads(entry.value) for entry in onnx.load('voc.onnx').metadata_props}
    assert metadata == {
        'classes': list(get_classes('voc')),
        'palette': [list(colour) for colour in get_palette('voc')],
        'checkpoint_digest': file_digest(voc_tflite),
    }


@pytest.mark.parametrize('difference', [2e-4, float('nan')])
def test_nothing_is_written_where_logits_differ(run, trained, monkeypatch, difference):
    import onnx

    asked = []
    monkeypatch.setattr(onnx_export, 'export_onnx', lambda *args: asked.append(args) or onnx.ModelProto())
    monkeypatch.setattr(onnx_export, 'check', lambda *args: [Parity(difference, 0.5)])
    code, output, errors = run(*trained, '-o', 'a.onnx', '--dynamic')
    assert code == 1 and not Path('a.onnx').exists()
    assert f'error: a.onnx was not written: its logits differ from torch by {difference:.1e} of the' in errors
    assert 'labels agree on 50.00 %' in output
    assert asked[0][2] is True  # dynamic
