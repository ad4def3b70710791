"""What overrides a config, from the command line or a study: nothing that is not read, nothing misspelt."""

import copy
from pathlib import Path

import pytest
from mmengine.config import Config

from mmseg_deeplab_study import get_config
from mmseg_deeplab_study.runs import options
from mmseg_deeplab_study.runs.config import read_config
from mmseg_deeplab_study.runs.options import check_options, flatten, merge_options, places_of

STUDY = 'deeplabv3_r50-os16_1xb4-200_voc2cityscapes-768x768'
CAMVID = 'deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid'


@pytest.fixture(scope='module')
def leaves() -> dict[str, Config]:
    return {name: get_config(name) for name in (STUDY, CAMVID)}


def merge(cfg: Config, options: dict) -> Config:
    cfg = copy.deepcopy(cfg)
    merge_options(cfg, options, 'leaf.py')
    return cfg


def get(cfg: Config, key: str):
    for part in key.split('.'):
        cfg = cfg[int(part)] if part.isdigit() else cfg[part]
    return cfg


@pytest.mark.parametrize(
    ('key', 'near'),
    [
        ('load_form', 'load_from'),
        ('Load_from', 'load_from'),
        ('custom_hook.0.unmatched', 'custom_hooks'),
        ('seed', 'randomness.seed'),
        ('lr', 'optim_wrapper.optimizer.lr'),
        ('decode_head.num_classes', 'model.decode_head'),
    ],
)
def test_an_unknown_part_is_refused_with_the_nearest(leaves, key, near):
    cfg, first = leaves[CAMVID], key.split('.')[0]
    message = f"^option '{key}': no part of a config is called '{first}'; did you mean '{near}'\\?$"
    with pytest.raises(ValueError, match=message):
        merge(cfg, {key: 1})
    assert first not in cfg


@pytest.fixture
def warned(monkeypatch) -> list[str]:
    """The warnings of a test."""
    found = []
    monkeypatch.setattr(options, '_warn', found.append)
    return found


@pytest.mark.parametrize('key', ['qqq', 'my_optimizer', 'load_from2'])
def test_what_only_code_of_the_user_s_own_can_read_is_a_warning(leaves, warned, key):
    assert merge(leaves[STUDY], {key: 1})[key] == 1
    assert warned == [
        f'option {key!r}: no part of a config is called {key!r}, and leaf.py has no {key!r} either: only '
        'code of your own can read it'
    ]


@pytest.mark.parametrize(
    ('key', 'wrong', 'right'),
    [
        ('model.test_cfg.mod', 'mod', 'mode'),
        ('default_hooks.checkpint.interval', 'checkpint', 'checkpoint'),
        # CheckpointHook hands on whatever else it is given.
        ('default_hooks.checkpoint.intervl', 'intervl', 'interval'),
        ('env_cfg.cudnn_benchmrk', 'cudnn_benchmrk', 'cudnn_benchmark'),
        ('optim_wrapper.paramwise_cfg.custom_keys.backbon.lr_mult', 'backbon', 'backbone'),
        ('optim_wrapper.paramwise_cfg.custom_keys.backbone.lrmult', 'lrmult', 'lr_mult'),
    ],
)
def test_where_nobody_knows_what_is_read_a_near_spelling_is_a_warning(leaves, warned, key, wrong, right):
    assert get(merge(leaves[CAMVID], {key: 1}), key) == 1
    assert warned == [f"option '{key}': leaf.py has no '{wrong}', but '{right}'; is that what is meant?"]


@pytest.mark.slow
@pytest.mark.parametrize('leaf', [STUDY, CAMVID])
def test_what_a_class_takes_is_never_refused(leaves, warned, leaf):
    content = leaves[leaf].to_dict()
    known = options.KNOWN_KEYS - {'data_preprocessor'}
    keys = []
    for key, node in places_of(content):
        if isinstance(node, dict) and '_scope_' not in key and key.split('.')[0] in known:
            keys += [f'{key}.{name}' for name in options._taken(key, node) or ()]
    check_options(dict.fromkeys(keys, 1), 'leaf.py', content)
    assert warned == []
    for part in ('loss_decode.class_weight', 'loss_decode.loss_name', 'backbone.output_stride'):
        assert any(key.endswith(part) for key in keys), part


@pytest.mark.parametrize(
    ('key', 'wrong', 'right'),
    [
        ('train_cfg.max_iter', 'max_iter', 'max_iters'),
        ('model.decode_head.num_clases', 'num_clases', 'num_classes'),
        ('randomness.sed', 'sed', 'seed'),
        ('train_dataloader.batchsize', 'batchsize', 'batch_size'),
        ('custom_hooks.0.sorce', 'sorce', 'source'),
    ],
)
def test_a_misspelt_part_of_a_part_is_refused(leaves, key, wrong, right):
    with pytest.raises(ValueError, match=f"^option '{key}': leaf.py has no '{wrong}', but '{right}'$"):
        merge(leaves[CAMVID], {key: 1})


