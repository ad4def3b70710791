"""tools/predict.py on photographs, folders and videos, and what it refuses."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmseg_deeplab_study import config_path
from mmseg_deeplab_study.inference.inferencer import TrainedInferencer

CAMVID = config_path('deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid')
CLASSES = [f'class {i}' for i in range(19)]
PALETTE = [[10 * i, 255 - 10 * i, 40] for i in range(19)]


@pytest.fixture(scope='module')
def trained(make_config, write_trained, tmp_path_factory) -> tuple[str, str]:
    """Paths of a config and of a checkpoint that fits it."""
    folder = tmp_path_factory.mktemp('trained')
    cfg = make_config(folder / 'data', folder / 'work')
    cfg.dump(folder / 'config.py')
    write_trained(cfg, folder / 'a.pth', dataset_meta=dict(classes=CLASSES, palette=PALETTE))
    return str(folder / 'config.py'), str(folder / 'a.pth')


@pytest.fixture
def run(run_tool, trained, tmp_path, monkeypatch):
    """A function that runs the tool on inputs, in a folder of its own, and returns exit code, output and
    errors; the config and checkpoint are the tiny ones unless given."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, model=trained: run_tool('predict', *model, *arguments)


def photograph(path: str, height: int = 40, width: int = 64) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(0).integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
    Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)[:height, :width]).save(path)
    return Path(path)


def test_overlay_and_labels(run):
    code, output, errors = run(photograph('a.png'), '-o', 'new/out', '--opacity', '1')
    assert (code, output, errors) == (0, 'Wrote new/out/a_overlay.jpg, new/out/a_labels.png\n', '')
    label_map = Image.open('new/out/a_labels.png')
    labels = np.asarray(label_map)
    assert labels.shape == (40, 64) and len(np.unique(labels)) > 1
    assert np.array_equal(np.asarray(label_map.convert('RGB')), np.uint8(PALETTE)[labels])
    overlay = np.asarray(Image.open('new/out/a_overlay.jpg')).astype(int)
    assert overlay.shape[0] > 40  # the legend
    # At full opacity the overlay is the colours, but for what JPEG makes of edges.
    difference = np.abs(overlay[:40, :64] - np.array(PALETTE)[labels]).max(-1)
    assert np.median(difference) < 6


def test_a_picture_alone_keeps_its_colours(run):
    Image.new('RGB', (64, 40), (230, 120, 10)).save('orange.png')
    assert run('orange.png', '-o', 'out', '--no-legend', '--no-labels', '--opacity', '0')[0] == 0
    assert [path.name for path in Path('out').iterdir()] == ['orange_overlay.jpg']
    overlay = np.asarray(Image.open('out/orange_overlay.jpg')).astype(int)
    assert overlay.shape == (40, 64, 3) and np.abs(overlay - (230, 120, 10)).max() < 6


