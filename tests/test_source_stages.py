"""From what a source stage writes to two iterations on the target, for transformers and baselines."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules

from mmseg_deeplab_study.evaluation.history import read_history

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
PAIRS = {
    match[1]: (leaf, next(leaf.parent.glob(f'{match[1]}_1xb16-30k_voc12aug-*.py')))
    for folder in ('transformers', 'baselines')
    for leaf in sorted((CONFIGS / folder).glob('*_voc2cityscapes-768x768.py'))
    if (match := re.match(r'(.*)_1xb4-200_', leaf.name))
}

pytestmark = pytest.mark.usefixtures('one_thread')


def without_weights(config: Config) -> Config:
    """A model's config that fetches nothing, for images of 64x64."""
    config.backbone.pop('init_cfg', None)
    config.pretrained = None
    config.data_preprocessor.size = (64, 64)
    return config


def test_every_model_has_its_source_stage():
    assert (
        len(PAIRS)
        == len(list(CONFIGS.glob('transformers/*.py'))) / 2 + len(list(CONFIGS.glob('baselines/*.py'))) / 2
    )
    assert {'segformer_mit-b0', 'upernet_swin-t', 'deeplabv3_deit-s16', 'unet-s5-d16'} <= PAIRS.keys()


@pytest.mark.slow
@pytest.mark.parametrize('name', PAIRS)
def test_two_iterations_from_the_source_stage(name, tiny_cityscapes, tmp_path):
    register_all_modules()
    target, source = (Config.fromfile(path) for path in PAIRS[name])
    torch.manual_seed(0)
    model = MODELS.build(without_weights(source.model))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'source.pth')
    # As its own validation: one image of a size that nothing divides.
    image = torch.randint(256, (3, 50, 67), dtype=torch.uint8)
    sample = SegDataSample(metainfo=dict(ori_shape=(50, 67), img_shape=(50, 67)))
    (found,) = model.eval().test_step(dict(inputs=[image], data_samples=[sample]))
    assert found.pred_sem_seg.data.shape == (1, 50, 67)

    cfg = target
    without_weights(cfg.model)
    root = str(tiny_cityscapes())
    loader = cfg.train_dataloader
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
    loader.dataset.dataset.update(data_root=root, pipeline=pipeline)
    loader.dataset.fraction = 1.0
    cfg.val_dataloader.dataset.update(data_root=root, pipeline=pipeline)
    for part in (loader, cfg.val_dataloader):
        part.update(num_workers=0, persistent_workers=False)
    loader.batch_size = 2
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.default_hooks.checkpoint.update(interval=2, save_best=None)
    cfg.load_from, cfg.work_dir = str(tmp_path / 'source.pth'), str(tmp_path / 'work')
    runner = Runner.from_cfg(cfg)
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()

    rows = read_history(tmp_path / 'work').rows
    assert [(row['kind'], row['iter']) for row in rows] == [
        ('source', 0),
        ('validation', 0),
        ('validation', 2),
    ]
    classifier = runner.model.decode_head.conv_seg.weight
    assert classifier.shape[0] == 19 and torch.isfinite(classifier).all()
    # What was loaded, and not what was drawn: of the source's backbone to within two small steps.
    loaded = model.state_dict()
    for key, value in runner.model.state_dict().items():
        if key.startswith('backbone.') and value.dtype == torch.float32 and 'running' not in key:
            assert (value - loaded[key]).abs().max() < 0.01, key
    assert any(
        (before[key] - loaded[key]).abs().max() > 0.01 for key in loaded if key.startswith('backbone.')
    )
