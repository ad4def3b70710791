"""The configs of this package by name."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from mmseg.utils import get_classes

from mmseg_deeplab_study import config_path, get_config, get_model

LEAF = 'deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid'
CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


@pytest.mark.parametrize('name', [f'camvid/{LEAF}.py', f'{LEAF}.py', LEAF])
def test_a_leaf_by_each_of_its_names(name):
    assert Path(config_path(name)).resolve() == CONFIGS / 'camvid' / f'{LEAF}.py'


def test_a_base():
    assert Path(config_path('_base_/adaptation.py')).resolve() == CONFIGS / '_base_' / 'adaptation.py'


def test_an_unknown_name_says_the_nearest():
    nearest = "the nearest is '_base_/adaptation.py'"
    message = rf"'_base_/adaption.py' is none of the \d+ configs of this package; {nearest}"
    with pytest.raises(FileNotFoundError, match=message):
        config_path('_base_/adaption.py')


def test_a_config_that_asks_for_its_base(tmp_path):
    path = tmp_path / 'mine.py'
    base = f"_base_ = __import__('mmseg_deeplab_study').config_path('{LEAF}')\n"
    path.write_text(f'{base}train_cfg = dict(max_iters=7)\n')
    cfg, ours = Config.fromfile(path), get_config(LEAF)
    assert cfg.train_cfg.max_iters == 7
    assert cfg.model == ours.model


def test_model(voc_tflite, tmp_path):
    cfg = get_config(LEAF)
    state, meta = MODELS.build(cfg.model).state_dict(), dict(classes=get_classes('cityscapes'))
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=meta)), tmp_path / 'x.pth')
    model = get_model(LEAF, str(tmp_path / 'x.pth'))
    assert not model.training
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    with pytest.raises(ValueError, match="it has 21 classes, and the config's head 19"):
        get_model(LEAF, f'tflite://{voc_tflite}')