@pytest.mark.parametrize(
    'key',
    [
        'load_from',
        'find_unused_parameters',
        'experiment_name',
        'val_cfg.full_interval',
        'custom_hooks.0.unmatched',
        'custom_hooks.1.forgetting',
        'param_scheduler.0.end',
        'default_hooks.mine.type',
        'model.backbone.frozen_stages',
        'model.test_cfg.crf.iterations',
        'optim_wrapper.paramwise_cfg.custom_keys.backbone2.lr_mult',
        # A word more than in_channels.
        'model.decode_head.c1_in_channels',
        'model.decode_head.loss_decode.class_weight',
        'train_dataloader.pin_memory_device',
        'train_dataloader.dataset.indices',
    ],
)
def test_what_may_be_new_or_is_there(leaves, key):
    assert get(merge(leaves[CAMVID], {key: 3}), key) == 3


def test_what_code_of_the_user_s_own_reads_is_in_the_config():
    merged = merge(Config(dict(mine=dict(names=['a']), number=5)), {'mine.names': ['b'], 'number': 6})
    assert merged.to_dict() == dict(mine=dict(names=['b']), number=6)


ROOT = 'dataloader.dataset.data_root'


@pytest.mark.parametrize(
    ('leaf', 'key', 'places'),
    [
        (CAMVID, 'data_root', ', '.join(f'{n}_{ROOT}' for n in ('train', 'val', 'test'))),
        (CAMVID, 'crop_size', 'train_dataloader.dataset.pipeline.2.crop_size'),
        (STUDY, 'norm_cfg.type', 'model.decode_head.norm_cfg'),
        (STUDY, 'train_pipeline.2.crop_size', 'train_dataloader.dataset.dataset.pipeline'),
        # Overridden in its place, the variable is still what MMSeg's base said.
        (STUDY, 'optimizer.lr', 'optim_wrapper.optimizer'),
        # A parameter of Runner's, which only a model without its own gets.
        (STUDY, 'data_preprocessor.size', 'model.data_preprocessor'),
    ],
)
def test_a_variable_is_refused_with_its_places(leaves, leaf, key, places):
    first = key.split('.')[0]
    message = (
        f"^option '{key}': '{first}' is a variable of leaf.py, whose value is in its places already; name "
        f'the place: .*{places}'
    )
    with pytest.raises(ValueError, match=message):
        merge(leaves[leaf], {key: 'other'})


def test_a_model_without_a_data_preprocessor_gets_the_runner_s():
    cfg = Config(dict(model=dict(type='x'), data_preprocessor=dict(size=1)))
    assert merge(cfg, {'data_preprocessor.size': 2}).data_preprocessor.size == 2


@pytest.mark.parametrize(
    ('key', 'value'),
    [('custom_hooks.9.unmatched', 'zero'), ('train_cfg.max_iters.deep', 3), ('load_from.a', 1)],
)
def test_what_does_not_fit_is_one_line(leaves, key, value):
    with pytest.raises(ValueError, match=f'^option {key!r} does not fit leaf.py: .*$'):
        merge(leaves[STUDY], {key: value})


def test_nested_options_are_checked_too_and_left_as_they_are(leaves):
    options = {'train_cfg': dict(max_iters=7), 'custom_hooks': {'0': dict(unmatched='zero')}}
    merged = merge(leaves[CAMVID], options)
    assert (merged.train_cfg.max_iters, merged.custom_hooks[0].unmatched) == (7, 'zero')
    keys = dict(custom_keys=dict(a=dict(lr_mult=2)))
    replaced = {'optim_wrapper.paramwise_cfg': dict(_delete_=True, **keys)}
    before = copy.deepcopy(replaced)
    assert merge(leaves[CAMVID], replaced).optim_wrapper.paramwise_cfg == keys
    assert replaced == before
    with pytest.raises(ValueError, match="^option 'train_cfg.max_iter': leaf.py has no 'max_iter'"):
        merge(leaves[CAMVID], {'train_cfg': dict(max_iter=7)})
    assert flatten({'a': {'b': {'c': 1}, 'd': {}}}) == {'a.b.c': 1, 'a.d': {}}


def test_options_are_merged_at_once(leaves):
    """As by MMSeg's --cfg-options: ``_delete_`` leaves the other options, in any order."""
    metric = {'type': 'IoUMetric', 'iou_metrics': 'mIoU', '_delete_': True}
    merged = merge(leaves[STUDY], {f'val_evaluator.{key}': value for key, value in metric.items()})
    assert merged.val_evaluator == dict(type='IoUMetric', iou_metrics='mIoU')


def test_every_tool_reads_its_config_so(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text('load_from = None\n')
    assert read_config(str(path), {'load_from': 'a.pth'}).load_from == 'a.pth'
    with pytest.raises(ValueError, match="^option 'loadfrom': .* did you mean 'load_from'"):
        read_config(str(path), {'loadfrom': 'a.pth'})
    # None merges what a command line says by itself.
    repository = Path(__file__).resolve().parents[2]
    paths = [*repository.glob('tools/**/*.py'), *repository.glob('mmseg*/**/*.py')]
    texts = [path.read_text() for path in paths]
    assert texts and not [text for text in texts if 'merge_from_dict(args.cfg_options' in text]
