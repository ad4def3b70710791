"""What the tools refuse: exit code, message, and that nothing is written."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

RECORD = '{"schema_version": 1}\n'
ROW = '{"iter": 0, "kind": "validation", "subset": "full", "mIoU": 3.0}\n'
EXPORT = 'export_onnx config.py a.pth -o a.onnx'
PREDICT = 'predict config.py a.pth a.png -o out'
TUNE = 'tune_crf config.py a.pth'
JOBS, NO_JOBS = '--jobs 2 --cluster slurm', '--jobs is not for --cluster slurm'
MODEL = '--cfg-options model'
NO_SIZE = f'{MODEL}.data_preprocessor.size=None'
ROOT = 'train_dataloader.dataset.data_root'


@pytest.fixture(scope='module')
def folder(make_tiny_cityscapes, make_config, write_trained, tmp_path_factory) -> Path:
    """A config with data and its checkpoint, a picture, a record and one without a row, a file in the way."""
    folder = tmp_path_factory.mktemp('refusals')
    cfg = make_config(make_tiny_cityscapes(folder), folder / 'work')
    cfg.test_dataloader = cfg.val_dataloader
    cfg.dump(folder / 'config.py')
    write_trained(cfg, folder / 'a.pth')
    Image.new('RGB', (64, 40)).save(folder / 'a.png')
    for name, text in (('run', RECORD + ROW), ('begun', RECORD)):
        (folder / name).mkdir()
        (folder / name / 'adaptation.jsonl').write_text(text)
    (folder / 'file').touch()
    (folder / 'empty').mkdir()
    return folder


@pytest.mark.parametrize(
    ('command', 'code', 'message'),
    [
        ('analyze run --iou 0', 1, 'error: run: iou must be in (0, 100] percent, but got 0.0'),
        ('analyze run --share 1.5', 1, 'error: run: share must be in (0, 1], but got 1.5'),
        ('analyze run run/../begun --export a.pickle', 1, '--export takes the record of one run, but got 2'),
        ('analyze run -o file', 1, 'error: file/analysis.json: could not be written'),
        ('export_onnx config.py a.pth -o a.pth', 1, 'error: a.pth exists; give another file, or remove it'),
        (f'{EXPORT} --image no.png', 1, 'no.png: No such file or directory'),
        (f'{EXPORT} --size 8 64', 2, 'must be at least 32, but got 8'),
        (f'{EXPORT} {MODEL}.decode_head.num_classes=21', 1, "it has 19 classes, and the config's head 21"),
        (f'{EXPORT} {NO_SIZE}', 1, 'config.py has no image size; give --size HEIGHT WIDTH'),
        ('predict nowhere a.pth a.png -o out', 1, 'error: config nowhere: no such file'),
        ('predict config.py nowhere a.png -o out', 1, 'error: nowhere: no such file'),
        ('predict config.py a.pth empty -o out', 1, 'error: empty: no photograph or video in this folder'),
        ('predict config.py a.pth a.png -o a.png', 2, '-o a.png is a file; give a folder'),
        (f'{PREDICT} --opacity 1.5', 2, 'must be between 0 and 1, but got 1.5'),
        (f'{PREDICT} --long-side 0', 2, '--long-side: must be at least 1, but got 0'),
        (f'{PREDICT} --device toaster', 2, "--device: 'toaster' cannot be used"),
        ('prepare_camvid nowhere', 1, 'error: nowhere/train.txt: no such list; expected the folder CamVid'),
        (f'study x.py {JOBS}', 2, f'error: {NO_JOBS}; set resources.array_parallelism in the study'),
        (f'demo {JOBS}', 2, NO_JOBS),
        ('prepare_camvid x --every 0', 2, '--every: must be at least 1, but got 0'),
        ('prepare_cityscapes nowhere', 1, 'error: nowhere: expected leftImg8bit_trainvaltest.zip'),
        ('prepare_cityscapes x --splits test', 2, "invalid choice: 'test'"),
        ('report nowhere', 1, 'no record of adaptation; expected the work_dir of a run with AdaptationHook'),
        ('report begun', 1, 'none of begun has a validation with an mIoU yet'),
        ('report run --frames 0', 2, '--frames: must be at least 1, but got 0'),
        ('report run --width -3', 2, '--width: must be at least 1, but got -3'),
        ('report run --watch-interval 0', 2, '--watch-interval must be more than 0 seconds, but got 0'),
        ('report run -o run', 2, '-o run is a folder; give the name of a file'),
        ('tune_crf config.py nowhere', 1, 'error: nowhere: no such file'),
        (f'{TUNE} --images 0', 2, '--images: must be at least 1, but got 0'),
        (f'{TUNE} --metric IoU', 2, "argument --metric: invalid choice: 'IoU'"),
        (f'{TUNE} {MODEL}.test_cfg.crf.sigma=3', 1, "error: model.test_cfg.crf has no 'sigma'"),
        (f'{TUNE} --cfg-options {ROOT}=nowhere', 1, f"error: {ROOT}: the folder 'nowhere' does not exist"),
        (f'{TUNE} {MODEL}.decode_head.num_classes=7', 1, 'it has 19 classes'),
    ],
)
def test_refusals(run_tool: Callable, folder: Path, monkeypatch, command: str, code: int, message: str):
    tool, *arguments = command.split()
    if tool == 'export_onnx':
        for package in ('onnx', 'onnxruntime', 'onnxscript'):
            pytest.importorskip(package, reason=f'{package} is not installed: pip install -e ".[onnx]"')
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob('*'))
    found, output, errors = run_tool(tool, *arguments)
    assert (found, output) == (code, '') and message in errors
    assert errors.count('error: ') == 1 and 'Traceback' not in errors
    assert sorted(folder.rglob('*')) == before
