"""Two iterations of each source stage and two on the target from what it writes, but for the study's CNNs."""

import re
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from mmseg.registry import MODELS

from mmseg_deeplab_study.datasets.drawn.scenes import write_voc_like
from mmseg_deeplab_study.runs.history import read_history

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
PAIRS = {
    match[1]: (leaf, next(leaf.parent.glob(f'{match[1]}_1xb16-30k_voc12aug-*.py')))
    for leaf in sorted(CONFIGS.rglob('*_voc2cityscapes-768x768.py'))
    if (match := re.match(r'(?!deeplabv3(?:plus)?_(?:r50|mobilenet))(.*)_1xb4-200_', leaf.name))
}


def test_every_model_has_its_source_stage():
    # test_configs.py holds these and its own to be all leaves.
    assert {'segformer_mit-b0', 'upernet_swin-t', 'deeplabv3_deit-s16', 'unet-s5-d16'} <= PAIRS.keys()


def test_nothing_of_a_u_net_is_pretrained():
    _, leaf = PAIRS['unet-s5-d16']
    cfg = Config.fromfile(leaf)
    wrapper = build_optim_wrapper(MODELS.build(cfg.model), cfg.optim_wrapper)
    # source_30k.py gives a backbone a tenth, and a U-Net is nearly all backbone.
    assert {group['lr'] for group in wrapper.optimizer.param_groups} == {0.01}


# Of a crop: the smallest that every one of the networks takes.
SIDE = 32


@pytest.fixture(scope='module')
def drawn(tmp_path_factory, make_tiny_cityscapes) -> tuple[Path, Path]:
    """Drawn objects in PASCAL VOC's layout, of a size that nothing divides, and scenes in Cityscapes'."""
    voc = write_voc_like(tmp_path_factory.mktemp('voc'), train=4, val=1, size=(50, 67))
    return voc, make_tiny_cityscapes(tmp_path_factory.mktemp('cityscapes'), val=1)


def two_iterations(cfg: Config, root: Path, work_dir: Path) -> Runner:
    """A runner of a leaf as it is, but for its data: two iterations on small images."""
    crop = dict(type='RandomCrop', crop_size=(SIDE, SIDE))
    for loader, between in ((cfg.train_dataloader, [crop]), (cfg.val_dataloader, [])):
        loader.update(num_workers=0, persistent_workers=False)
        dataset = loader.dataset
        if dataset.type == 'NamedSubset':
            dataset.fraction = 1.0
            dataset = dataset.dataset
        elif dataset.type == 'ConcatDataset':
            dataset = loader.dataset = dataset.datasets[0]
        pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), *between]
        # Serialised, a dataset collects all of Python's garbage first.
        dataset.update(data_root=str(root), serialize_data=False)
        dataset.pipeline = [*pipeline, dict(type='PackSegInputs')]
    cfg.train_dataloader.batch_size = 2
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    if cfg.default_hooks.checkpoint:
        cfg.default_hooks.checkpoint.update(interval=2, save_best=None, save_optimizer=False)
    cfg.work_dir = str(work_dir)
    # Fetches nothing.
    cfg.model.backbone.pop('init_cfg', None)
    cfg.model.pretrained = None
    cfg.model.data_preprocessor.size = (SIDE, SIDE)
    # Most weights are those of a head, whose width fits any backbone; test_configs.py builds the whole ones.
    cfg.model.decode_head.channels = 32
    return Runner.from_cfg(cfg)


def train(runner: Runner) -> None:
    """Train, and see that each parameter that can learn had a finite gradient in each iteration."""
    seen = Counter()

    def count(name: str, parameter: torch.nn.Parameter) -> None:
        seen[name] += bool(parameter.grad.sum().isfinite())

    learning = {name: 2 for name, parameter in runner.model.named_parameters() if parameter.requires_grad}
    for name in learning:
        runner.model.get_parameter(name).register_post_accumulate_grad_hook(partial(count, name))
    runner.train()
    assert learning and seen == learning
    assert 'SyncBatchNorm' not in {type(module).__name__ for module in runner.model.modules()}


@pytest.mark.slow
@pytest.mark.parametrize('name', PAIRS)
def test_two_iterations_of_each_stage(name, drawn, tmp_path):
    target, source = (Config.fromfile(path) for path in PAIRS[name])
    train(two_iterations(source, drawn[0], tmp_path / 'source'))
    target.load_from = str(tmp_path / 'source/iter_2.pth')
    # Nothing is loaded from it.
    target.default_hooks.checkpoint = None
    runner = two_iterations(target, drawn[1], tmp_path / 'work')
    before = {key: value.clone() for key, value in runner.model.backbone.state_dict().items()}
    train(runner)

    rows = read_history(tmp_path / 'work').rows
    kinds = [('source', 0), ('validation', 0), ('validation', 2)]
    assert [(row['kind'], row['iter']) for row in rows] == kinds
    classifier = runner.model.decode_head.conv_seg.weight
    assert classifier.shape[0] == 19 and torch.isfinite(classifier).all()
    # What was loaded, and not what was drawn: of the source's backbone to within two small steps.
    loaded = torch.load(target.load_from, weights_only=True)['state_dict']
    for key, value in runner.model.state_dict().items():
        if key.startswith('backbone.') and value.dtype == torch.float32 and 'running' not in key:
            assert (value - loaded[key]).abs().max() < 0.01, key
    assert any((value - loaded[f'backbone.{key}']).abs().max() > 0.01 for key, value in before.items())
