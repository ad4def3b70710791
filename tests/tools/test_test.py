"""tools/test.py --crf, by the command itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from mmseg_deeplab_study.evaluation.history import read_history

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_crf_beside_the_record_of_a_run(tiny_cityscapes, make_config, tmp_path):
    cfg = make_config(tiny_cityscapes(), tmp_path / 'work')
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.test_cfg = dict(type='TestLoop')
    cfg.dump(tmp_path / 'config.py')
    call('train', tmp_path / 'config.py', '--work-dir', tmp_path / 'work')
    output = call(
        'test',
        tmp_path / 'config.py',
        tmp_path / 'work/iter_10.pth',
        '--crf',
        '--work-dir',
        tmp_path / 'test',
    )
    row = read_history(tmp_path / 'work').select('crf')[0]
    # MMEngine prints four decimals.
    assert f' mIoU: {row["mIoU"]:.4f}' in output and f' BIoU: {row["BIoU"]:.4f}' in output
    assert f'unrefined/mIoU: {row["unrefined"]["mIoU"]:.4f}' in output
    assert (tmp_path / 'work/snapshots/crf/000010').is_dir()


@pytest.mark.parametrize('asked', [['--crf'], ['--cfg-options', 'model.test_cfg.crf.iterations=2']])
def test_refuses_views_that_would_each_be_refined(make_config, tmp_path, asked):
    make_config(tmp_path, tmp_path / 'work').dump(tmp_path / 'config.py')
    command = [
        sys.executable,
        str(ROOT / 'tools/test.py'),
        str(tmp_path / 'config.py'),
        'a.pth',
        *asked,
        '--tta',
    ]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 1
    assert 'error: --tta with dense CRF' in found.stderr and 'give one of them' in found.stderr


def call(tool: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / f'tools/{tool}.py'), *map(str, arguments)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout + found.stderr
