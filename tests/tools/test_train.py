"""The tools as a user starts them: real weights on real photographs, and what goes wrong most often."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from mmseg.utils import get_classes
from PIL import Image

from mmseg_deeplab_study.runs.history import FILE_NAME, read_history

pytestmark = pytest.mark.slow

REPO = Path(__file__).resolve().parents[2]
TRAIN = REPO / 'tools/train.py'
CAMVID = REPO / 'configs/camvid/deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid.py'
# Not in the validation photographs, whether predicted or not; README.md of the shared material.
ABSENT = ('wall', 'traffic light', 'terrain', 'rider', 'truck', 'bus', 'train', 'motorcycle')
STRIDE = 'model.backbone.output_stride'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def start(script: Path, *argv: object, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    """A real process: what a user starts first, and stock MMSegmentation's own tool."""
    options = dict(env={**os.environ, 'PYTHONWARNINGS': 'ignore', **env}, capture_output=True, text=True)
    return subprocess.run([sys.executable, script, *map(str, argv)], cwd=cwd, timeout=400, **options)


def options(*more: str) -> list[str]:
    """--cfg-options that keep loading in the main process: workers cost more than they give here."""
    inline = [f'{name}.{key}' for name in LOADERS for key in ('num_workers=0', 'persistent_workers=False')]
    return ['--cfg-options', *inline, *more]


@pytest.fixture(scope='session')
def weights(voc_tflite: Path) -> str:
    return f'tflite://{voc_tflite}'


@pytest.fixture(scope='session')
def camvid(shared: Path) -> str:
    return str(shared / 'data/camvid_cityscapes')


@pytest.fixture(scope='session')
def run(weights, camvid, tmp_path_factory) -> Path:
    """The work_dir of five iterations."""
    work_dir = tmp_path_factory.mktemp('run') / 'work'
    argv = [CAMVID, '--work-dir', work_dir, *options(f'load_from={weights}', 'train_cfg.max_iters=5')]
    done = start(TRAIN, *argv, cwd=work_dir.parent, CAMVID_ROOT=camvid)
    assert done.returncode == 0, done.stderr
    (work_dir.parent / 'console').write_text(done.stdout)
    return work_dir


def test_the_console_has_no_noise_and_the_log_file_has_all(run):
    console = (run.parent / 'console').read_text()
    (log,) = run.glob('*/*.log')
    noise = ('paramwise_options', 'System environment:', 'Config:', 'Hooks will be executed', 'IoU.road')
    assert [text for text in noise if text in console or text not in log.read_text()] == []
    lines = console.splitlines()
    first = next(place for place, line in enumerate(lines) if 'mIoU ' in line)
    assert first < 60
    # Warnings and paths are as long as they are.
    assert [line for line in lines if len(line) > 100 and 'WARNING' not in line and '/' not in line] == []
    assert f'Log, with all that this leaves out: {log.relative_to(run.parent)}' in console
    found = [line[15:] for line in lines[-4:]]
    assert found[0].startswith('Done in ') and found[0].endswith('checkpoints: work')
    assert found[1].startswith("mIoU.labelled (%): source's view 8.0, at 0 11.0, lowest ")
    assert found[2:] == [
        'Figures: tools/analyze.py work',
        'Report:  tools/report.py work   # writes report.html there',
    ]


def test_a_finished_run_is_left_as_it_is(forked, run, weights, camvid, tmp_path):
    work_dir = tmp_path / 'work'
    shutil.copytree(run, work_dir)

    def files() -> dict[str, bytes]:
        return {
            path: path.read_bytes()
            for path in work_dir.rglob('*')
            if path.is_file() and path.name != '.running'
        }

    before = files()
    argv = [CAMVID, '--work-dir', work_dir, '--resume']
    argv += options(f'load_from={weights}', 'train_cfg.max_iters=5')
    done = forked.run(TRAIN, *argv, cwd=tmp_path, env={'CAMVID_ROOT': camvid})
    assert done.returncode == 0, done.stderr
    assert 'Finished: the run in work is at iteration 5 of 5; nothing is changed' in done.stdout
    assert 'tools/report.py work ' in done.stdout
    assert files() == before


