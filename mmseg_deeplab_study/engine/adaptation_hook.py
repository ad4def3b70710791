"""Watch a model adapt: iteration 0, every validation, pictures of both."""

import hashlib
import json
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample
from torch.utils.data import Dataset

from ..datasets.label_maps import check_label_maps, write_label_map
from ..datasets.subsets import digest, image_list
from ..evaluation.adaptation_metric import AdaptationMetric, scores_from_confusion
from ..evaluation.history import FILE_NAME, History, HistoryWriter
from ..version import __version__

PACKAGES = ('mmsegmentation', 'mmengine', 'mmpretrain', 'torch', 'numpy')
# What changes between a run and its repetition without changing the experiment.
_NOT_THE_EXPERIMENT = ('work_dir', 'resume', 'launcher', 'log_level')


def config_digest(cfg: Config) -> str:
    """SHA-256 of the resolved config, less what does not alter the experiment."""
    content = {k: v for k, v in cfg.to_dict().items() if k not in _NOT_THE_EXPERIMENT}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def choose_images(paths: Sequence[str], wanted: int | str | Sequence[str]) -> list[str]:
    """Pick images to take snapshots of: so many, evenly spaced, or those with the stems given.

    Raises:
        ValueError: no image has such a stem.
    """
    if isinstance(wanted, int):
        places = np.linspace(0, len(paths) - 1, min(wanted, len(paths))).round().astype(int)
        return [paths[i] for i in places]
    wanted = [wanted] if isinstance(wanted, str) else wanted
    by_stem = {Path(path).stem: path for path in paths}
    if unknown := [stem for stem in wanted if stem not in by_stem]:
        raise ValueError(
            f'snapshots: no validation image is called {unknown[0]!r}; there are {len(by_stem)}, '
            f'first {list(by_stem)[:3]}'
        )
    return [by_stem[stem] for stem in wanted]


