"""Classifier rows from one label space to another: who gets which, with what values, and when not."""

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
from mmseg.utils import get_classes
from torch import Tensor, nn

from mmseg_deeplab_study.datasets.label_spaces import Match, match_classes
from mmseg_deeplab_study.engine.head_transfer import (
    RowOrigin,
    check_fits,
    one_row,
    plan_rows,
    transfer_head,
    transfer_rows,
    two_rows,
)
from mmseg_deeplab_study.evaluation.metrics.adaptation_metric import AdaptationMetric
from mmseg_deeplab_study.evaluation.metrics.boundary_metric import BoundaryMetric

VOC, CITYSCAPES = tuple(get_classes('voc')), tuple(get_classes('cityscapes'))
SOURCE = ('background', 'car', 'motorbike')
TARGET = ('road', 'car', 'sky', 'motorcycle')
MATCHES = {'car': Match('car', 'exact'), 'motorcycle': Match('motorbike', 'alias')}
# two heirs of background: road and sky
SHIFT = -math.log(2)


def classifier(rows: int = 3, channels: int = 2) -> tuple[Tensor, Tensor]:
    """Row i has the weights 10 i, 10 i + 1, ... and the bias i + 0.5."""
    weight = (10.0 * torch.arange(rows))[:, None] + torch.arange(channels)
    return weight[..., None, None], torch.arange(rows) + 0.5


def head(name: str = 'decode_head', rows: int = 3) -> dict[str, Tensor]:
    weight, bias = classifier(rows)
    return {f'{name}.conv_seg.weight': weight, f'{name}.conv_seg.bias': bias}


# plan_rows


def test_plan_exact():
    assert plan_rows(SOURCE, TARGET, MATCHES) == [
        RowOrigin('road', 'background', 'background', SHIFT),
        RowOrigin('car', 'car', 'exact', 0.0),
        RowOrigin('sky', 'background', 'background', SHIFT),
        RowOrigin('motorcycle', 'motorbike', 'alias', 0.0),
    ]


def test_plan_of_voc_to_cityscapes():
    rows = {row.target: row for row in plan_rows(VOC, CITYSCAPES, match_classes(VOC, CITYSCAPES))}
    copied = {name: row.source for name, row in rows.items() if row.rule != 'background'}
    shared = {name: name for name in ('person', 'car', 'bus', 'train', 'bicycle')}
    assert copied == {**shared, 'motorcycle': 'motorbike'}
    # 19 - 6 = 13 classes share the background
    assert rows['road'] == RowOrigin('road', 'background', 'background', -math.log(13))
    assert list(rows) == list(CITYSCAPES)


@pytest.mark.parametrize('rule', ['random', 'zero'])
def test_plan_of_unmatched_classes_without_background(rule):
    rows = plan_rows(SOURCE, TARGET, MATCHES, unmatched=rule)
    assert rows[0] == RowOrigin('road', None, rule) and rows[2] == RowOrigin('sky', None, rule)
    assert rows[1] == RowOrigin('car', 'car', 'exact')


def test_plan_reinit_draws_matched_rows_anew_and_leaves_the_others():
    rows = plan_rows(SOURCE, TARGET, MATCHES, matched='reinit')
    assert [(row.source, row.rule) for row in rows] == [
        ('background', 'background'),
        (None, 'random'),
        ('background', 'background'),
        (None, 'random'),
    ]


def test_targets_own_background_is_one_of_the_heirs():
    target = ('background', 'car', 'sky')
    rows = plan_rows(SOURCE, target, match_classes(SOURCE, target))
    # background and sky share, so that together they are as probable as background was
    assert rows == [
        RowOrigin('background', 'background', 'exact', SHIFT),
        RowOrigin('car', 'car', 'exact', 0.0),
        RowOrigin('sky', 'background', 'background', SHIFT),
    ]


@pytest.mark.parametrize('rule', ['random', 'zero'])
def test_targets_own_background_shares_with_nobody_under_the_other_rules(rule):
    target = ('background', 'car', 'sky')
    rows = plan_rows(SOURCE, target, match_classes(SOURCE, target), unmatched=rule)
    assert rows[0] == RowOrigin('background', 'background', 'exact', 0.0)


def test_single_heir_takes_background_whole():
    rows = plan_rows(SOURCE, ('road', 'car'), {'car': Match('car', 'exact')})
    assert rows[0].bias_shift == 0.0


