"""Watch a model adapt: iteration 0, every validation, pictures of both."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from ..datasets.subsets import image_paths
from ..evaluation.metrics.counted import count_pass
from ..runs.header import open_record, subset_name
from ..runs.history import FILE_NAME, HistoryWriter, SubsetName, read_history
from ..runs.main_process import from_main_process
from ..runs.random_states import random_states, restore_random_states
from ..runs.snapshots import Snapshots, choose_images
from ..tables import duration_text
from .ending import Pace, nearby, summary
from .extra_passes import ForgettingPass, record_source
from .preflight import check_arguments, find_transfer, preflight
from .probe_loop import ProbeValLoop
from .schedule import is_validated
from .source_readout import SourceReadout
from .validation_scores import (
    add_nulls,
    checkpoint_hooks,
    forget_stale_scores,
    metrics_of,
    validation_row,
)


@HOOKS.register_module()
class AdaptationHook(Hook):
    """Record how a model adapts.

    Before the first update it records what the source model itself sees (with ``HeadTransferHook``) and
    validates at iteration 0; then it listens to every validation. Each appends a row to
    ``work_dir/adaptation.jsonl`` and writes the predicted label maps of a few fixed validation images to
    ``work_dir/snapshots/<iteration>/<image stem>.png`` (the source model's, in its own label space, to
    ``snapshots/source``); ``snapshots/reference`` has photographs and truths, as ``<stem><suffix>`` and
    ``<stem>_truth.png``. On resuming, a validation that was cut off is run again. Needs
    ``AdaptationMetric`` in ``val_evaluator``, and records the scores of a ``BoundaryMetric`` beside it; with
    ``val_cfg=dict(type='ProbeValLoop')`` it chooses the probe.

    Args:
        snapshots: how many validation images, evenly spaced, or their stems; of the probe if there is one.
        check_labels: read all label maps of training and validation before training; their headers always.
        source_classifier: at each validation of the whole set, also read the network's features through the
            source's own classifier; see ``SourceReadout``.
        forgetting: ``dict(dataloader=..., interval=1)`` evaluates the adapting model on a validation set of
            the source too, on the shared classes, every ``interval`` validations and at the end.

    Raises:
        ValueError: at construction for arguments of another kind; before training, if the metric is missing,
            the data do not fit the label space or the model, custom_hooks has a hook twice, the model
            refines each prediction by a dense CRF, or ``source_classifier`` or ``forgetting`` cannot be had.
        FileExistsError: before training, if a fresh run would overwrite another's record.
        RuntimeError: before training, if another run uses the folder.
    """

    # Before hooks that evaluate other weights than they train (EMAHook) take the trained ones back.
    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        snapshots: int | str | Sequence[str] = 4,
        check_labels: bool = True,
        source_classifier: bool = False,
        forgetting: Mapping[str, Any] | None = None,
    ) -> None:
        check_arguments(snapshots, forgetting)
        self.snapshots = snapshots
        self.check_labels = check_labels
        self.source_classifier = source_classifier
        self.forgetting = forgetting
        self.overwrite = False
        self._recording = False
        self._due = False
        self._started = 0.0

    def before_train(self, runner: Runner) -> None:
        """Check everything, open the record, and choose probe and pictures."""
        metric, probe = preflight(runner, self)
        self._metric = metric
        self._transfer = find_transfer(runner)
        self._forgetting = self.forgetting and ForgettingPass(
            runner, metric, self._transfer, check_labels=self.check_labels, **self.forgetting
        )
        self._readout = SourceReadout(runner, metric, self._transfer) if self.source_classifier else None
        dataset = runner.val_dataloader.dataset
        paths = image_paths(dataset)
        self._snapshots = Snapshots(
            Path(runner.work_dir) / 'snapshots',
            choose_images(paths if probe is None else [paths[i] for i in probe], self.snapshots),
            metric.dataset_meta['palette'],
        )
        self._writer = HistoryWriter(Path(runner.work_dir) / FILE_NAME)
        rows = from_main_process(lambda: open_record(self._writer, runner, metric, probe, self.overwrite))
        if probe is not None:
            scores = [row['mIoU'] for row in rows if row['subset'] == SubsetName.PROBE]
            runner.val_loop.set_probe(probe, scores)
        here = [row for row in rows if row['iter'] == runner.iter]
        self._due = not here and is_validated(runner)
        self._recorded = metrics_of(here)
        self._recording = True
        self._begun, self._pace = time.perf_counter(), Pace()
        runner.logger.info(
            f'Training from iteration {runner.iter} to {runner.max_iters}, validated every '
            f'{runner.val_interval} on {len(dataset)} images'
        )
        runner.logger.info(f'Record: {nearby(self._writer.path)}')

    def before_train_epoch(self, runner: Runner) -> None:
        """Record the source's view and iteration 0, or what a resumed run lacks."""
        # Not in before_train: CheckpointHook and others set themselves up there, and validation calls them.
        if self._due:
            self._due = False
            if runner.iter == 0 and self._transfer is not None and self._transfer.source_classifier:
                self._append(record_source(runner, self._metric, self._transfer, self._snapshots))
            elif runner.iter == 0:
                runner.logger.warning(
                    'what the source model itself sees is not recorded: no HeadTransferHook has carried a '
                    "source checkpoint's decode_head over"
                )
            runner.val_loop.run()
        elif self._recorded:
            # What a kill may have taken away after the row: the checkpoint of a best score.
            add_nulls(runner, self._recorded)
            for hook in checkpoint_hooks(runner):
                hook.after_val_epoch(runner, self._recorded)
        self._recorded = {}

    def before_val(self, runner: Runner) -> None:
        """Start the clock, and note the random states."""
        self._started = time.perf_counter()
        self._random_states = random_states()

    def after_val(self, runner: Runner) -> None:
        """Restore the random states: validation must not change what training draws."""
        restore_random_states(self._random_states)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        """Write the pictures of a batch, and read it by the source's classifier."""
        if self._recording:
            self._snapshots.take(outputs or (), f'{runner.iter:06d}')
            if self._readout is not None:
                self._readout.count(outputs or (), first=batch_idx == 0)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Append the rows of a validation."""
        metrics = {} if metrics is None else metrics
        forget_stale_scores(runner, metrics)
        if not self._recording:
            return
        seconds = time.perf_counter() - self._started
        if self._forgetting is not None and self._forgetting.is_due(runner):
            self._append(self._forgetting.row(runner))
        loop, full = runner.val_loop, subset_name(runner.val_dataloader.dataset)
        probed = isinstance(loop, ProbeValLoop)
        passes = loop.counted if probed else {SubsetName.FULL: count_pass(loop.evaluator, seconds)}
        if self._readout is not None and SubsetName.FULL in passes:
            self._append(self._readout.row(runner))
        # The probe's last: with it, a validation is complete.
        for name in (SubsetName.FULL, SubsetName.PROBE):
            if name in passes:
                subset = full if name == SubsetName.FULL else name
                self._append(validation_row(self._metric, passes[name], runner.iter, subset))
        add_nulls(runner, metrics)
        if left := self._pace.left(runner.iter, runner.max_iters):
            runner.logger.info(
                f'Iteration {runner.iter} of {runner.max_iters}: about {duration_text(left)} left, '
                'validations included'
            )

    def after_train(self, runner: Runner) -> None:
        """Stop recording: a validation after training is none of the run's; say how it went."""
        self._recording = False
        if is_main_process():
            history = read_history(self._writer.path)
            for line in summary(history, runner.work_dir, time.perf_counter() - self._begun):
                runner.logger.info(line)
        if self._readout is not None:
            self._readout.close()

    def _append(self, row: dict[str, Any] | None) -> None:
        # Only the main process has rows; a full disk must not leave the others waiting for it.
        from_main_process(lambda: self._writer.append(row) if row else None)
