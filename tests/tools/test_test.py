"""tools/test.py --crf, by the command itself."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmseg_deeplab_study.runs.history import read_history

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@pytest.fixture
def cfg(tiny_cityscapes, make_config, tmp_path) -> Config:
    """A config that is tested with as it is validated, not yet written to ``tmp_path``."""
    cfg = make_config(tiny_cityscapes(), tmp_path / 'work')
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.test_cfg = dict(type='TestLoop')
    return cfg


@pytest.mark.slow
def test_crf_beside_the_record_of_a_run(forked, cfg, tmp_path):
    cfg.dump(tmp_path / 'config.py')
    config, work_dir = tmp_path / 'config.py', tmp_path / 'work'
    trained = forked.run(TOOLS / 'train.py', config, '--work-dir', work_dir, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    arguments = (config, work_dir / 'iter_10.pth', '--crf', '--work-dir', tmp_path / 'test')
    tested = forked.run(TOOLS / 'test.py', *arguments, cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr
    output = tested.stdout + tested.stderr
    row = read_history(tmp_path / 'work').select('crf')[0]
    # MMEngine prints four decimals.
    assert f' mIoU: {row["mIoU"]:.4f}' in output and f' BIoU: {row["BIoU"]:.4f}' in output
    assert f'unrefined/mIoU: {row["unrefined"]["mIoU"]:.4f}' in output
    assert (tmp_path / 'work/snapshots/crf/000010').is_dir()


@pytest.mark.slow
def test_show_dir_has_every_image(forked, cfg, write_trained, tmp_path):
    cfg.dump(tmp_path / 'config.py')
    write_trained(cfg, tmp_path / 'a.pth')
    found = forked.run(TOOLS / 'test.py', 'config.py', 'a.pth', '--show-dir', 'shown', cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert len(list((tmp_path / 'shown/vis_data/vis_image').iterdir())) == 3


def test_refuses_label_maps_of_16_bits(forked, cfg, tmp_path):
    """MMSeg casts them to uint8, after which no metric sees it. The checkpoint is not looked for yet."""
    root = Path(cfg.test_dataloader.dataset.data_root)
    label = root / 'gtFine/val/tiny/tiny_000001_gtFine_labelTrainIds.png'
    Image.fromarray(np.asarray(Image.open(label)).astype(np.uint16) * 256).save(label)
    cfg.dump(tmp_path / 'config.py')
    found = forked.run(TOOLS / 'test.py', 'config.py', 'a.pth', cwd=tmp_path)
    assert found.returncode == 1
    assert f'{label}: a label map of mode I;16, expected ids in one channel of 8 bits' in found.stderr


@pytest.mark.parametrize('asked', [['--crf'], ['--cfg-options', 'model.test_cfg.crf.iterations=2']])
def test_refuses_views_that_would_each_be_refined(forked, cfg, tmp_path, asked):
    cfg.dump(tmp_path / 'config.py')
    found = forked.run(TOOLS / 'test.py', 'config.py', 'a.pth', *asked, '--tta', cwd=tmp_path)
    assert found.returncode == 1
    assert 'error: --tta with dense CRF' in found.stderr and 'give one of them' in found.stderr