def test_record_of_the_real_weights(run, weights):
    history = read_history(run)
    both = ('source_classifier', 'validation')
    kinds = [(0, 'source'), *((i, kind) for i in (0, 5) for kind in both)]
    assert [(row['iter'], row['kind']) for row in history.rows] == kinds
    assert history.header['load_from'] == weights
    # Measured independently: car 72.7, person 12.0, bicycle 3.2 (shared/facts.md).
    view = {name: round(iou, 1) for name, iou in history.rows[0]['class_iou'].items() if iou}
    assert view == {'car': 72.7, 'person': 12.0, 'bicycle': 3.2}
    first = history.validations[0]
    # The head transfer keeps those logits and leaves fewer rivals.
    iou = first['class_iou']
    assert iou['car'] >= 60 and iou['person'] >= 10 and iou['bicycle'] >= 2 and first['mIoU'] >= 8
    # Of all heirs of background only the first, road, wins pixels: the others score 0.
    assert first['class_iou']['road'] > 20
    unseen = set(history.header['target_classes']) - set(history.header['seen_classes']) - {'road'}
    assert {first['class_iou'][name] for name in unseen} == {0.0, None}
    for row in history.validations:
        confusion = np.array(row['confusion'])
        for i, name in enumerate(get_classes('cityscapes')):
            if name in ABSENT:
                assert confusion[i].sum() == 0
                assert row['class_iou'][name] == (0.0 if confusion[:, i].any() else None)
            else:
                assert row['class_iou'][name] is not None
        assert row['images'] == 26


def test_resumes_its_own_checkpoint_and_not_the_source_s(run, weights, camvid, tmp_path):
    work_dir = tmp_path / 'work'
    shutil.copytree(run, work_dir)
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'iter_5.pth'))
    # As after a kill between the checkpoint of iteration 5 and its validation, inside the write of a row.
    record = work_dir / FILE_NAME
    *first, last = record.read_text().splitlines(keepends=True)
    record.write_text(''.join(first) + last[:100])
    argv = [CAMVID, '--work-dir', work_dir, '--resume']
    argv += options(f'load_from={weights}', 'train_cfg.max_iters=10')
    done = start(TRAIN, *argv, cwd=tmp_path, CAMVID_ROOT=camvid)
    assert done.returncode == 0, done.stderr
    before, after = read_history(run), read_history(work_dir)
    assert after.header == before.header
    assert [row['iter'] for row in after.validations] == [0, 5, 10]
    assert len(after.rows) == len(before.rows) + 2
    for row, other in zip(after.rows, before.rows, strict=False):
        assert {**row, 'seconds': 0} == {**other, 'seconds': 0}


def test_files_of_a_run(run):
    assert (run / 'iter_5.pth').is_file()
    assert len(list((run / 'snapshots/000005').iterdir())) == 4
    assert len(list((run / 'snapshots/reference').iterdir())) == 8
    rows = json.loads((run / 'head_transfer.json').read_text())['rows']
    rules = {row['target']: row['rule'] for row in rows}
    assert (rules['car'], rules['motorcycle'], rules['road']) == ('exact', 'alias', 'background')


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def give_a_wrong_id(path: Path) -> None:
    label = np.array(Image.open(path))
    label[10, 10:15] = 33
    Image.fromarray(label).save(path)


def remove_split(path: Path) -> None:
    shutil.rmtree(path.parents[1])


@pytest.mark.parametrize(
    ('damage', 'place', 'extra', 'message'),
    [
        (cut, 'leftImg8bit/train', [], '{}: damaged photograph (cut short: a PNG without its end); copy,'),
        (cut, 'gtFine/val', ['custom_hooks=[]'], '{}: damaged label map (cut short: a PNG without its end);'),
        (give_a_wrong_id, 'gtFine/train', [], '{}: label ids [33] lie outside the label space of 19 classes'),
        (remove_split, 'leftImg8bit/val', [], "val_dataloader.dataset.data_prefix.img_path: '"),
    ],
)
def test_data_that_are_wrong(forked, tmp_path, weights, tiny_cityscapes, damage, place, extra, message):
    root = tiny_cityscapes(train=2, val=2)
    bad = sorted((root / place / 'tiny').iterdir())[1]
    damage(bad)
    argv = [CAMVID, '--work-dir', tmp_path / 'work', *options(f'load_from={weights}', *extra)]
    done = forked.run(TRAIN, *argv, cwd=tmp_path, env={'CAMVID_ROOT': str(root)})
    assert done.returncode == 1 and done.stderr.count('\n') == 1
    assert done.stderr.startswith(f'error: {message.format(bad)}')
    assert not (tmp_path / 'work' / FILE_NAME).exists()


