"""Carry a classifier from one label space to another, row by row."""

import json
import math
import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from mmseg.registry import HOOKS
from torch import Tensor, nn

from ..atomic_file import write_atomically
from ..checkpoints.bare_state import bare_name, unwrap
from ..datasets.label_spaces import BACKGROUND, Match, match_classes, resolve_classes
from ..evaluation.metrics.adaptation_metric import AdaptationMetric
from ..models.segmentors import bare_model
from ..runs.main_process import from_main_process
from ..runs.resuming import is_resuming
from ..tables import make_table, table_text

SOURCE_CLASSIFIER = 'source_classifier'  # the key of a checkpoint
_MASK_CLASSIFIER = re.compile(r'^decode_head\..*\b(?:cls_embed|class_embed|classes_proj|query_embed)\b')
MATCHED_RULES = ('copy', 'reinit')
UNMATCHED_RULES = ('background', 'random', 'zero')
# MMSeg's own initialisation of conv_seg.
RANDOM_STD = 0.01

# The parts that a checkpoint must have whole, and the options by which they differ.
_OPTIONS = {
    'backbone': 'type, depth and width',
    'decode_head': 'type, num_classes, channels, dilations and refine',
}
_CLASSIFIER = re.compile(r'^((?:decode|auxiliary)_head(?:\.\d+)?)\.conv_seg\.weight$')


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
      target class that takes background itself included), so that together they are as probable as
      background was. Source: MiB, Cermelli et al. 2020, https://arxiv.org/abs/2002.00718, equation 6.
      Such rows tie exactly until the first update, and argmax takes the first of equals: the unmatched class
      that the target lists first wins every background pixel. In Cityscapes that is road. At iteration 0
      road therefore scores an IoU it has not learnt, roughly its share of all that PASCAL calls
      background, and the other unmatched classes score 0.
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
    shift = -math.log(len(heirs)) if heirs else 0.0

    def origin(name: str) -> RowOrigin:
        match = matches.get(name)
        if match is not None and matched == 'reinit':
            return RowOrigin(name, None, 'random')
        if match is not None:
            shared = unmatched == 'background' and match.source == BACKGROUND
            return RowOrigin(name, match.source, match.kind, shift if shared else 0.0)
        if unmatched == 'background':
            return RowOrigin(name, BACKGROUND, 'background', shift)
        return RowOrigin(name, None, unmatched)

    return [origin(name) for name in target]


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
    """Rows of two classes for a classifier of one channel, ``(1, C, 1, 1)`` and ``(1,)``.

    The softmax of 0 and z is the sigmoid of z, so both give the same probabilities.
    """
    return torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias])


