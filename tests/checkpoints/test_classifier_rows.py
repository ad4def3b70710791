"""Classifier rows from one label space to another: who gets which, with what values, and when not."""

import math
import re

import pytest
import torch
from mmseg.utils import get_classes
from torch import Tensor, nn

from mmseg_deeplab_study.checkpoints.classifier_rows import (
    RowOrigin,
    one_row,
    plan_rows,
    transfer_head,
    transfer_rows,
    two_rows,
)
from mmseg_deeplab_study.datasets.label_spaces import Match, match_classes

VOC, CITYSCAPES = tuple(get_classes('voc')), tuple(get_classes('cityscapes'))
SOURCE = ('background', 'car', 'motorbike')
TARGET = ('road', 'car', 'sky', 'motorcycle')
MATCHES = {'car': Match('car', 'exact'), 'motorcycle': Match('motorbike', 'alias')}
# Two heirs share background: road and sky.
SHIFT = -math.log(2)


def classifier(rows: int = 3, channels: int = 2) -> tuple[Tensor, Tensor]:
    """Row i has the weights 10 i, 10 i + 1, ... and the bias i + 0.5."""
    weight = (10.0 * torch.arange(rows))[:, None] + torch.arange(channels)
    return weight[..., None, None], torch.arange(rows) + 0.5


def head(name: str = 'decode_head', rows: int = 3) -> dict[str, Tensor]:
    weight, bias = classifier(rows)
    return {f'{name}.conv_seg.weight': weight, f'{name}.conv_seg.bias': bias}


HEIR, WHOLE = ('background', 'background', SHIFT), ('background', 'background', 0.0)
CAR, MOTORBIKE = ('car', 'exact', 0.0), ('motorbike', 'alias', 0.0)
DRAWN, ZERO, EXACT = (None, 'random', 0.0), (None, 'zero', 0.0), ('background', 'exact', 0.0)


@pytest.mark.parametrize(
    ('target', 'rules', 'expected'),
    [
        (TARGET, {}, [HEIR, CAR, HEIR, MOTORBIKE]),
        (TARGET, dict(unmatched='random'), [DRAWN, CAR, DRAWN, MOTORBIKE]),
        (TARGET, dict(unmatched='zero'), [ZERO, CAR, ZERO, MOTORBIKE]),
        (TARGET, dict(matched='reinit'), [HEIR, DRAWN, HEIR, DRAWN]),
        # A background of the target's own shares with sky: together they are as probable as it was.
        (('background', 'car', 'sky'), {}, [('background', 'exact', SHIFT), CAR, HEIR]),
        # Under the other rules it shares with nobody.
        (('background', 'car', 'sky'), dict(unmatched='random'), [EXACT, CAR, DRAWN]),
        (('background', 'car', 'sky'), dict(unmatched='zero'), [EXACT, CAR, ZERO]),
        # A single heir takes background whole.
        (('road', 'car'), {}, [WHOLE, CAR]),
    ],
)
def test_plan(target, rules, expected):
    rows = plan_rows(SOURCE, target, match_classes(SOURCE, target), **rules)
    assert rows == [RowOrigin(name, *origin) for name, origin in zip(target, expected, strict=True)]


def test_plan_of_voc_to_cityscapes():
    rows = {row.target: row for row in plan_rows(VOC, CITYSCAPES, match_classes(VOC, CITYSCAPES))}
    copied = {name: row.source for name, row in rows.items() if row.rule != 'background'}
    shared = {name: name for name in ('person', 'car', 'bus', 'train', 'bicycle')}
    assert copied == {**shared, 'motorcycle': 'motorbike'}
    # 19 - 6 = 13 classes share the background
    assert rows['road'] == RowOrigin('road', 'background', 'background', -math.log(13))
    assert list(rows) == list(CITYSCAPES)


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


# background's row is (0, 1), car's (10, 11), motorbike's (20, 21); their biases are 0.5, 1.5, 2.5
@pytest.mark.parametrize(
    ('rule', 'expected', 'biases'),
    [
        # Background's bias is shared by road and sky.
        ('background', [[0, 1], [10, 11], [0, 1], [20, 21]], [0.5 + SHIFT, 1.5, 0.5 + SHIFT, 2.5]),
        ('zero', [[0, 0], [10, 11], [0, 0], [20, 21]], [0, 1.5, 0, 2.5]),
    ],
)
def test_rows_exact(rule, expected, biases):
    given, rows = classifier(), plan_rows(SOURCE, TARGET, MATCHES, unmatched=rule)
    weight, bias = transfer_rows(*given, SOURCE, rows)
    assert weight[..., 0, 0].tolist() == expected
    torch.testing.assert_close(bias, torch.tensor(biases))
    assert all(map(torch.equal, given, classifier()))


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