@pytest.mark.parametrize(
    ('argv', 'root', 'message'),
    [
        (['--cfg-options', f'{STRIDE}=4'], None, 'output_stride must be one of (8, 16, 32)'),
        (['--load-from', '/x/a,b.pth'], None, 'error: load_from=/x/a,b.pth: no such file'),
        (['--load-from', 'tflite://a b.tflite'], None, 'error: load_from=tflite://a b.tflite: no such file'),
        (['--cfg-options', 'load_from=2026'], None, 'error: load_from=2026: no such file'),
        ([], '/nowhere', "error: train_dataloader.dataset.data_root: the folder '/nowhere'"),
    ],
)
def test_what_stops_a_run_before_it_begins(forked, tmp_path, weights, camvid, argv, root, message):
    source = [] if 'load_from' in message else ['--load-from', weights]
    argv = [CAMVID, '--work-dir', tmp_path / 'work', *source, *argv]
    done = forked.run(TRAIN, *argv, cwd=tmp_path, env={'CAMVID_ROOT': root or camvid})
    assert done.returncode == 1 and done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_amp_on_the_cpu(forked, tmp_path, weights, camvid):
    extra = options(f'load_from={weights}', 'train_cfg.max_iters=2', 'val_dataloader.dataset.indices=2')
    argv = [CAMVID, '--amp', '--seed', 7, '--work-dir', tmp_path / 'work', *extra]
    done = forked.run(TRAIN, *argv, cwd=tmp_path, env={'CAMVID_ROOT': camvid})
    assert done.returncode == 0, done.stderr
    history = read_history(tmp_path / 'work')
    assert [row['iter'] for row in history.validations] == [0, 2]
    assert [row['images'] for row in history.rows] == [2] * 5
    assert history.header['seed'] == 7
    (dumped,) = (tmp_path / 'work').glob('*/vis_data/config.py')
    assert "type='BFloat16OptimWrapper'" in dumped.read_text()


@pytest.mark.parametrize('which', ['tflite', 'checkpoint'])
def test_test_tool_scores_as_the_record_does(forked, run, weights, camvid, tmp_path, which):
    row = read_history(run).validations[0 if which == 'tflite' else 1]
    checkpoint = weights if which == 'tflite' else run / 'iter_5.pth'
    argv = [CAMVID, checkpoint, '--work-dir', tmp_path / 'work', '--out', tmp_path / 'out', *options()]
    done = forked.run(REPO / 'tools/test.py', *argv, cwd=tmp_path, env={'CAMVID_ROOT': camvid})
    assert done.returncode == 0, done.stderr
    (path,) = (path for path in (tmp_path / 'work').glob('*/*.json') if path.parent.name != 'vis_data')
    scores = json.loads(path.read_text())
    assert scores['mIoU'] == pytest.approx(row['mIoU'], abs=1e-6)
    assert scores['IoU.car'] == pytest.approx(row['class_iou']['car'], abs=1e-6)
    assert len(list((tmp_path / 'out').iterdir())) == 26


FOREIGN = """
_base_ = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024.py'
custom_imports = dict(imports=['mmseg_deeplab_study'])
custom_hooks = [
    dict(type='HeadTransferHook', source='voc', target='cityscapes', allow_no_source=True),
    dict(type='AdaptationHook'),
]
val_evaluator = dict(_delete_=True, type='AdaptationMetric', source='voc')
test_evaluator = val_evaluator
"""


def test_stock_mmseg_trains_a_foreign_config(shared, tmp_path):
    config = tmp_path / 'theirs.py'
    config.write_text(FOREIGN)
    site = Path(find_spec('mmseg').origin).parent
    argv = [config, '--work-dir', tmp_path / 'work', *options()]
    argv += ['model.pretrained=None', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2']
    argv += ['model.data_preprocessor.size=(64,64)', 'train_dataloader.dataset.pipeline.3.crop_size=(64,64)']
    # As big as they are, so that predictions have the size of the labels.
    for loader, place in (('train_dataloader', 2), ('val_dataloader', 1)):
        argv += [f'{loader}.dataset.pipeline.{place}.scale=(256,128)']
    for loader in LOADERS:
        argv += [f'{loader}.dataset.data_root={shared / "data/cityscapes_sample"}']
    prefix = 'train_dataloader.dataset.data_prefix'
    argv += [f'{prefix}.img_path=leftImg8bit/val', f'{prefix}.seg_map_path=gtFine/val']
    done = start(site / '.mim/tools/train.py', *argv, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    history = read_history(tmp_path / 'work')
    assert [row['iter'] for row in history.rows] == [0, 2]
    assert history.header['target_classes'] == list(get_classes('cityscapes'))
