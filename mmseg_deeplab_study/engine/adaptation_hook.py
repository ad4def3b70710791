"""Watch a model adapt: iteration 0, every validation, pictures of both."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from ..datasets.label_maps import check_headers, count_label_pixels, pixel_warnings
from ..datasets.label_spaces import match_classes
from ..datasets.probe import choose_probe
from ..datasets.subsets import image_list
from ..evaluation.bootstrap import bootstrap_interval
from ..evaluation.metrics.adaptation_metric import AdaptationMetric
from ..evaluation.metrics.counted import Counted, count_pass, find_metric
from ..evaluation.metrics.scores import scores_from_confusion
from ..evaluation.metrics.sparse import add_sparse
from ..models.segmentors import bare_model
from ..runs.batches import check_batches
from ..runs.header import check_continuation, run_header, subset_name
from ..runs.history import FILE_NAME, HistoryWriter, Kind, SubsetName, make_row, read_history
from ..runs.main_process import from_main_process
from ..runs.parts import unused_custom_keys
from ..runs.random_states import random_states, restore_random_states
from ..runs.rehearsal import rehearse
from ..runs.snapshots import Snapshots, choose_images
from ..runs.work_dir import claim_work_dir, clear_work_dir, refuse_recorded
from .dense_crf import refuse_dense_crf
from .extra_passes import ForgettingPass, source_row
from .head_transfer import HeadTransferHook
from .probe_loop import ProbeValLoop
from .schedule import is_validated, require_iterations
from .validation_scores import add_nulls, check_best_scores, checkpoint_hooks, forget_stale_scores, metrics_of


@HOOKS.register_module()
class AdaptationHook(Hook):
    """Record how a model adapts.

    Before the first update it records what the source model itself sees (with ``HeadTransferHook``) and
    validates at iteration 0; then it listens to every validation of the training loop. Each appends a row to
    ``work_dir/adaptation.jsonl`` and writes the predicted label maps of a few fixed validation images to
    ``work_dir/snapshots/<iteration>/<image stem>.png`` (the source model's, in its own label space, to
    ``snapshots/source``); photographs and truths stand once in ``snapshots/reference`` as ``<stem><suffix>``
    and ``<stem>_truth.png``. On resuming, a validation that was cut off is run again. Needs
    ``AdaptationMetric`` in ``val_evaluator``, and records ``BoundaryMetric``'s scores where that is there
    too; with ``val_cfg=dict(type='ProbeValLoop')`` it chooses the probe.

    Args:
        snapshots: how many validation images, evenly spaced, or their stems; of the probe if there is one.
        check_labels: read all label maps of training and validation before training; their headers always.
        forgetting: ``dict(dataloader=..., interval=1)`` to evaluate the adapting model also on
            a validation set of the source, on the shared classes, every ``interval`` validations and last.

    Raises:
        ValueError: at construction for arguments of another kind; before training, if the metric is missing,
            the data do not fit the label space or the model, a hook is there twice, or the model refines each
            prediction by a dense CRF.
        FileExistsError: before training, if a fresh run would write over another's record.
        RuntimeError: before training, if another run is going on in the folder.
    """

    # Before hooks that evaluate other weights than they train (EMAHook) take the trained ones back.
    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        snapshots: int | str | Sequence[str] = 4,
        check_labels: bool = True,
        forgetting: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(snapshots, int | str | list | tuple) or (
            isinstance(snapshots, int) and snapshots < 0
        ):
            raise ValueError(f'snapshots must be a number of images, or their stems, but got {snapshots!r}')
        if forgetting is not None and 'dataloader' not in (
            forgetting if isinstance(forgetting, Mapping) else ()
        ):
            raise ValueError(
                f'forgetting must be None or dict(dataloader=dict(...), interval=1), but got {forgetting!r}'
            )
        self.snapshots = snapshots
        self.check_labels = check_labels
        self.forgetting = forgetting
        self.overwrite = False
        self._recording = False
        self._due = False
        self._started = 0.0

    def before_train(self, runner: Runner) -> None:
        require_iterations(runner, self)
        _refuse_twice(runner)
        metric = self._metric = _find_metric(runner)
        refuse_dense_crf(runner)
        head_classes = getattr(bare_model(runner.model).decode_head, 'num_classes', len(metric.classes))
        if head_classes != len(metric.classes):
            raise ValueError(
                f'decode_head.num_classes is {head_classes}, but the validation set has '
                f'{len(metric.classes)} classes'
            )
        self._transfer = next((hook for hook in runner.hooks if isinstance(hook, HeadTransferHook)), None)
        _check_label_spaces(metric, self._transfer)
        _check_end(runner)
        resumed = runner._resume and runner._has_loaded
        from_main_process(lambda: self._claim(runner, resumed))
        check_batches(runner)
        check_best_scores(runner, metric)
        probe = from_main_process(lambda: self._check_data(runner))
        rehearse(runner)
        parameters = dict(bare_model(runner.model).named_parameters())
        for key in unused_custom_keys(runner.cfg, parameters):
            runner.logger.warning(
                f'optim_wrapper.paramwise_cfg.custom_keys: no parameter has {key!r} in its name, so it '
                f'changes nothing; first parameters: {", ".join(list(parameters)[:3])}'
            )
        self._forgetting = self._build_forgetting(runner)
        dataset = runner.val_dataloader.dataset
        looked_at = range(len(dataset)) if probe is None else probe
        paths = [dataset.get_data_info(i)['img_path'] for i in looked_at]
        self._snapshots = Snapshots(
            Path(runner.work_dir) / 'snapshots',
            choose_images(paths, self.snapshots),
            metric.dataset_meta['palette'],
        )
        self._writer = HistoryWriter(Path(runner.work_dir) / FILE_NAME)
        rows = from_main_process(lambda: self._open_record(runner, probe, resumed))
        if probe is not None:
            scores = [row['mIoU'] for row in rows if row['subset'] == SubsetName.PROBE]
            runner.val_loop.set_probe(probe, scores)
        here = [row for row in rows if row['iter'] == runner.iter]
        self._due = not here and is_validated(runner)
        self._recorded = metrics_of(here)
        self._recording = True

    def before_train_epoch(self, runner: Runner) -> None:
        # Not in before_train: CheckpointHook and others set themselves up there, and validation calls them.
        if self._due:
            self._due = False
            if runner.iter == 0 and self._transfer is not None and self._transfer.source_classifier:
                self._append(source_row(runner, self._metric, self._transfer, self._snapshots))
            elif runner.iter == 0:
                runner.logger.warning(
                    'what the source model itself sees is not recorded: no HeadTransferHook has carried a '
                    "source checkpoint's decode_head over"
                )
            runner.val_loop.run()
        elif self._recorded:
            # What a kill may have taken away behind the row: the checkpoint of a best score.
            add_nulls(runner, self._recorded)
            for hook in checkpoint_hooks(runner):
                hook.after_val_epoch(runner, self._recorded)
        self._recorded = {}

    def before_val(self, runner: Runner) -> None:
        self._started = time.perf_counter()
        self._random_states = random_states()

    def after_val(self, runner: Runner) -> None:
        # What validation drew, for its data loader's workers, must not change what training draws.
        restore_random_states(self._random_states)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        if self._recording:
            self._snapshots.take(outputs or (), runner.iter)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        metrics = {} if metrics is None else metrics
        forget_stale_scores(runner, metrics)
        if not self._recording:
            return
        seconds = time.perf_counter() - self._started
        if self._forgetting is not None and self._forgetting.is_due(runner):
            self._append(self._forgetting.row(runner))
        loop = runner.val_loop
        if isinstance(loop, ProbeValLoop):
            # The probe's last: with it, a validation is complete.
            if SubsetName.FULL in loop.counted:
                self._append(self._validation_row(runner, loop.counted[SubsetName.FULL]))
            self._append(self._validation_row(runner, loop.counted[SubsetName.PROBE], SubsetName.PROBE))
        else:
            self._append(self._validation_row(runner, count_pass(runner.val_loop.evaluator, seconds)))
        add_nulls(runner, metrics)

    def after_train(self, runner: Runner) -> None:
        self._recording = False

    def _claim(self, runner: Runner, resumed: bool) -> None:
        claim_work_dir(runner.work_dir)
        if not resumed and not self.overwrite:
            refuse_recorded(runner.work_dir)

    def _check_data(self, runner: Runner) -> list[int] | None:
        """Check all label maps, or their headers alone; returns the images of the probe, if there is one."""
        metric, loop = self._metric, runner.val_loop
        pixels = None
        for split, loader in (('train', runner.train_dataloader), ('val', loop.dataloader)):
            if not self.check_labels and (split == 'train' or not isinstance(loop, ProbeValLoop)):
                check_headers(loader.dataset, split == 'train')
                continue
            pixels = count_label_pixels(
                loader.dataset, len(metric.classes), metric.ignore_index, split == 'train'
            )
            for warning in pixel_warnings(split, pixels, metric.classes, metric.ignore_index):
                runner.logger.warning(warning)
        return choose_probe(pixels.labelled, loop.probe_images) if isinstance(loop, ProbeValLoop) else None

    def _build_forgetting(self, runner: Runner) -> ForgettingPass | None:
        if self.forgetting is None:
            return None
        metric, transfer = self._metric, self._transfer
        matches = transfer.matches if transfer else match_classes(metric.source, metric.classes)
        return ForgettingPass(
            runner,
            target=metric.classes,
            matches=matches,
            ignore_index=metric.ignore_index,
            **self.forgetting,
        )

    def _open_record(self, runner: Runner, probe: list[int] | None, resumed: bool) -> list[dict[str, Any]]:
        """Begin the record or go on with it; returns its rows."""
        val, train = runner.val_dataloader.dataset, runner.train_dataloader.dataset
        names = None if probe is None else [image_list(val)[i] for i in probe]
        header = run_header(runner, self._metric, val, train, names)
        if resumed and self._writer.path.exists():
            # Before anything is cut.
            check_continuation(runner, read_history(self._writer.path).header, header)
            return self._writer.resume(
                runner.iter, subset_name(val) if probe is None else SubsetName.PROBE
            ).rows
        if self.overwrite and not resumed:
            clear_work_dir(runner.work_dir)
        if runner.iter > 0:
            header['begun_at'] = runner.iter
            runner.logger.warning(
                f'{self._writer.path} is missing: a record is begun at iteration {runner.iter}, '
                'without what was before'
            )
        self._writer.start(header)
        return []

    def _validation_row(self, runner: Runner, counted: Counted, subset: str | None = None) -> dict | None:
        if counted.counts is None:
            return None
        metric = self._metric
        scores = scores_from_confusion(counted.confusion, metric.classes, metric.seen)
        if subset == SubsetName.PROBE:
            matrices = (add_sparse([counts], metric.shape) for counts in counted.counts)
            scores['interval'] = bootstrap_interval(matrices, metric.classes, metric.seen)
        scores |= counted.boundaries
        subset = subset or subset_name(runner.val_dataloader.dataset)
        images = len(counted.counts)
        return make_row(
            runner.iter, Kind.VALIDATION, subset, scores, counted.confusion, images, counted.seconds
        )

    def _append(self, row: dict[str, Any] | None) -> None:
        # Only the main process has rows; a full disk must not leave the others waiting for it.
        from_main_process(lambda: self._writer.append(row) if row else None)


def _refuse_twice(runner: Runner) -> None:
    for kind in (AdaptationHook, HeadTransferHook):
        if (count := sum(isinstance(hook, kind) for hook in runner.hooks)) > 1:
            raise ValueError(
                f'{kind.__name__} is there {count} times, but works once: leave one of it in custom_hooks'
            )


def _find_metric(runner: Runner) -> AdaptationMetric:
    metric = runner.val_loop and find_metric(runner.val_evaluator, AdaptationMetric)
    if metric is None:
        metrics = runner.val_evaluator.metrics if runner.val_loop is not None else []
        raise ValueError(
            "AdaptationHook needs val_evaluator=dict(type='AdaptationMetric'), but got "
            f'{[type(metric).__name__ for metric in metrics]}'
        )
    return metric


def _check_end(runner: Runner) -> None:
    if runner.iter <= runner.max_iters:
        return
    if runner._load_from is not None and runner._load_from == runner.cfg.get('load_from'):
        raise ValueError(
            f'resumed from load_from={runner._load_from} at iteration {runner.iter}, beyond '
            f'train_cfg.max_iters={runner.max_iters}. A checkpoint of this run needs a larger max_iters; the '
            'source is none to resume from, as MMEngine does where load_from is set: unset it, or use this '
            "project's tools/train.py --resume"
        )
    raise ValueError(
        f'the run in {runner.work_dir} is at iteration {runner.iter}, beyond train_cfg.max_iters='
        f'{runner.max_iters}: nothing is left to train. To go on set max_iters, and the end of '
        'param_scheduler, to more; to train less start a new run in another --work-dir'
    )


def _check_label_spaces(metric: AdaptationMetric, transfer: HeadTransferHook | None) -> None:
    if transfer is None:
        return
    for what, own, other in (
        ('target', transfer.target, metric.classes),
        ('source', transfer.source, metric.source),
    ):
        if own != other:
            raise ValueError(
                f"HeadTransferHook's {what} has the classes {', '.join(own)}, but "
                f'{"the validation set" if what == "target" else "AdaptationMetric"} has {", ".join(other)}: '
                'give both the same, in the same order'
            )
