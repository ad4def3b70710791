"""Carry a source's classifier over to the target while its checkpoint is loaded."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from mmseg.registry import HOOKS
from torch import Tensor, nn

from ..atomic_file import write_atomically
from ..checkpoints.bare_state import unwrap
from ..checkpoints.classifier_rows import (
    check_classes,
    classifier_channels,
    decode_classifier,
    plan_rows,
    transfer_head,
)
from ..checkpoints.fitting import check_fits, check_network
from ..datasets.label_spaces import match_classes, resolve_classes
from ..evaluation.metrics.adaptation_metric import AdaptationMetric
from ..models.segmentors import bare_model
from ..runs.main_process import from_main_process
from ..runs.resuming import is_resuming
from ..tables import make_table, table_text

SOURCE_CLASSIFIER = 'source_classifier'  # the key of a checkpoint


@HOOKS.register_module()
class HeadTransferHook(Hook):
    """Rewrite the classifiers of a loaded checkpoint for the target label space.

    Works on ``decode_head`` and ``auxiliary_head``, in training and in testing; a checkpoint that is already
    the target's (a resumed run's) is left untouched. Logs a table of the rows, and in training writes it to
    ``work_dir/head_transfer.json``. Keeps the decode head's classifier as it came, ``source_classifier``, for
    ``AdaptationHook`` to record what the source model itself sees.

    Args:
        source: label space of the checkpoint, a dataset's name known to MMSeg or a list of class names.
        target: label space of the model, likewise.
        matched: ``'copy'`` or ``'reinit'``; see ``plan_rows``.
        unmatched: ``'background'``, ``'random'`` or ``'zero'``; see ``plan_rows`` on ties at iteration 0.
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
        """Go before the other hooks, and tell the metrics which classes match."""
        # Before every hook that reads what was loaded, of any priority: EMAHook copies the weights.
        runner._hooks.insert(0, runner._hooks.pop(runner._hooks.index(self)))
        # One of the two loops may be missing, or be built only after the other has run.
        loops = [loop for loop in (runner._val_loop, runner._test_loop) if isinstance(loop, BaseLoop)]
        for metric in (metric for loop in loops for metric in loop.evaluator.metrics):
            if isinstance(metric, AdaptationMetric):
                metric.transferred = self.matches

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Rewrite the checkpoint, and check that it fits the model."""
        self._loaded = True
        state_dict, changed, model = unwrap(checkpoint), [], bare_model(runner.model)
        check_classes(model, self.target, self.target_name)
        resumed = is_resuming(runner)
        if resumed:
            self.source_classifier = checkpoint.get(SOURCE_CLASSIFIER)
        if not self.is_targets(checkpoint):
            if resumed:
                raise ValueError(
                    "resumed from a checkpoint of other classes than the target's, so not one of this run: "
                    "MMEngine's resume=True takes load_from where it is set. Leave resume out of the config, "
                    'and resume with tools/train.py --resume, which takes the newest of the work_dir'
                )
            self.source_classifier = self.source_classifier or decode_classifier(state_dict, len(self.source))
            transferred, changed = self.rewrite(state_dict, model)
            # Ranks that draw from different seeds would otherwise train different heads.
            for key in (key for key in transferred if '.conv_seg.' in key):
                broadcast(transferred[key])
            # In place: the loader has this dict.
            state_dict.update(transferred)
        network = (checkpoint.get('meta') or {}).get('network')
        if network and not resumed:
            check_network(network, model)
        check_fits(state_dict, model)
        iteration = (checkpoint.get('meta') or {}).get('iter')
        trained = f' (iteration {iteration} of a run)' if iteration else ''
        # Runner.test builds its loop before it loads, Runner.train never.
        tested = isinstance(getattr(runner, '_test_loop', None), BaseLoop)
        if changed:
            self._report(runner, changed, write=not tested)
        if tested:
            state = 'its classifier carried over and not trained yet' if changed else 'its own classifier'
            runner.logger.info(f'HeadTransferHook: the test scores the checkpoint{trained} with {state}')
        elif not changed and not resumed:
            runner.logger.warning(
                f'HeadTransferHook: the checkpoint{trained} already has a classifier of the '
                f"target's {len(self.target)} classes, so nothing is transferred: iteration 0 of the record "
                'is an adapted model, not a source model'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the source's classifier, for a run that is killed before it is recorded."""
        if self.source_classifier is not None:
            checkpoint[SOURCE_CLASSIFIER] = self.source_classifier

    def before_train(self, runner: Runner) -> None:
        """Refuse to train without a source checkpoint."""
        if not self._loaded and not self.allow_no_source:
            raise ValueError(
                'HeadTransferHook: no source checkpoint was loaded, so training would start from initial '
                'weights. Give one with --load-from CHECKPOINT, or set allow_no_source=True in '
                'HeadTransferHook to train without'
            )

    def rewrite(
        self, state_dict: Mapping[str, Tensor], model: nn.Module
    ) -> tuple[dict[str, Tensor], list[str]]:
        """A state dict with classifiers of the target's classes, and the heads that were changed.

        Raises as ``transfer_head``.
        """
        # One channel tells two classes apart.
        single = {
            head for head, channels in classifier_channels(model) if channels == 1 and len(self.target) == 2
        }
        return transfer_head(state_dict, self.source, self.rows, single)

    def is_targets(self, checkpoint: Mapping[str, Any]) -> bool:
        """Whether a checkpoint says that its classes are the target's."""
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