@pytest.mark.parametrize(
    'names',
    [
        ['decode_head'],
        ['auxiliary_head'],
        ['auxiliary_head.0'],
        ['decode_head.1'],
        ['decode_head', 'auxiliary_head.0', 'auxiliary_head.1'],
    ],
)
def test_every_kind_of_head(names):
    rows = plan_rows(SOURCE, TARGET, MATCHES)
    state_dict = {'backbone.conv.weight': torch.ones(1)}
    for name in names:
        state_dict |= head(name)
    before = dict(state_dict)
    result, changed = transfer_head(state_dict, SOURCE, rows)
    assert changed == names
    assert list(result) == list(state_dict)
    weight, bias = transfer_rows(*classifier(), SOURCE, rows)
    for name in names:
        assert result[f'{name}.conv_seg.weight'].equal(weight)
        assert result[f'{name}.conv_seg.bias'].equal(bias)
        # What was given is left as it is.
        assert all(state_dict[key].equal(value) for key, value in head(name).items())
    assert result['backbone.conv.weight'] is before['backbone.conv.weight']


def test_head_with_as_many_rows_as_the_target_is_left_alone():
    state_dict = {**head('decode_head', 4), **head('auxiliary_head', 3)}
    result, changed = transfer_head(state_dict, SOURCE, plan_rows(SOURCE, TARGET, MATCHES))
    assert changed == ['auxiliary_head']
    assert result['decode_head.conv_seg.weight'] is state_dict['decode_head.conv_seg.weight']
    assert result['decode_head.conv_seg.bias'] is state_dict['decode_head.conv_seg.bias']


def test_two_label_spaces_of_one_size_are_transferred():
    target = ('motorcycle', 'car', 'road')
    result, changed = transfer_head(head(), SOURCE, plan_rows(SOURCE, target, match_classes(SOURCE, target)))
    assert changed == ['decode_head']
    # motorbike's row, car's, background's
    assert result['decode_head.conv_seg.weight'][..., 0, 0].tolist() == [[20, 21], [10, 11], [0, 1]]
    assert result['decode_head.conv_seg.bias'].tolist() == [2.5, 1.5, 0.5]


def test_head_that_fits_neither_label_space():
    message = r'auxiliary_head\.0: its classifier has 7 rows; expected 3 .* source .* or 4 .* source='
    with pytest.raises(ValueError, match=message):
        state_dict = {**head(), **head('auxiliary_head.0', 7)}
        transfer_head(state_dict, SOURCE, plan_rows(SOURCE, TARGET, MATCHES))


# MMSeg's binary form: one channel for two classes. Its rows are 0 and (7, 8), biases 0 and 3.
ONE = {
    'decode_head.conv_seg.weight': torch.tensor([7.0, 8.0])[None, :, None, None],
    'decode_head.conv_seg.bias': torch.tensor([3.0]),
}
TWO, CHANGED = ('background', 'car'), ['decode_head']


@pytest.mark.parametrize(
    ('state', 'source', 'target', 'single', 'expected'),
    [
        # The source's one channel is two rows; sky and road share background's bias, 0.
        (ONE, TWO, ('car', 'sky', 'road'), (), ([[7, 8], [0, 0], [0, 0]], [3, SHIFT, SHIFT], CHANGED)),
        # The target's is the difference of car's (10, 11), 1.5 and background's (0, 1), 0.5.
        (head(), SOURCE, TWO, CHANGED, ([[10, 10]], [1], CHANGED)),
        # On both sides every probability stays; the other way round, the sigmoid of -z is 1 less that of z.
        (ONE, TWO, TWO, CHANGED, ([[7, 8]], [3], CHANGED)),
        (ONE, TWO, TWO[::-1], CHANGED, ([[-7, -8]], [-3], CHANGED)),
        # A target of another form gets the model's.
        (ONE, VOC, ('ground', 'thing'), CHANGED, ([[7, 8]], [3], [])),
        (ONE, VOC, ('ground', 'thing'), (), ([[0, 0], [7, 8]], [0, 3], [])),
        (head(rows=2), VOC, ('ground', 'thing'), CHANGED, ([[10, 10]], [1], [])),
    ],
)
def test_one_channel(state, source, target, single, expected):
    rows = plan_rows(source, target, match_classes(source, target))
    result, changed = transfer_head(state, source, rows, set(single))
    assert result['decode_head.conv_seg.weight'][..., 0, 0].tolist() == expected[0]
    assert result['decode_head.conv_seg.bias'].tolist() == pytest.approx(expected[1])
    assert changed == expected[2]


def test_one_channel_where_no_label_space_has_two_classes():
    message = r'decode_head: its classifier has one row, which tells two classes apart; expected 3 .* source='
    with pytest.raises(ValueError, match=message):
        transfer_head(ONE, SOURCE, plan_rows(SOURCE, TARGET, MATCHES))


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
        transfer_head(state_dict, SOURCE, plan_rows(SOURCE, TARGET, MATCHES))


@pytest.mark.parametrize('key', ['decode_head.cls_embed.weight', 'decode_head.classes_proj'])
def test_a_classifier_of_masks(key):
    message = rf'{re.escape(key)}: a classifier of masks .*, not of pixels; .* with model.backbone.init_cfg'
    # Beside an auxiliary head of pixels, too.
    pixels = {f'auxiliary_head.conv_seg.{name}': torch.ones(len(SOURCE)) for name in ('weight', 'bias')}
    for others in ({}, pixels):
        with pytest.raises(ValueError, match=message):
            transfer_head({key: torch.ones(3, 4)} | others, SOURCE, plan_rows(SOURCE, TARGET, MATCHES))
