"""Classifier rows: from one label space to another, and how many a model has."""

import math
import re
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..datasets.label_spaces import BACKGROUND, Match

MATCHED_RULES = ('copy', 'reinit')
UNMATCHED_RULES = ('background', 'random', 'zero')
# MMSeg's own initialisation of conv_seg.
RANDOM_STD = 0.01

_CLASSIFIER = re.compile(r'^((?:decode|auxiliary)_head(?:\.\d+)?)\.conv_seg\.weight$')
_MASK_CLASSIFIER = re.compile(r'^decode_head\..*\b(?:cls_embed|class_embed|classes_proj|query_embed)\b')


class RowOrigin(NamedTuple):
    """Where a target class's classifier row comes from.

    ``rule`` is 'exact', 'alias', 'approximate' or 'class_map' for a copied row, else 'background', 'random'
    or 'zero'; ``source`` is None for the last two. ``bias_shift`` was added to the copied bias.
    """

    target: str
    source: str | None
    rule: str
    bias_shift: float = 0.0


def plan_rows(
    source: Sequence[str],
    target: Sequence[str],
    matches: Mapping[str, Match],
    matched: str = 'copy',
    unmatched: str = 'background',
) -> list[RowOrigin]:
    """Decide for each target class which source row it gets.

    A matched class gets its source class's row (``matched='copy'``) or a new random one (``'reinit'``). An
    unmatched class gets, by ``unmatched``:

    - ``'background'``: the source's background row, its bias less ``log n`` where n classes share it (a
      target class matched to background included): together they are as probable as background was.
      Source: MiB, Cermelli et al. 2020, https://arxiv.org/abs/2002.00718, equation 6.
      Such rows tie until the first update, and argmax takes the first of equals: the unmatched class that
      the target lists first, road in Cityscapes, wins every background pixel. At iteration 0 it has an IoU
      that it has not learnt, and the other unmatched classes have 0.
    - ``'random'``: as MMSeg initialises a classifier, N(0, 0.01), bias 0.
    - ``'zero'``: weight and bias 0.

    Raises:
        ValueError: an unknown rule, or no background class in the source to take the row from.
    """
    _check_choice('matched', matched, MATCHED_RULES)
    _check_choice('unmatched', unmatched, UNMATCHED_RULES)
    needs_background = [name for name in target if name not in matches]
    if unmatched == 'background' and needs_background and BACKGROUND not in source:
        raise ValueError(
            f"unmatched='background' needs a class {BACKGROUND!r} in the source label space, which has "
            f"{', '.join(source)}; for {needs_background[:3]} choose unmatched='random' or 'zero'"
        )
    heirs = [name for name in target if name not in matches or matches[name].source == BACKGROUND]
    rows = []
    for name in target:
        match, shift = matches.get(name), 0.0
        if unmatched == 'background' and name in heirs:
            shift = -math.log(len(heirs))
        if match is not None and matched == 'reinit':
            rows.append(RowOrigin(name, None, 'random'))
        elif match is not None:
            rows.append(RowOrigin(name, match.source, match.kind, shift))
        else:
            rows.append(RowOrigin(name, BACKGROUND if unmatched == 'background' else None, unmatched, shift))
    return rows


def transfer_rows(
    weight: Tensor, bias: Tensor, source: Sequence[str], rows: Sequence[RowOrigin]
) -> tuple[Tensor, Tensor]:
    """Write a classifier for the target classes from the source's.

    ``weight (S, C, 1, 1)`` and ``bias (S,)`` give ``(T, C, 1, 1)`` and ``(T,)``; the arguments are left as
    they are. Random rows are drawn from torch's global generator.
    """
    new_weight = weight.new_zeros((len(rows), *weight.shape[1:]))
    new_bias = bias.new_zeros(len(rows))
    for i, row in enumerate(rows):
        if row.source is not None:
            j = source.index(row.source)
            new_weight[i] = weight[j]
            new_bias[i] = bias[j] + row.bias_shift
        elif row.rule == 'random':
            nn.init.normal_(new_weight[i], std=RANDOM_STD)
    return new_weight, new_bias