def test_class_map_and_approximate_say_so_in_the_plan():
    matches = match_classes(VOC, CITYSCAPES, {'truck': 'bus', 'train': None}, approximate=True)
    rows = {row.target: row for row in plan_rows(VOC, CITYSCAPES, matches)}
    assert rows['truck'] == RowOrigin('truck', 'bus', 'class_map')
    assert rows['rider'] == RowOrigin('rider', 'person', 'approximate')
    # 19 less person, car, bus, motorcycle, bicycle, truck, rider: 12 heirs, train among them
    assert rows['train'] == RowOrigin('train', 'background', 'background', -math.log(12))


def test_source_without_background():
    message = r"which has car, person; for \['road', 'sky'\] choose .*'random' or 'zero'"
    with pytest.raises(ValueError, match=message):
        plan_rows(('car', 'person'), ('road', 'car', 'sky'), {'car': Match('car', 'exact')})
    # not needed, not missed
    matches = {'car': Match('car', 'exact')}
    assert plan_rows(('car', 'person'), ('car',), matches) == [RowOrigin('car', 'car', 'exact')]
    assert plan_rows(('car',), ('road', 'car'), matches, unmatched='zero')[0].rule == 'zero'


@pytest.mark.parametrize(
    ('rules', 'message'),
    [
        (dict(matched='keep'), "matched must be one of copy, reinit, but got 'keep'"),
        (dict(unmatched='none'), "unmatched must be one of background, random, zero, but got 'none'"),
    ],
)
def test_unknown_rule(rules, message):
    with pytest.raises(ValueError, match=message):
        plan_rows(SOURCE, TARGET, MATCHES, **rules)


# transfer_rows


def test_rows_exact():
    weight, bias = classifier()
    new_weight, new_bias = transfer_rows(weight, bias, SOURCE, plan_rows(SOURCE, TARGET, MATCHES))
    # background's row is (0, 1), car's (10, 11), motorbike's (20, 21)
    assert new_weight[..., 0, 0].tolist() == [[0, 1], [10, 11], [0, 1], [20, 21]]
    # their biases 0.5, 1.5, 2.5; background's is shared by road and sky: 0.5 - log 2
    expected = torch.tensor([0.5 - math.log(2), 1.5, 0.5 - math.log(2), 2.5])
    torch.testing.assert_close(new_bias, expected)


def test_arguments_of_transfer_rows_are_left_as_they_are():
    weight, bias = classifier()
    transfer_rows(weight, bias, SOURCE, plan_rows(SOURCE, TARGET, MATCHES))
    assert weight.equal(classifier()[0]) and bias.equal(classifier()[1])


def test_zero_rows():
    rows = plan_rows(SOURCE, TARGET, MATCHES, unmatched='zero')
    weight, bias = transfer_rows(*classifier(), SOURCE, rows)
    assert weight[..., 0, 0].tolist() == [[0, 0], [10, 11], [0, 0], [20, 21]]
    assert bias.tolist() == [0, 1.5, 0, 2.5]


def test_random_rows_are_drawn_as_mmseg_initialises():
    rows = plan_rows(SOURCE, TARGET, MATCHES, matched='reinit', unmatched='random')
    torch.manual_seed(0)
    weight, bias = transfer_rows(*classifier(channels=4000), SOURCE, rows)
    assert bias.tolist() == [0, 0, 0, 0]
    for row in weight:
        # 4000 draws of N(0, 0.01): mean within 4 x 0.01 / sqrt(4000), deviation within 5 %
        assert abs(row.mean()) < 4 * 0.01 / math.sqrt(4000)
        assert row.std().item() == pytest.approx(0.01, rel=0.05)
    assert len({row[0].item() for row in weight}) == 4
    torch.manual_seed(0)
    assert transfer_rows(*classifier(channels=4000), SOURCE, rows)[0].equal(weight)


def test_type_of_the_weights_is_kept():
    weight, bias = classifier()
    rows = plan_rows(SOURCE, TARGET, MATCHES, unmatched='random')
    new_weight, new_bias = transfer_rows(weight.half(), bias.double(), SOURCE, rows)
    assert new_weight.dtype == torch.float16 and new_bias.dtype == torch.float64