def one_row(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A classifier of one channel for rows of two classes; the other way round of ``two_rows``."""
    return weight[1:] - weight[:1], bias[1:] - bias[:1]


def transfer_head(
    state_dict: Mapping[str, Tensor],
    source: Sequence[str],
    target: Sequence[str],
    rows: Sequence[RowOrigin],
    single: Container[str] = (),
) -> tuple[dict[str, Tensor], list[str]]:
    """Return ``state_dict`` with every classifier carried over, and the names of the heads that were.

    A classifier that has as many rows as the target has classes is taken as the target's and left alone,
    unless the source has as many. One of a single channel, MMSeg's binary form, is of two classes. Those of
    the heads in ``single``, whose model has that form, get it.

    Raises:
        ValueError: there is no classifier, one fits neither label space, or one is of masks.
    """
    result, changed = dict(state_dict), []
    heads = {match[1]: key for key in state_dict if (match := _CLASSIFIER.match(bare_name(key)))}
    if masks := [key for key in state_dict if _MASK_CLASSIFIER.match(bare_name(key))]:
        raise ValueError(
            f'{masks[0]}: a classifier of masks (as in MaskFormer and Segmenter), not of pixels; head '
            'transfer takes heads that classify pixels by conv_seg. Train this head from initial weights '
            "instead: without load_from, with HeadTransferHook's allow_no_source=True, and with "
            "model.backbone.init_cfg=dict(type='Pretrained', "
            "checkpoint=..., prefix='backbone.')"
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
        if len(weight) == 1 and 1 not in (len(source), len(target)):
            weight, bias = two_rows(weight, bias)
            rows_given = 'one row, which tells two classes apart'
        if len(weight) == len(source):
            weight, bias = transfer_rows(weight, bias, source, rows)
            changed.append(head)
        elif len(weight) != len(target):
            raise ValueError(
                f'{head}: its classifier has {rows_given}; expected {len(source)} for the source '
                f'label space or {len(target)} for the target. Give HeadTransferHook the classes that '
                'the checkpoint was trained on as source='
            )
        elif (head in single) == (len(state_dict[key]) == 1):
            continue
        result[key], result[bias_key] = one_row(weight, bias) if head in single else (weight, bias)
    return result, changed


def check_fits(state_dict: Mapping[str, Tensor], model: nn.Module) -> None:
    """Refuse a state dict that is not that of the model's backbone and decode head.

    MMEngine only warns of weights that are missing, of another shape or of no place (a deeper network's), and
    then trains what is left. A missing auxiliary head and keys of other parts are left to that warning.

    Raises:
        ValueError: lists the first few keys of each kind, the modules they are in, and what to correct.
    """
    given = {bare_name(key): value for key, value in state_dict.items() if _is_asked_for(bare_name(key))}
    own = {key: value for key, value in model.state_dict().items() if _is_asked_for(key)}
    missing = [key for key in own if key not in given]
    mismatched = [key for key in own if key in given and given[key].shape != own[key].shape]
    surplus = [key for key in given if key not in own]
    if not missing + mismatched + surplus:
        return
    problems = []
    if missing or mismatched:
        shapes = [f'{key} {tuple(given[key].shape)} for {tuple(own[key].shape)}' for key in mismatched[:3]]
        problems.append(f'{len(missing)} keys are missing, first {missing[:3]}')
        problems.append(f'{len(mismatched)} have another shape, first {shapes}')
    if surplus:
        problems.append(f'the model has no place for {len(surplus)} of its keys, first {surplus[:3]}')
    modules = dict.fromkeys('.'.join(key.split('.')[:2]) for key in missing + mismatched + surplus)
    parts = dict.fromkeys(module.split('.')[0] for module in modules)
    cure = ' and '.join(f'model.{part} the {_OPTIONS[part]}' for part in parts)
    raise ValueError(
        f'the checkpoint does not fit the model: {"; ".join(problems)}. They differ in '
        f'{", ".join(list(modules)[:6])}: give {cure} that it was trained with'
    )


def _is_asked_for(name: str) -> bool:
    # Files older than PyTorch 0.4.1 do not count batches.
    return name.split('.')[0] in _OPTIONS and not name.endswith('num_batches_tracked')


def check_classes(model: nn.Module, classes: Sequence[str], target: str) -> None:
    """Refuse a model whose heads are not of the target's number of classes.

    Raises:
        ValueError: names the head's option, both numbers and the cure.
    """
    for head, channels in _channels(model):
        single = channels == 1 and len(classes) != 1
        if (2 if single else channels) != len(classes):
            option = 'out_channels=1, for two classes' if single else f'num_classes={channels}'
            undo = f' model.{head}.out_channels={len(classes)}' if single else ''
            raise ValueError(
                f'{head}.{option}, but the target {target} has {len(classes)} classes. Give --cfg-options '
                f'model.{head}.num_classes={len(classes)}{undo}, or HeadTransferHook the classes of the '
                'model as target='
            )


def _classifier(state_dict: Mapping[str, Tensor], rows: int) -> dict[str, Tensor] | None:
    """The decode head's classifier as it came, if it is one head with as many rows."""
    given = {bare_name(key): value for key, value in state_dict.items()}
    weight = given.get('decode_head.conv_seg.weight')
    if weight is None:
        return None
    bias = given['decode_head.conv_seg.bias']
    if len(weight) == 1 and rows == 2:
        weight, bias = two_rows(weight, bias)
    return {'weight': weight.clone(), 'bias': bias.clone()} if len(weight) == rows else None


def _channels(model: nn.Module) -> list[tuple[str, int]]:
    """Name of each head of a segmentor that classifies pixels, and the channels of its classifier."""
    shapes = ((_CLASSIFIER.match(key), value.shape) for key, value in model.state_dict().items())
    return [(match[1], shape[0]) for match, shape in shapes if match]


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f'{name} must be one of {", ".join(choices)}, but got {value!r}')


@HOOKS.register_module()
class HeadTransferHook(Hook):
    """Rewrite a loaded checkpoint's classifiers for the target label space before they enter the model.

    Works on ``decode_head`` and ``auxiliary_head``, in training and in testing alike; a checkpoint that is
    already the target's (a resumed run's) is left untouched. Logs a table of the rows and in training
    writes it to ``work_dir/head_transfer.json``. Keeps the decode head's classifier as it came,
    ``source_classifier``, so that ``AdaptationHook`` can show what the source model itself sees.

    Args:
        source: label space of the checkpoint, a dataset's name known to MMSeg or a list of class names.
        target: label space of the model, likewise.
        matched: ``'copy'`` or ``'reinit'``, see ``plan_rows``.
        unmatched: ``'background'``, ``'random'`` or ``'zero'``, see ``plan_rows`` on ties at iteration 0.
        class_map: ``{target class: source class or None}``, before any match by name.
        approximate: also match classes that are only near (rider from person).
        allow_no_source: train without any checkpoint, from initial weights.

    Raises:
        ValueError: at construction for unknown names and rules; on loading for a checkpoint that fits neither
            label space, or not the model; before training, if no checkpoint was loaded.
    """

    def __init__(
        self,
        source: str | Sequence[str] = 'voc',
        target: str | Sequence[str] = 'cityscapes',
        matched: str = 'copy',
        unmatched: str = 'background',
        class_map: Mapping[str, str | None] | None = None,
        approximate: bool = False,
        allow_no_source: bool = False,
    ) -> None:
        self.source = resolve_classes(source)
        self.target = resolve_classes(target)
        self.target_name = target if isinstance(target, str) else f'({", ".join(self.target[:3])}, ...)'
        self.matches = match_classes(self.source, self.target, class_map, approximate)
        self.rows = plan_rows(self.source, self.target, self.matches, matched, unmatched)
        self.source_classifier: dict[str, Tensor] | None = None
        self.allow_no_source = allow_no_source
        self._loaded = False

    def before_run(self, runner: Runner) -> None:
        # Before every hook that reads what was loaded, whatever its priority: EMAHook copies the weights.
        runner._hooks.insert(0, runner._hooks.pop(runner._hooks.index(self)))
        # Of the two loops one may be missing, or not be built before the other has run.
        loops = [loop for loop in (runner._val_loop, runner._test_loop) if isinstance(loop, BaseLoop)]
        for metric in (metric for loop in loops for metric in loop.evaluator.metrics):
            if isinstance(metric, AdaptationMetric):
                metric.transferred = self.matches

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._loaded = True
        state_dict, changed, model = unwrap(checkpoint), [], bare_model(runner.model)
        check_classes(model, self.target, self.target_name)
        resumed = is_resuming(runner)
        if resumed:
            self.source_classifier = checkpoint.get(SOURCE_CLASSIFIER)
        if not self._is_targets(checkpoint):
            if resumed:
                raise ValueError(
                    "resumed from a checkpoint of other classes than the target's, which is not one of this "
                    "run: MMEngine's resume=True takes load_from where it is set; leave resume out, and "
                    'resume with tools/train.py --resume, which takes the work_dir'
                )
            self.source_classifier = self.source_classifier or _classifier(state_dict, len(self.source))
            single = {head for head, channels in _channels(model) if channels == 1 and len(self.target) == 2}
            transferred, changed = transfer_head(state_dict, self.source, self.target, self.rows, single)
            # Ranks that draw from different seeds would otherwise train different heads.
            for key in (key for key in transferred if '.conv_seg.' in key):
                broadcast(transferred[key])
            # The loader goes on with the dict it has, so that one is changed.
            state_dict.update(transferred)
        check_fits(state_dict, model)
        iteration = (checkpoint.get('meta') or {}).get('iter')
        trained = f' (iteration {iteration} of a run)' if iteration else ''
        # Runner.test builds its loop before it loads, Runner.train has none.
        tested = isinstance(getattr(runner, '_test_loop', None), BaseLoop)
        if changed:
            self._report(runner, changed, write=not tested)
        if tested:
            state = 'its classifier carried over and not trained yet' if changed else 'its own classifier'
            runner.logger.info(f'HeadTransferHook: the test scores the checkpoint{trained} with {state}')
        elif not changed and not resumed:
            runner.logger.warning(
                f'HeadTransferHook: the checkpoint{trained} already has a classifier of the '
                f"target's {len(self.target)} classes, so nothing is transferred: at iteration 0 the record "
                'shows an adapted model, not what a source model sees'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        # For a run that is killed before it has recorded the source's own view.
        if self.source_classifier is not None:
            checkpoint[SOURCE_CLASSIFIER] = self.source_classifier

    def before_train(self, runner: Runner) -> None:
        if not self._loaded and not self.allow_no_source:
            raise ValueError(
                'HeadTransferHook: no source checkpoint was loaded, and training would start from initial '
                'weights; give it with --load-from CHECKPOINT, or set allow_no_source=True in '
                'HeadTransferHook to train without one'
            )

    def _is_targets(self, checkpoint: dict) -> bool:
        # Counting rows cannot tell label spaces of one size apart; MMEngine's own checkpoints state theirs.
        meta = checkpoint.get('meta') or {}
        return tuple((meta.get('dataset_meta') or {}).get('classes', ())) == self.target

    def _report(self, runner: Runner, heads: Sequence[str], write: bool) -> None:
        table = make_table(['target class', 'row from', 'rule'], left=3)
        for row in self.rows:
            table.add_row(row.target, row.source or '-', row.rule)
        runner.logger.info(f'Head transfer of {", ".join(heads)}:\n{table_text(table)}')
        if not write:
            return
        record = {
            'source_classes': self.source,
            'target_classes': self.target,
            'heads': heads,
            'rows': [row._asdict() for row in self.rows],
        }
        content = json.dumps(record, indent=2, allow_nan=False) + '\n'
        path = Path(runner.work_dir) / 'head_transfer.json'
        from_main_process(lambda: write_atomically(path, content.encode()))