@pytest.mark.parametrize(
    ('fails', 'error', 'line'),
    [
        ('read_bytes', PermissionError(13, 'Permission denied', 'folder/2.png'), 'Permission denied'),
        ('predict', MemoryError(), 'out of memory; give a smaller --long-side'),
        ('predict', torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate'), 'out of memory;'),
        ('predict', IndexError('no\n row'), 'IndexError: no row (--debug shows the traceback)'),
        (None, None, 'cannot be read as an image'),
    ],
)
def test_a_picture_that_fails_is_named_and_the_others_are_predicted(run, monkeypatch, fails, error, line):
    for name in '123':
        photograph(f'folder/{name}.png', width=64 + int(name))
    read, predict = Path.read_bytes, TrainedInferencer.predict

    def read_bytes(self: Path) -> bytes:
        if self.name == '2.png' and fails == 'read_bytes':
            raise error
        return b'no image' if self.name == '2.png' and fails is None else read(self)

    def predict_or_fail(self: TrainedInferencer, image: np.ndarray) -> np.ndarray:
        if image.shape[1] == 66 and fails == 'predict':
            raise error
        return predict(self, image)

    monkeypatch.setattr(Path, 'read_bytes', read_bytes)
    monkeypatch.setattr(TrainedInferencer, 'predict', predict_or_fail)
    code, output, errors = run('folder', '-o', 'out')
    assert (code, output.count('Wrote')) == (1, 2)
    assert f'error: folder/2.png: {line}' in errors
    assert 'error: 1 of 3 inputs could not be predicted' in errors and 'Traceback' not in errors
    written = {f'{name}_{kind}' for name in '13' for kind in ('overlay.jpg', 'labels.png')}
    assert {path.name for path in Path('out').iterdir()} == written


def test_a_picture_and_a_video_that_cannot_be_resized(run):
    photograph('folder/1.png', 2, 3000)
    photograph('folder/3.png')
    writer = cv2.VideoWriter('folder/2.avi', cv2.VideoWriter_fourcc(*'MJPG'), 8, (3000, 2))
    writer.write(np.zeros((2, 3000, 3), np.uint8))
    writer.release()
    code, output, errors = run('folder', '-o', 'out', '--long-side', '64')
    assert (code, output) == (1, 'Wrote out/3_overlay.jpg, out/3_labels.png\n')
    # 2 * 64 / 3000 = 0.04 pixels
    message = 'an image of 3000x2 pixels cannot be resized for the network .*, or give a larger --long-side'
    assert all(re.search(f'error: folder/{name}: {message}', errors) for name in ('1.png', '2.avi'))
    assert len(list(Path('out').iterdir())) == 2


def test_an_output_that_cannot_be_written_ends_it(run):
    for name in '12':
        photograph(f'folder/{name}.png')
    Path('out').mkdir()
    Path('out/file').write_text('')
    code, output, errors = run('folder', '-o', 'out/file/new')
    assert (code, output, errors.count('error:')) == (1, '', 1)
    assert 'out/file/new/1_overlay.jpg: could not be written (Not a directory)' in errors


def test_existing_results_are_kept_unless_told_otherwise(run):
    photograph('a.png')
    Path('out').mkdir()
    Path('out/a_labels.png').write_text('precious')
    code, _, errors = run('a.png', '-o', 'out')
    assert code == 1 and 'error: out/a_labels.png exists; give --overwrite' in errors
    assert Path('out/a_labels.png').read_text() == 'precious' and not Path('out/a_overlay.jpg').exists()
    assert run('a.png', '-o', 'out', '--overwrite')[0] == 0
    assert Image.open('out/a_labels.png').size == (64, 40)


def test_video(run):
    writer = cv2.VideoWriter('drive.avi', cv2.VideoWriter_fourcc(*'MJPG'), 8, (64, 48))
    for grey in (10, 120, 240):
        writer.write(np.full((48, 64, 3), grey, np.uint8))
    writer.release()
    code, output, errors = run('drive.avi', '-o', 'out')
    assert (code, output, errors) == (0, 'Wrote out/drive_overlay.mp4\n', '')
    video = cv2.VideoCapture('out/drive_overlay.mp4')
    assert video.get(cv2.CAP_PROP_FPS) == 8
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    # 19 classes in a legend of so narrow a picture stand one below the other
    assert video.get(cv2.CAP_PROP_FRAME_HEIGHT) > 48 + 19 * 12


@pytest.mark.slow
def test_a_note_on_images_much_larger_than_the_configs(run):
    for name in ('a', 'b'):
        photograph(f'folder/{name}.png', 40, 200)
    code, _, errors = run('folder', '-o', 'out')
    assert code == 0
    # the config trains on 64x64
    assert errors.count('note: ') == 1
    assert 'an image of 200x40 pixels, where the config has about 64: --long-side 64' in errors
    assert run('folder', '-o', 'out2', '--long-side', '64')[2] == ''
    assert Image.open('out2/a_labels.png').size == (200, 40)


def test_real_weights_on_a_real_photograph(run, shared, voc_tflite):
    (sheep,) = shared.glob('data/voc_samples/VOCdevkit/*/JPEGImages/sample_000023.jpg')
    model = (CAMVID, f'tflite://{voc_tflite}')
    options = ['--cfg-options', 'model.decode_head.num_classes=21']
    assert run(sheep, '-o', 'out', *options, model=model)[0] == 0
    labels = np.asarray(Image.open('out/sample_000023_labels.png'))
    # a sheep, PASCAL's class 17, and a background of grass; little else
    shares = np.bincount(labels.ravel(), minlength=21) / labels.size
    assert shares[17] > 0.2 and shares[0] > 0.6 and shares[17] + shares[0] > 0.98