def carry(features: Tensor) -> tuple[Tensor, Tensor]:
    """Logits ``(21, H, W)`` of a random PASCAL classifier and ``(19, H, W)`` of what is made of it."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(21, 8, 1, 1, generator=generator), torch.randn(21, generator=generator)
    rows = plan_rows(VOC, CITYSCAPES, match_classes(VOC, CITYSCAPES))
    new_weight, new_bias = transfer_rows(weight, bias, VOC, rows)
    return nn.functional.conv2d(features, weight, bias), nn.functional.conv2d(features, new_weight, new_bias)


def test_heirs_together_are_as_probable_as_background_was():
    before, after = carry(torch.randn(8, 5, 6, generator=torch.Generator().manual_seed(1)))
    shared = {name: VOC.index(name) for name in ('person', 'car', 'bus', 'train', 'bicycle')}
    shared['motorcycle'] = VOC.index('motorbike')
    kept = [VOC.index('background'), *shared.values()]
    # Among the classes that both have: 13 exp(b - log 13) = exp(b), so the softmax is the same.
    expected = before[kept].double().softmax(0)
    got = after.double().softmax(0)
    heirs = [i for i, name in enumerate(CITYSCAPES) if name not in shared]
    assert len(heirs) == 13
    torch.testing.assert_close(got[heirs].sum(0), expected[0], rtol=0, atol=1e-5)
    for place, name in enumerate(shared, 1):
        torch.testing.assert_close(got[CITYSCAPES.index(name)], expected[place], rtol=0, atol=1e-5)


def test_heirs_tie_and_argmax_takes_the_first_of_them_which_is_road():
    _, after = carry(torch.randn(8, 40, 50, generator=torch.Generator().manual_seed(2)))
    heirs = [i for i, name in enumerate(CITYSCAPES) if name not in match_classes(VOC, CITYSCAPES)]
    assert (after[heirs] == after[heirs[0]]).all()
    winners = after.argmax(0).unique().tolist()
    assert CITYSCAPES[0] == 'road' and 0 in winners
    assert not set(winners) & set(heirs[1:])
    # argmax over a strided axis, as EncoderDecoder has it in a batch, and over the last one
    assert after[None].argmax(1)[0].equal(after.argmax(0))
    assert after.permute(1, 2, 0).contiguous().argmax(-1).equal(after.argmax(0))


# transfer_head


@pytest.mark.parametrize(
    ('prefix', 'name'),
    [
        ('', 'decode_head'),
        ('', 'auxiliary_head'),
        ('', 'auxiliary_head.0'),
        ('', 'decode_head.1'),
        ('module.', 'decode_head'),
        ('module.', 'auxiliary_head.0'),
        ('_orig_mod.', 'decode_head'),
        ('_orig_mod.module.', 'auxiliary_head'),
        ('module._orig_mod.', 'decode_head'),
    ],
)
def test_every_kind_of_head(prefix, name):
    rows = plan_rows(SOURCE, TARGET, MATCHES)
    state_dict = {**head(prefix + name), 'backbone.conv.weight': torch.ones(1)}
    result, changed = transfer_head(state_dict, SOURCE, TARGET, rows)
    assert changed == [name]
    assert list(result) == list(state_dict)
    weight, bias = transfer_rows(*classifier(), SOURCE, rows)
    assert result[f'{prefix}{name}.conv_seg.weight'].equal(weight)
    assert result[f'{prefix}{name}.conv_seg.bias'].equal(bias)
    assert result['backbone.conv.weight'] is state_dict['backbone.conv.weight']


def test_several_heads_at_once_and_their_order():
    state_dict = {**head('decode_head'), **head('auxiliary_head.0'), **head('auxiliary_head.1')}
    result, changed = transfer_head(state_dict, SOURCE, TARGET, plan_rows(SOURCE, TARGET, MATCHES))
    assert changed == ['decode_head', 'auxiliary_head.0', 'auxiliary_head.1']
    assert {len(value) for value in result.values()} == {4}


def test_state_dict_is_left_as_it_is():
    state_dict = head()
    transfer_head(state_dict, SOURCE, TARGET, plan_rows(SOURCE, TARGET, MATCHES))
    assert list(state_dict) == list(head())
    assert all(value.equal(head()[key]) for key, value in state_dict.items())


def test_head_with_as_many_rows_as_the_target_is_left_alone():
    state_dict = {**head('decode_head', 4), **head('auxiliary_head', 3)}
    result, changed = transfer_head(state_dict, SOURCE, TARGET, plan_rows(SOURCE, TARGET, MATCHES))
    assert changed == ['auxiliary_head']
    assert result['decode_head.conv_seg.weight'] is state_dict['decode_head.conv_seg.weight']
    assert result['decode_head.conv_seg.bias'] is state_dict['decode_head.conv_seg.bias']


def test_two_label_spaces_of_one_size_are_transferred():
    target = ('motorcycle', 'car', 'road')
    rows = plan_rows(SOURCE, target, match_classes(SOURCE, target))
    result, changed = transfer_head(head(), SOURCE, target, rows)
    assert changed == ['decode_head']
    # motorbike's row, car's, background's
    assert result['decode_head.conv_seg.weight'][..., 0, 0].tolist() == [[20, 21], [10, 11], [0, 1]]
    assert result['decode_head.conv_seg.bias'].tolist() == [2.5, 1.5, 0.5]


def test_head_that_fits_neither_label_space():
    message = r'auxiliary_head\.0: its classifier has 7 rows; expected 3 .* source .* or 4 .* source='
    with pytest.raises(ValueError, match=message):
        state_dict = {**head(), **head('auxiliary_head.0', 7)}
        transfer_head(state_dict, SOURCE, TARGET, plan_rows(SOURCE, TARGET, MATCHES))


# MMSeg's binary form: one channel for two classes. Its rows are 0 and (7, 8), biases 0 and 3.
ONE = {
    'decode_head.conv_seg.weight': torch.tensor([7.0, 8.0])[None, :, None, None],
    'decode_head.conv_seg.bias': torch.tensor([3.0]),
}
TWO = ('background', 'car')


def transferred(state: dict, source, target, single=()) -> tuple[list, list, list]:
    rows = plan_rows(source, target, match_classes(source, target))
    result, changed = transfer_head(state, source, target, rows, single)
    return (
        result['decode_head.conv_seg.weight'][..., 0, 0].tolist(),
        result['decode_head.conv_seg.bias'].tolist(),
        changed,
    )


def test_one_channel_of_the_source_is_two_rows():
    weight, bias, changed = transferred(ONE, TWO, ('car', 'sky', 'road'))
    assert weight == [[7, 8], [0, 0], [0, 0]] and changed == ['decode_head']
    # sky and road share background's bias, 0
    assert bias == pytest.approx([3, -math.log(2), -math.log(2)])


def test_one_channel_of_the_target_is_the_difference_of_its_rows():
    # car's row (10, 11) less background's (0, 1), biases 1.5 and 0.5, shared by nobody
    weight, bias, changed = transferred(head(), SOURCE, TWO, {'decode_head'})
    assert weight == [[10, 10]] and bias == [1] and changed == ['decode_head']


def test_one_channel_on_both_sides_keeps_every_probability():
    weight, bias, _ = transferred(ONE, TWO, TWO, {'decode_head'})
    assert (weight, bias) == ([[7, 8]], [3])
    # the other way round: the sigmoid of -z is 1 less that of z
    weight, bias, _ = transferred(ONE, TWO, TWO[::-1], {'decode_head'})
    assert (weight, bias) == ([[-7, -8]], [-3])


def test_a_target_of_another_form_gets_the_models():
    target = ('ground', 'thing')
    assert transferred(ONE, VOC, target, {'decode_head'}) == ([[7, 8]], [3], [])
    assert transferred(ONE, VOC, target) == ([[0, 0], [7, 8]], [0, 3], [])
    assert transferred(head(rows=2), VOC, target, {'decode_head'}) == ([[10, 10]], [1], [])


def test_one_channel_where_no_label_space_has_two_classes():
    message = r'decode_head: its classifier has one row, which tells two classes apart; expected 3 .* source='
    with pytest.raises(ValueError, match=message):
        transfer_head(ONE, SOURCE, TARGET, plan_rows(SOURCE, TARGET, MATCHES))


def test_sigmoid_and_softmax_are_one():
    features = torch.randn(2, 9, generator=torch.Generator().manual_seed(0)).double()
    weight, bias = torch.tensor([[0.3, -0.7]]).double(), torch.tensor([0.2]).double()
    rows, biases = two_rows(weight, bias)
    softmax = (rows @ features + biases[:, None]).softmax(0)[1]
    torch.testing.assert_close(softmax, (weight @ features + bias).sigmoid()[0])
    back = one_row(rows + 5, biases - 2)  # a softmax does not see what all its rows share
    torch.testing.assert_close(back[0], weight)
    torch.testing.assert_close(back[1], bias)


@pytest.mark.parametrize('state_dict', [{}, {'classifier.4.weight': torch.ones(3), 'a': torch.ones(1)}])
def test_no_classifier(state_dict):
    message = rf'no classifier .* expected decode_head\.conv_seg\.weight, got {len(state_dict)} keys, first '
    doctor = r'\. tools/doctor\.py --checkpoint FILE says what it is'
    with pytest.raises(ValueError, match=message + re.escape(str(list(state_dict))) + doctor):
        transfer_head(state_dict, SOURCE, TARGET, plan_rows(SOURCE, TARGET, MATCHES))


@pytest.mark.parametrize('key', ['decode_head.cls_embed.weight', 'decode_head.classes_proj'])
def test_a_classifier_of_masks(key):
    message = rf'{re.escape(key)}: a classifier of masks .*, not of pixels; .* with model.backbone.init_cfg'
    # Beside an auxiliary head of pixels, too.
    pixels = {f'auxiliary_head.conv_seg.{name}': torch.ones(len(SOURCE)) for name in ('weight', 'bias')}
    for others in ({}, pixels):
        with pytest.raises(ValueError, match=message):
            transfer_head(
                {key: torch.ones(3, 4)} | others, SOURCE, TARGET, plan_rows(SOURCE, TARGET, MATCHES)
            )


# check_fits


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


def test_what_fits_passes_with_and_without_prefix():
    weights = Model().state_dict()
    check_fits(weights, Model())
    for prefix in ('module.', '_orig_mod.', 'module._orig_mod.'):
        check_fits({f'{prefix}{key}': value for key, value in weights.items()}, Model())


def test_counters_auxiliary_head_and_surplus_keys_are_not_asked_for():
    weights = {
        key: value
        for key, value in Model().state_dict().items()
        if not key.startswith('auxiliary_head') and not key.endswith('num_batches_tracked')
    }
    check_fits({**weights, 'loss.weight': torch.ones(1)}, Model())


def test_what_does_not_fit_lists_missing_and_mismatched():
    weights = Model(classes=5).state_dict()
    for key in ('backbone.0.weight', 'backbone.0.bias', 'backbone.1.weight', 'backbone.1.running_var'):
        del weights[key]
    message = (
        'does not fit the model: 4 keys are missing, first '
        "['backbone.0.weight', 'backbone.0.bias', 'backbone.1.weight']; 2 have another shape, first "
        "['decode_head.conv_seg.weight (5, 2, 1, 1) for (4, 2, 1, 1)', "
        "'decode_head.conv_seg.bias (5,) for (4,)']. They differ in backbone.0, backbone.1, "
        'decode_head.conv_seg: give model.backbone the type, depth and width and model.decode_head the type, '
        'num_classes, channels, dilations and refine that it was trained with'
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        check_fits(weights, Model())


@pytest.mark.parametrize(
    ('of_checkpoint', 'of_model', 'message'),
    [
        # A shallower network's, and a deeper one's, the rest of which would fit.
        (
            {},
            {'backbone.layer3.6': 1},
            '1 keys are missing, .* They differ in backbone.layer3: give model.back',
        ),
        (
            {'backbone.layer3.22': 1},
            {},
            'model: the model has no place for 1 of its keys, .* in backbone.layer3',
        ),
        (
            {'backbone.stem': 2},
            {'backbone.stem': 1},
            r'0 keys are missing, .* 1 have another shape, .* \(2,\) ',
        ),
        ({}, {'decode_head.refine': 1}, 'They differ in decode_head.refine: give model.decode_head the type'),
        (
            {'decode_head.refine': 1},
            {},
            'no place for 1 .* They differ in decode_head.refine: give model.deco',
        ),
    ],
)
def test_what_does_not_fit_names_the_part_and_its_options(of_checkpoint, of_model, message):
    def state(extra: dict[str, int]) -> dict[str, Tensor]:
        return Model().state_dict() | {f'{key}.weight': torch.ones(size) for key, size in extra.items()}

    model = SimpleNamespace(state_dict=lambda: state(of_model))
    with pytest.raises(ValueError, match=message) as error:
        check_fits(state(of_checkpoint), model)
    # It is not in any key.
    assert 'output stride' not in str(error.value)
    assert ('model.decode_head' in str(error.value)) != ('model.backbone' in str(error.value))


@pytest.mark.parametrize(
    ('name', 'channels', 'target', 'message'),
    [
        (
            'decode_head',
            20,
            'cityscapes',
            r'decode_head\.num_classes=20, but the target cityscapes has 19 classes',
        ),
        (
            'auxiliary_head',
            20,
            'cityscapes',
            r'auxiliary_head\.num_classes=20, .* model\.auxiliary_head\.num_cl',
        ),
        (
            'decode_head',
            1,
            'cityscapes',
            r'out_channels=1, for two .*\.num_classes=19 model\.\w+\.out_channels=19',
        ),
        ('decode_head', 3, TARGET, r'=3, but the target \(road, car, sky, \.\.\.\) has 4 .* as target='),
    ],
)
@pytest.mark.parametrize('given', [21, 19])
def test_heads_of_another_number_of_classes_than_the_target(tmp_path, name, channels, target, message, given):
    model = Model(len(make_hook(source='voc', target=target).target))
    setattr(model, name, Head(channels))
    with pytest.raises(ValueError, match=message):
        make_hook(source='voc', target=target).after_load_checkpoint(
            make_runner(tmp_path, model), source_checkpoint(given)
        )
    assert not list(tmp_path.iterdir())


# The hook


def make_runner(folder, model: nn.Module | None = None) -> SimpleNamespace:
    return SimpleNamespace(work_dir=str(folder), model=model or Model(), logger=Mock())


def make_hook(**options):
    return HOOKS.build(dict(type='HeadTransferHook', **{'source': SOURCE, 'target': TARGET, **options}))


def source_checkpoint(classes: int = 3) -> dict:
    return {'state_dict': Model(classes).state_dict(), 'meta': {}}


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


def test_hook_takes_a_bare_state_dict(tmp_path):
    checkpoint = source_checkpoint()['state_dict']
    make_hook().after_load_checkpoint(make_runner(tmp_path), checkpoint)
    assert len(checkpoint['decode_head.conv_seg.bias']) == 4


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


def unchanged(hook, runner, checkpoint: dict) -> bool:
    before = {key: value.clone() for key, value in checkpoint['state_dict'].items()}
    hook.after_load_checkpoint(runner, checkpoint)
    assert not runner.logger.info.called
    after = checkpoint['state_dict']
    return list(after) == list(before) and all(after[key].equal(before[key]) for key in before)


def test_resumed_checkpoint_is_left_untouched_and_nothing_is_written(tmp_path):
    # Source and target have one size here, so that only the classes tell a resume apart.
    source = ('background', 'car', 'bus', 'train')
    checkpoint = {'state_dict': Model(4).state_dict(), 'meta': {'dataset_meta': {'classes': TARGET}}}
    assert unchanged(make_hook(source=source), make_runner(tmp_path), checkpoint)
    assert not list(tmp_path.iterdir())


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
    checkpoint = {'state_dict': Model(4).state_dict(), 'meta': meta}
    old = checkpoint['state_dict']['decode_head.conv_seg.weight']
    make_hook(source=source).after_load_checkpoint(make_runner(tmp_path), checkpoint)
    # road, car, sky, motorcycle (not in this source) from background, car, background, background
    assert checkpoint['state_dict']['decode_head.conv_seg.weight'].equal(old[[0, 1, 0, 0]])


def test_checkpoint_of_the_targets_size_is_left_untouched(tmp_path):
    assert unchanged(make_hook(), make_runner(tmp_path), source_checkpoint(4))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('meta', [{}, {'dataset_meta': {'classes': TARGET}}])
def test_hook_refuses_a_checkpoint_of_another_model(tmp_path, meta):
    checkpoint = {**source_checkpoint(4), 'meta': meta}
    del checkpoint['state_dict']['backbone.0.weight']
    with pytest.raises(ValueError, match=r"1 keys are missing, first \['backbone\.0\.weight'\]"):
        make_hook().after_load_checkpoint(make_runner(tmp_path), checkpoint)
    assert not list(tmp_path.iterdir())


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
            cfg.model.decode_head.update(
                out_channels=2, threshold=None, loss_decode=dict(type='CrossEntropyLoss')
            )
        target = ['sidewalk', 'road']
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            loader.dataset.metainfo = dict(classes=target, palette=[[0, 0, 0], [255, 0, 0]])
        source = ['background', 'road']
        cfg.load_from, cfg.val_evaluator.source = str(tmp_path / 'source.pth'), source
        transfer = dict(type='HeadTransferHook', source=source, target=target)
        cfg.custom_hooks = [transfer, dict(type='AdaptationHook', snapshots=1)]
        Runner.from_cfg(cfg).train()
        lines = (tmp_path / f'work{channels}/adaptation.jsonl').read_text().splitlines()[1:]
        rows[channels] = [
            (row['kind'], row['confusion']) for row in map(json.loads, lines) if row['iter'] == 0
        ]
    assert [kind for kind, _ in rows[1]] == ['source', 'validation']
    assert rows[1] == rows[2]
    assert np.count_nonzero(rows[1][1][1]) == 4