@HOOKS.register_module()
class AdaptationHook(Hook):
    """Record how a model adapts.

    Validates once before the first update (iteration 0), on resuming also where a kill took a validation
    away between a checkpoint and its row, and then listens to every validation of the training
    loop: appends a row to ``work_dir/adaptation.jsonl`` and writes the predicted label maps of a few fixed
    validation images to ``work_dir/snapshots/<iteration>/<image stem>.png``; photographs and truths stand
    once in ``work_dir/snapshots/reference/`` as ``<stem><suffix>`` and ``<stem>_truth.png``. Needs
    ``AdaptationMetric`` in ``val_evaluator``.

    Args:
        snapshots: how many validation images, evenly spaced, or their stems.
        check_labels: read all label maps of training and validation before training.

    Raises:
        ValueError: before training, if the metric is missing or the data do not fit the label space.
        FileExistsError: before training, if a fresh run would write over another's record.
    """

    def __init__(self, snapshots: int | str | Sequence[str] = 4, check_labels: bool = True) -> None:
        self.snapshots = snapshots
        self.check_labels = check_labels
        self._recording = False
        self._validation_is_due = False
        self._started = 0.0

    def before_train(self, runner: Runner) -> None:
        metric = self._find_metric(runner)
        num_classes = len(metric.classes)
        head_classes = getattr(self._model(runner).decode_head, 'num_classes', num_classes)
        if head_classes != num_classes:
            raise ValueError(
                f'decode_head.num_classes is {head_classes}, but the validation set has {num_classes} classes'
            )
        val, train = runner.val_dataloader.dataset, runner.train_dataloader.dataset
        writer = HistoryWriter(Path(runner.work_dir) / FILE_NAME)
        if is_main_process():
            if runner.iter == 0:
                writer.refuse_existing()
            if self.check_labels:
                for dataset in (val, train):
                    check_label_maps(dataset, num_classes, metric.ignore_index)
        paths = [val.get_data_info(i)['img_path'] for i in range(len(val))]
        self._images = set(choose_images(paths, self.snapshots))
        due = [runner.iter == 0]
        if is_main_process():
            if runner.iter > 0 and writer.path.exists():
                kept = writer.resume(runner.iter)
                due = [_validation_was_lost(runner, kept)]
            else:
                writer.start(self._header(runner, metric, val, train))
        broadcast_object_list(due)
        self._validation_is_due = due[0]
        self._writer, self._metric, self._recording = writer, metric, True

    def before_train_epoch(self, runner: Runner) -> None:
        # Not in before_train: CheckpointHook and others set themselves up there, and validation calls them.
        if self._validation_is_due:
            self._validation_is_due = False
            runner.val_loop.run()

    def before_val(self, runner: Runner) -> None:
        self._started = time.perf_counter()
        self._random_states = _random_states()

    def after_val(self, runner: Runner) -> None:
        # What validation drew, for its data loader's workers, must not change what training draws.
        _restore_random_states(self._random_states)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        if not self._recording:
            return
        folder = Path(runner.work_dir) / 'snapshots'
        palette = self._metric.dataset_meta['palette']
        for sample in outputs or ():
            if sample.img_path not in self._images:
                continue
            image = Path(sample.img_path)
            prediction = sample.pred_sem_seg.data.squeeze(0).cpu().numpy()
            write_label_map(folder / f'{runner.iter:06d}' / f'{image.stem}.png', prediction, palette)
            reference = folder / 'reference' / image.name
            if not reference.exists():
                truth = sample.gt_sem_seg.data.squeeze(0).cpu().numpy()
                write_label_map(reference.with_name(f'{image.stem}_truth.png'), truth, palette)
                reference.write_bytes(get(sample.img_path))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        _forget_absent_classes(runner, metrics or {})
        if not self._recording or not is_main_process():
            return
        metric = self._metric
        row = {
            'iter': runner.iter,
            'kind': 'validation',
            'subset': _subset_name(runner.val_dataloader.dataset),
            **scores_from_confusion(metric.confusion, metric.classes, metric.seen),
            'confusion': metric.confusion.tolist(),
            'images': metric.images,
            'seconds': time.perf_counter() - self._started,
        }
        self._writer.append(row)

    def after_train(self, runner: Runner) -> None:
        self._recording = False

    @staticmethod
    def _model(runner: Runner) -> torch.nn.Module:
        return getattr(runner.model, 'module', runner.model)

    @staticmethod
    def _find_metric(runner: Runner) -> AdaptationMetric:
        metrics = runner.val_evaluator.metrics if runner.val_loop is not None else []
        for metric in metrics:
            if isinstance(metric, AdaptationMetric):
                return metric
        raise ValueError(
            "AdaptationHook needs val_evaluator=dict(type='AdaptationMetric'), but got "
            f'{[type(metric).__name__ for metric in metrics]}'
        )

    @staticmethod
    def _header(runner: Runner, metric: AdaptationMetric, val: Dataset, train: Dataset) -> dict:
        return {
            'source_classes': metric.source,
            'target_classes': metric.classes,
            'seen_classes': metric.seen,
            'experiment': runner.experiment_name,
            'seed': runner.seed,
            'load_from': runner.cfg.get('load_from'),
            'max_iters': runner.max_iters,
            'config_digest': config_digest(runner.cfg),
            'validation': _describe(val),
            'train': _describe(train),
            'versions': {
                'mmseg_deeplab_study': __version__,
                **{package: version(package) for package in PACKAGES},
            },
        }


def _forget_absent_classes(runner: Runner, metrics: dict[str, float]) -> None:
    # MMEngine's message hub would log a class that is now absent with its score of an earlier validation.
    scalars = runner.message_hub.log_scalars
    for key in [key for key in scalars if key.startswith('val/') and 'IoU.' in key]:
        if key.removeprefix('val/') not in metrics:
            del scalars[key]


def _validation_was_lost(runner: Runner, history: History) -> bool:
    # MMEngine saves the checkpoint of an iteration before it validates: a kill in between takes the row away.
    if not isinstance(runner.train_loop, IterBasedTrainLoop):
        return False
    iteration, every = runner.iter, runner.val_interval
    on_schedule = iteration >= runner.val_begin and (iteration % every == 0 or iteration == runner.max_iters)
    return on_schedule and iteration not in [row['iter'] for row in history.rows]


def _random_states() -> list[torch.Tensor]:
    cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *cuda]


def _restore_random_states(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if states[1:]:
        torch.cuda.set_rng_state(states[1])


def _subset_name(dataset: Dataset) -> str:
    return getattr(dataset, 'name', 'full')


def _describe(dataset: Dataset) -> dict:
    names = image_list(dataset)
    return {'subset': _subset_name(dataset), 'images': len(names), 'digest': digest(names)}
