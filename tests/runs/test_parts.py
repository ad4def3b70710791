"""Messages that name the part of a config, found by reading it or of an error from building it."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import _load_checkpoint
from mmseg.datasets.transforms import PhotoMetricDistortion
from mmseg.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS
from torch import nn

from mmseg_deeplab_study import get_config
from mmseg_deeplab_study.runs.parts import (
    check_loops,
    check_values,
    name_part,
    name_running_part,
    unused_custom_keys,
)

LEAVES = (
    'deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid',
    'segformer_mit-b0_1xb4-200_voc2cityscapes-768x768',
)


@pytest.fixture(scope='module')
def leaf() -> Config:
    return get_config(LEAVES[0])


def changed(cfg: Config, options: dict) -> Config:
    cfg = Config(cfg.to_dict())
    cfg.merge_from_dict(options)
    return cfg


@pytest.mark.parametrize('name', LEAVES)
def test_configs_of_ours_pass(name):
    cfg = get_config(name)
    check_loops(cfg)
    check_values(cfg)


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('train_cfg.max_iters', 'ten', "='ten': expected int, but got str"),
        ('optim_wrapper.optimizer.lr', [0, 1], r'=\[0, 1\]: expected float or Tensor, but got list'),
        ('param_scheduler.0.power', 'high', "='high': expected float, but got str"),
        ('default_hooks.checkpoint.interval', 'often', "='often': expected int, but got str"),
        ('train_dataloader.dataset.pipeline.2.crop_size', '64', "='64': expected int or tuple, but got str"),
        ('train_cfg.val_interval', 0, ' must be at least 1, but got 0'),
        ('train_cfg.val_interval', None, ' must be at least 1, but got None'),
    ],
)
def test_a_value_of_another_kind(leaf, key, value, message):
    with pytest.raises(ValueError, match=f'^{key}{message}$'):
        check_values(changed(leaf, {key: value}))


@pytest.mark.parametrize(
    'options',
    [
        {'train_cfg.max_iters': 1e1},
        {'optim_wrapper.optimizer.lr': 1},
        {'custom_hooks.1.snapshots': ['a', 'b']},
        {'randomness.seed': None},
        {'model.decode_head.norm_cfg': dict(_delete_=True, type='GN', num_groups=2)},
        {'my_own.type': 'Nothing', 'my_own.lr': 'fast'},
    ],
)
def test_values_that_may_be_meant(leaf, options):
    check_values(changed(leaf, options))


@pytest.mark.parametrize(
    ('absent', 'missing'),
    [
        (['optim_wrapper'], 'optim_wrapper missing, .* train_dataloader and train_cfg'),
        (['val_cfg'], 'val_cfg missing, .* val_dataloader and val_evaluator'),
        (['test_cfg', 'test_evaluator'], 'test_cfg and test_evaluator missing, .* test_dataloader'),
    ],
)
def test_part_of_a_loop(leaf, absent, missing):
    cfg = Config({**leaf.to_dict(), **dict.fromkeys(absent)})
    with pytest.raises(ValueError, match=f'^{missing}: give all three, or set all to None$'):
        check_loops(cfg)


OWN = "A class of your own needs custom_imports=dict(imports=['ITS.MODULE'])"


# By the place, what is changed in it, and to what.
ERRORS = {
    ('custom_hooks.1', 'type', 'AdaptionHook'): (
        f".type='AdaptionHook': nothing of that name is registered; did you mean 'AdaptationHook'? {OWN}"
    ),
    ('custom_hooks.1', 'check_label', True): (
        ": AdaptationHook takes no 'check_label'; did you mean 'check_labels'? It takes check_labels, "
        'forgetting, snapshots'
    ),
    ('model.decode_head', 'norm_cfg', 'Nothing'): (
        f".norm_cfg.type='Nothing': nothing of that name is registered. {OWN}"
    ),
    ('model.decode_head', 'dropout_ratio', 2): (
        ' (DeepLabV3Head): dropout probability has to be between 0 and 1, but got 2'
    ),
    ('model.backbone', 'output_stride', 7): (
        ' (AtrousBackbone): output_stride must be one of (8, 16, 32), but got 7'
    ),
    ('model.backbone', 'backbone.depth', 50): (
        ".backbone: mmpretrain.MobileNetV2 takes no 'depth'. It takes act_cfg, conv_cfg, frozen_stages, "
    ),
    ('val_evaluator', 'source', 'vok'): " (AdaptationMetric): unknown label space 'vok'",
    ('train_dataloader.dataset.pipeline.2', 'crop_size', (0, 64)): (
        ' (RandomCrop): AssertionError at `assert crop_size[0] > 0'
    ),
}


@pytest.mark.parametrize(('change', 'message'), ERRORS.items())
def test_the_part_that_an_error_comes_from(leaf, change, message):
    place, key, value = change
    value = dict(_delete_=True, type=value) if key == 'norm_cfg' else value
    cfg = changed(leaf, {f'{place}.{key}': value})
    part, (first, *keys) = cfg, place.split('.')
    for name in (first, *keys):
        part = part[int(name)] if name.isdigit() else part[name]
    registries = dict(custom_hooks=HOOKS, model=MODELS, val_evaluator=METRICS, train_dataloader=TRANSFORMS)
    init_default_scope('mmseg')
    with pytest.raises(Exception) as caught:  # noqa: PT011
        registries[first].build(part)
    assert name_part(caught.value).startswith(place + message)


def test_the_nearest_of_several_parts_of_a_type(leaf):
    cfg = changed(leaf, {'train_dataloader.dataset.split': 'train'})
    part = cfg.train_dataloader.dataset.to_dict()
    part['lazy_init'] = True  # as a check that only lists files asks for
    with pytest.raises(TypeError) as caught:
        DATASETS.build(part)
    assert name_part(caught.value).startswith("train_dataloader.dataset: CityscapesDataset takes no 'split'")


def test_what_is_built_without_a_registry(leaf):
    cfg = changed(leaf, {'optim_wrapper.optimizer.type': 'SDG'})
    cfg.train_dataloader = dict(dataset=[1, 2], sampler=None, batch_size=1, workers=2)
    with pytest.raises(TypeError) as caught:
        Runner.build_dataloader(cfg.train_dataloader, seed=0)
    assert name_part(caught.value).startswith(
        "train_dataloader: DataLoader takes no 'workers'; did you mean 'num_workers'? It takes batch"
    )
    with pytest.raises(TypeError) as caught:
        Runner.build_optim_wrapper(Unrun(), cfg.optim_wrapper)
    assert name_part(caught.value).startswith("optim_wrapper.optimizer.type='SDG': nothing of that name is")


class Unrun:
    """As much of a Runner as builds an optimizer."""

    model = nn.Linear(1, 1)


def test_settings_and_checkpoints():
    with pytest.raises(ValueError, match='Seed') as caught:
        Runner.set_randomness(Unrun(), seed=-1)
    assert name_part(caught.value) == 'randomness: Seed must be between 0 and 2**32 - 1'
    with pytest.raises(OSError, match='refused') as caught:
        _load_checkpoint('http://localhost:1/a.pth')
    assert name_part(caught.value).startswith('checkpoint http://localhost:1/a.pth: <urlopen error')
    with pytest.raises(KeyError) as caught:
        _load_checkpoint('torchvision://nothing')
    assert name_part(caught.value) == "checkpoint torchvision://nothing: no 'nothing' (KeyError)"
    with pytest.raises(FileNotFoundError) as caught:
        _load_checkpoint('/nowhere.pth')
    assert name_part(caught.value) is None
    assert name_part(ValueError('of no part')) is None


def test_keys_that_no_parameter_has(leaf):
    names = ['backbone.conv1.weight', 'decode_head.conv_seg.bias']
    assert unused_custom_keys(leaf, names) == []
    key = 'optim_wrapper.paramwise_cfg.custom_keys.backbon_.lr_mult'
    assert unused_custom_keys(changed(leaf, {key: 2}), names) == ['backbon_']
    other = changed(leaf, {key: 2, 'optim_wrapper.constructor': 'LayerDecayOptimizerConstructor'})
    assert unused_custom_keys(other, names) == []
    assert unused_custom_keys(Config(), names) == []


def test_the_part_in_whose_method_an_error_is(leaf):
    """A transform that runs, a hook that finds no backend; not a part that the config does not have."""
    cfg = changed(leaf, {'train_dataloader.dataset.pipeline.1.imdecode_backend': 'cv2'})
    assert cfg.val_dataloader.dataset.pipeline[1].type == 'LoadAnnotations'
    load = TRANSFORMS.build(cfg.train_dataloader.dataset.pipeline[1])
    with pytest.raises(KeyError) as caught:
        load({})
    message = "train_dataloader.dataset.pipeline.1 (LoadAnnotations): no 'seg_map_path' (KeyError)"
    assert (name_part(caught.value), name_running_part(caught.value)) == (None, message)
    cfg = changed(leaf, {'default_hooks.checkpoint.backend_args.backend': 'cloud'})
    hook = HOOKS.build(cfg.default_hooks.checkpoint)
    with pytest.raises(KeyError) as caught:
        hook.before_train(SimpleNamespace(work_dir='work'))
    message = "default_hooks.checkpoint (ExactCheckpointHook): no 'cloud' (KeyError)"
    assert name_running_part(caught.value) == message
    resize = TRANSFORMS.build(changed(leaf, {}).train_dataloader.dataset.pipeline[2])
    with pytest.raises(AttributeError) as caught:
        resize({'img': None})
    assert 'RandomCrop): AttributeError: ' in name_running_part(caught.value)
    with pytest.raises(KeyError) as caught:
        PhotoMetricDistortion()({})
    assert name_running_part(caught.value) is None
