"""The hook that carries a classifier over: what it rewrites, refuses, logs and records."""

import json
import math
import re
from argparse import Namespace
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.model import BaseTTAModel
from mmengine.runner import Runner, ValLoop
from mmengine.runner import TestLoop as LoopOfTests
from mmseg.registry import HOOKS
from torch import nn

from mmseg_deeplab_study.engine import head_transfer
from mmseg_deeplab_study.evaluation.metrics.adaptation_metric import AdaptationMetric
from mmseg_deeplab_study.evaluation.metrics.boundary_metric import BoundaryMetric
from mmseg_deeplab_study.runs.history import read_history

SOURCE = ('background', 'car', 'motorbike')
TARGET = ('road', 'car', 'sky', 'motorcycle')
TWO, CITY = ('background', 'car'), 'cityscapes'
# Two heirs share background: road and sky.
SHIFT = -math.log(2)


class Head(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(2, classes, 1)


class Model(nn.Module):
    """Keys of a segmentor and nothing else."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
        self.decode_head = Head(classes)
        self.auxiliary_head = Head(classes)


def make_runner(folder, model: nn.Module | None = None) -> SimpleNamespace:
    return SimpleNamespace(work_dir=str(folder), model=model or Model(), logger=Mock())


def make_hook(**options):
    return HOOKS.build(dict(type='HeadTransferHook', **{'source': SOURCE, 'target': TARGET, **options}))


def source_checkpoint(classes: int = 3) -> dict:
    return {'state_dict': Model(classes).state_dict(), 'meta': {}}


@pytest.mark.parametrize(
    ('name', 'channels', 'target', 'message'),
    [
        ('decode_head', 20, CITY, r'decode_head\.num_classes=20, but the target cityscapes has 19 classes'),
        ('auxiliary_head', 20, CITY, r'auxiliary_head\.num_classes=20, .* model\.auxiliary_head\.num_cl'),
        ('decode_head', 1, CITY, r'out_channels=1, for two .*\.num_classes=19 model\.\w+\.out_channels=19'),
        ('decode_head', 3, TARGET, r'=3, but the target \(road, car, sky, \.\.\.\) has 4 .* as target='),
    ],
)
@pytest.mark.parametrize('given', [21, 19])
def test_heads_of_another_number_of_classes_than_the_target(tmp_path, name, channels, target, message, given):
    model = Model(len(make_hook(source='voc', target=target).target))
    setattr(model, name, Head(channels))
    hook, runner = make_hook(source='voc', target=target), make_runner(tmp_path, model)
    with pytest.raises(ValueError, match=message):
        hook.after_load_checkpoint(runner, source_checkpoint(given))
    assert not list(tmp_path.iterdir())


def test_hook_rewrites_the_checkpoint_that_is_being_loaded(tmp_path):
    checkpoint, runner = source_checkpoint(), make_runner(tmp_path)
    before = dict(checkpoint['state_dict'])
    make_hook().after_load_checkpoint(runner, checkpoint)
    runner.model.load_state_dict(checkpoint['state_dict'], strict=True)
    for name in ('decode_head', 'auxiliary_head'):
        weight, old = (d[f'{name}.conv_seg.weight'] for d in (checkpoint['state_dict'], before))
        # road, car, sky, motorcycle from background, car, background, motorbike
        assert weight.equal(old[[0, 1, 0, 2]])
    assert runner.model.backbone[0].weight.equal(before['backbone.0.weight'])


@pytest.mark.parametrize('key', ['state_dict', 'model', None])
def test_hook_unwraps_what_a_script_saved(tmp_path, key):
    """MMEngine goes on with the same dict, and strips nothing but ``module.``."""
    state = {f'_orig_mod.module.{name}': value for name, value in Model(3).state_dict().items()}
    state['_orig_mod.n_averaged'] = torch.tensor(3)
    checkpoint = {key: state, 'args': Namespace(lr=0.1)} if key else state
    runner, hook = make_runner(tmp_path), make_hook()
    hook.after_load_checkpoint(runner, checkpoint)
    runner.model.load_state_dict(checkpoint.get('state_dict', checkpoint), strict=True)
    assert len(hook.source_classifier['weight']) == 3


def test_hook_carries_one_channel_into_one_channel(tmp_path):
    checkpoint, runner = source_checkpoint(1), make_runner(tmp_path, Model(1))
    old = {key: value.clone() for key, value in checkpoint['state_dict'].items() if 'conv_seg' in key}
    hook = make_hook(source=TWO, target=TWO[::-1])
    hook.after_load_checkpoint(runner, checkpoint)
    runner.model.load_state_dict(checkpoint['state_dict'], strict=True)
    for key, value in old.items():
        torch.testing.assert_close(checkpoint['state_dict'][key], -value)
    # The source's own view needs a row for each class.
    weight = hook.source_classifier['weight']
    assert weight[0].eq(0).all() and weight[1].equal(old['decode_head.conv_seg.weight'][0])


def test_hook_records_the_rows(tmp_path):
    runner = make_runner(tmp_path)
    make_hook(class_map={'sky': None}).after_load_checkpoint(runner, source_checkpoint())
    text = (tmp_path / 'head_transfer.json').read_text()
    assert json.loads(text) == {
        'source_classes': list(SOURCE),
        'target_classes': list(TARGET),
        'heads': ['decode_head', 'auxiliary_head'],
        'rows': [
            {'target': 'road', 'source': 'background', 'rule': 'background', 'bias_shift': SHIFT},
            {'target': 'car', 'source': 'car', 'rule': 'exact', 'bias_shift': 0.0},
            {'target': 'sky', 'source': 'background', 'rule': 'background', 'bias_shift': SHIFT},
            {'target': 'motorcycle', 'source': 'motorbike', 'rule': 'alias', 'bias_shift': 0.0},
        ],
    }
    (message,) = (call.args[0] for call in runner.logger.info.call_args_list)
    assert message.startswith('Head transfer of decode_head, auxiliary_head:')
    assert re.search(r'\| motorcycle +\| motorbike +\| alias +\|', message)


def test_hook_shows_a_row_without_source_as_a_dash(tmp_path):
    runner = make_runner(tmp_path)
    make_hook(unmatched='zero').after_load_checkpoint(runner, source_checkpoint())
    rows = json.loads((tmp_path / 'head_transfer.json').read_text())['rows']
    assert rows[0] == {'target': 'road', 'source': None, 'rule': 'zero', 'bias_shift': 0.0}
    assert re.search(r'\| road +\| - +\| zero +\|', runner.logger.info.call_args.args[0])


@pytest.mark.parametrize(
    ('source', 'meta'),
    # Where source and target have one size, only the classes tell a resume apart.
    [(SOURCE, {}), (('background', 'car', 'bus', 'train'), {'dataset_meta': {'classes': TARGET}})],
)
def test_checkpoint_of_the_target_is_left_untouched_and_nothing_is_written(tmp_path, source, meta):
    checkpoint, runner = {**source_checkpoint(4), 'meta': meta}, make_runner(tmp_path)
    before = {key: value.clone() for key, value in checkpoint['state_dict'].items()}
    make_hook(source=source).after_load_checkpoint(runner, checkpoint)
    after = checkpoint['state_dict']
    assert list(after) == list(before) and all(after[key].equal(before[key]) for key in before)
    assert not runner.logger.info.called and not list(tmp_path.iterdir())


def test_the_source_s_checkpoint_is_not_one_to_resume_from(tmp_path):
    """MMEngine resumes from load_from where it is set."""
    runner = make_runner(tmp_path)
    runner._resume = True
    with pytest.raises(ValueError, match="not one of this run: MMEngine's resume=True takes load_from"):
        make_hook().after_load_checkpoint(runner, {'state_dict': Model(len(SOURCE)).state_dict()})


@pytest.mark.parametrize(
    'meta',
    [{}, None, {'dataset_meta': None}, {'dataset_meta': {'classes': ('background', 'car', 'bus', 'train')}}],
)
def test_two_label_spaces_of_one_size(tmp_path, meta):
    source = ('background', 'car', 'bus', 'train')
    checkpoint = {**source_checkpoint(4), 'meta': meta}
    old = checkpoint['state_dict']['decode_head.conv_seg.weight']
    make_hook(source=source).after_load_checkpoint(make_runner(tmp_path), checkpoint)
    # road, car, sky, motorcycle (not in this source) from background, car, background, background
    assert checkpoint['state_dict']['decode_head.conv_seg.weight'].equal(old[[0, 1, 0, 0]])


@pytest.mark.parametrize('meta', [{}, {'dataset_meta': {'classes': TARGET}}])
def test_hook_refuses_a_checkpoint_of_another_model(tmp_path, meta):
    checkpoint = {**source_checkpoint(4), 'meta': meta}
    del checkpoint['state_dict']['backbone.0.weight']
    with pytest.raises(ValueError, match=r"1 keys are missing, first \['backbone\.0\.weight'\]"):
        make_hook().after_load_checkpoint(make_runner(tmp_path), checkpoint)
    assert not list(tmp_path.iterdir())


def test_hook_refuses_another_network_than_the_weights_are_of(tmp_path, monkeypatch):
    asked = Mock()
    monkeypatch.setattr(head_transfer, 'check_network', asked)
    runner = make_runner(tmp_path)
    make_hook().after_load_checkpoint(runner, {**source_checkpoint(), 'meta': {'network': {'strides': []}}})
    asked.assert_called_once_with({'strides': []}, runner.model)


def test_hook_looks_through_test_time_augmentation(tmp_path):
    class TTA(BaseTTAModel):
        def merge_preds(self, data_samples_list):
            raise NotImplementedError

    model = Model()
    wrapper = TTA.__new__(TTA)
    nn.Module.__init__(wrapper)
    wrapper.module = model
    checkpoint = source_checkpoint()
    make_hook().after_load_checkpoint(make_runner(tmp_path, wrapper), checkpoint)
    model.load_state_dict(checkpoint['state_dict'])


def test_hook_refuses_to_train_without_a_source(tmp_path):
    message = 'no source checkpoint was loaded, .* --load-from CHECKPOINT, or set allow_no_source=True'
    with pytest.raises(ValueError, match=message):
        make_hook().before_train(make_runner(tmp_path))
    make_hook(allow_no_source=True).before_train(make_runner(tmp_path))


@pytest.mark.parametrize(
    ('meta', 'said'),
    [({}, 'the checkpoint already has'), ({'iter': 60}, r'\(iteration 60 of a run\) already')],
)
def test_checkpoint_that_is_adapted_already_is_said_to_be_that(tmp_path, meta, said):
    runner = make_runner(tmp_path)
    checkpoint = {**source_checkpoint(classes=4), 'meta': meta}
    make_hook().after_load_checkpoint(runner, checkpoint)
    (message,) = (call.args[0] for call in runner.logger.warning.call_args_list)
    assert re.search(f"{said}.* classifier of the target's 4 classes, so nothing is transferred", message)


@pytest.mark.parametrize(
    ('classes', 'said'),
    [
        (3, 'scores the checkpoint with its classifier carried over and not trained yet'),
        (4, 'scores the checkpoint (iteration 60 of a run) with its own classifier'),
    ],
)
def test_a_test_says_what_it_scores_and_writes_nothing(tmp_path, classes, said):
    runner = make_runner(tmp_path)
    runner._test_loop = Mock(spec=LoopOfTests)
    meta = {'iter': 60} if classes == 4 else {}
    make_hook().after_load_checkpoint(runner, {**source_checkpoint(classes=classes), 'meta': meta})
    assert runner.logger.info.call_args.args[0] == f'HeadTransferHook: the test {said}'
    assert not runner.logger.warning.called and not list(tmp_path.iterdir())


def test_hook_says_nothing_after_loading_a_source(tmp_path):
    runner, hook = make_runner(tmp_path), make_hook()
    hook.after_load_checkpoint(runner, source_checkpoint())
    hook.before_train(runner)
    assert not runner.logger.warning.called


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(source='vok'), "unknown label space 'vok'"),
        (dict(class_map={'skyy': 'car'}), "class_map target: unknown class 'skyy'; did you mean 'sky'"),
        (dict(class_map={'sky': 'cra'}), "class_map source: unknown class 'cra'; did you mean 'car'"),
        (dict(matched='keep'), "matched must be one of copy, reinit, but got 'keep'"),
        (dict(unmatched='keep'), "unmatched must be one of background, random, zero, but got 'keep'"),
        (dict(source=('car', 'motorbike')), "needs a class 'background'"),
    ],
)
def test_hook_refuses_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        make_hook(**options)


def make_loop(kind: type) -> ValLoop | LoopOfTests:
    loop = kind.__new__(kind)
    metrics = [AdaptationMetric(SOURCE), BoundaryMetric(), AdaptationMetric(SOURCE, predictions='unrefined')]
    loop.evaluator = Evaluator(metrics)
    loop.evaluator.dataset_meta = dict(classes=TARGET)
    return loop


@pytest.mark.parametrize('matched', ['copy', 'reinit'])
def test_hook_tells_every_metric_what_it_has_matched(matched):
    """A class is seen if it has a class of the source, also where its row starts at random."""
    hook = make_hook(class_map={'car': None, 'sky': 'car', 'road': 'background'}, matched=matched)
    loops = make_loop(ValLoop), make_loop(LoopOfTests)
    seen = [metric.seen for loop in loops for metric in loop.evaluator.metrics[::2]]
    assert seen == [('car', 'motorcycle')] * 4
    # A loop that is not built yet is its config, and one that is not there is None.
    for val, test in ((loops[0], {'type': 'TestLoop'}), (None, loops[1])):
        hook.before_run(SimpleNamespace(_val_loop=val, _test_loop=test, _hooks=[hook]))
    metrics = [metric for loop in loops for metric in loop.evaluator.metrics[::2]]
    assert [metric.seen for metric in metrics] == [('sky', 'motorcycle')] * 4
    assert all(metric.matches == hook.matches for metric in metrics)


@pytest.mark.slow
def test_a_run_of_one_channel_begins_as_that_of_two(make_config, tiny_cityscapes, write_trained, tmp_path):
    """From a source of one channel, of classes ground and road, to sidewalk and road: record and pictures."""
    root, rows = tiny_cityscapes(classes=(0, 1)), {}
    loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
    form = dict(num_classes=2, out_channels=1, threshold=0.5, loss_decode=loss)
    for channels in (1, 2):
        cfg = make_config(root, tmp_path / f'work{channels}')
        cfg.model.decode_head.update(form)
        write_trained(cfg, tmp_path / 'source.pth')
        if channels == 2:
            softmax = dict(type='CrossEntropyLoss')
            cfg.model.decode_head.update(out_channels=2, threshold=None, loss_decode=softmax)
        target = ['sidewalk', 'road']
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            loader.dataset.metainfo = dict(classes=target, palette=[[0, 0, 0], [255, 0, 0]])
        source = ['background', 'road']
        cfg.load_from, cfg.val_evaluator.source = str(tmp_path / 'source.pth'), source
        transfer = dict(type='HeadTransferHook', source=source, target=target)
        cfg.custom_hooks = [transfer, dict(type='AdaptationHook', snapshots=1)]
        Runner.from_cfg(cfg).train()
        found = read_history(tmp_path / f'work{channels}').rows
        rows[channels] = [(row['kind'], row['confusion']) for row in found if row['iter'] == 0]
    assert [kind for kind, _ in rows[1]] == ['source', 'validation']
    assert rows[1] == rows[2]
    assert np.count_nonzero(rows[1][1][1]) == 4