def two_rows(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of two classes for a classifier of one channel.

    The softmax of 0 and z is the sigmoid of z, so both give the same probabilities.
    """
    return torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias])


def one_row(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A classifier of one channel for rows of two classes: undo ``two_rows``."""
    return weight[1:] - weight[:1], bias[1:] - bias[:1]


def transfer_head(
    state_dict: Mapping[str, Tensor],
    source: Sequence[str],
    rows: Sequence[RowOrigin],
    single: Container[str] = (),
) -> tuple[dict[str, Tensor], list[str]]:
    """Carry every classifier over; returns the state dict and the heads that were.

    ``state_dict`` has the model's own names, ``source`` are the classes it was trained on. A classifier with
    a row for each target class is the target's and left alone, unless the source has as many classes. One
    channel, MMSeg's binary form, means two classes; the heads in ``single`` get that form.

    Raises:
        ValueError: there is no classifier, one fits neither label space, or one is of masks.
    """
    result, changed = dict(state_dict), []
    heads = {match[1]: key for key in state_dict if (match := _CLASSIFIER.match(key))}
    if masks := [key for key in state_dict if _MASK_CLASSIFIER.match(key)]:
        raise ValueError(
            f'{masks[0]}: a classifier of masks (as in MaskFormer and Segmenter), not of pixels; head '
            'transfer takes heads that classify pixels by conv_seg. Train this head from initial weights '
            "instead: without load_from, with HeadTransferHook's allow_no_source=True, and with "
            "model.backbone.init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')"
        )
    if not heads:
        raise ValueError(
            'the checkpoint has no classifier to transfer: expected decode_head.conv_seg.weight, got '
            f'{len(state_dict)} keys, first {list(state_dict)[:3]}. tools/doctor.py --checkpoint FILE says '
            'what it is, and the load_from that takes it'
        )
    for head, key in heads.items():
        bias_key = key.removesuffix('weight') + 'bias'
        weight, bias = state_dict[key], state_dict[bias_key]
        rows_given = f'{len(weight)} rows'
        if len(weight) == 1 and 1 not in (len(source), len(rows)):
            weight, bias = two_rows(weight, bias)
            rows_given = 'one row, which tells two classes apart'
        if len(weight) == len(source):
            weight, bias = transfer_rows(weight, bias, source, rows)
            changed.append(head)
        elif len(weight) != len(rows):
            raise ValueError(
                f'{head}: its classifier has {rows_given}; expected {len(source)} for the source '
                f'label space or {len(rows)} for the target. Give HeadTransferHook the classes that '
                'the checkpoint was trained on as source='
            )
        elif (head in single) == (len(state_dict[key]) == 1):
            continue
        result[key], result[bias_key] = one_row(weight, bias) if head in single else (weight, bias)
    return result, changed


def check_classes(model: nn.Module, classes: Sequence[str], target: str) -> None:
    """Refuse a model whose heads are not of the target's number of classes.

    Raises:
        ValueError: names the head's option, both numbers and the cure.
    """
    for head, channels in classifier_channels(model):
        single = channels == 1 and len(classes) != 1
        if (2 if single else channels) != len(classes):
            option = 'out_channels=1, for two classes' if single else f'num_classes={channels}'
            undo = f' model.{head}.out_channels={len(classes)}' if single else ''
            raise ValueError(
                f'{head}.{option}, but the target {target} has {len(classes)} classes. Give --cfg-options '
                f'model.{head}.num_classes={len(classes)}{undo}, or HeadTransferHook the classes of the '
                'model as target='
            )


def decode_classifier(state_dict: Mapping[str, Tensor], classes: int) -> dict[str, Tensor] | None:
    """Copy the decode head's classifier; None unless it has a row for each class."""
    weight, bias = (state_dict.get(f'decode_head.conv_seg.{name}') for name in ('weight', 'bias'))
    if weight is None:
        return None
    if len(weight) == 1 and classes == 2:
        weight, bias = two_rows(weight, bias)
    return {'weight': weight.clone(), 'bias': bias.clone()} if len(weight) == classes else None


def classifier_channels(model: nn.Module) -> list[tuple[str, int]]:
    """Heads of a segmentor that classify pixels, and their classifiers' channels."""
    shapes = ((_CLASSIFIER.match(key), value.shape) for key, value in model.state_dict().items())
    return [(match[1], shape[0]) for match, shape in shapes if match]


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f'{name} must be one of {", ".join(choices)}, but got {value!r}')
