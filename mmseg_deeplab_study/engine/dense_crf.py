"""Dense CRF and the record: refused in training, recorded in a test."""

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from ..datasets.subsets import image_paths
from ..evaluation.metrics.adaptation_metric import AdaptationMetric
from ..evaluation.metrics.boundary_metric import BoundaryMetric
from ..evaluation.metrics.counted import as_list, find_metric, metric_config
from ..evaluation.metrics.scores import scores_from_confusion
from ..models.crf_segmentors import refining_model
from ..models.segmentors import bare_model
from ..runs.header import describe_dataset, subset_name
from ..runs.history import FILE_NAME, HistoryWriter, Kind, make_row, read_history
from ..runs.main_process import from_main_process
from ..runs.random_states import kept_random_states
from ..runs.snapshots import Snapshots
from ..runs.work_dir import claim_work_dir
from .probe_loop import ProbeValLoop

UNREFINED = 'unrefined'  # prefix of the scores without, as tools/test.py --crf prints them
REFINED, UNREFINED_FIELD = 'pred_sem_seg', 'unrefined_sem_seg'  # of a sample
_SIDE = 256  # pixels of the crop that the cost is measured on


def refuse_dense_crf(runner: Runner) -> None:
    """Refuse to train with a model that refines images; say what it would cost.

    Raises:
        ValueError: the model has a dense CRF.
    """
    if getattr(bare_model(runner.model), 'dense_crf', None) is None:
        return
    loop = runner.train_loop
    images, validations = len(runner.val_dataloader.dataset), loop.max_iters // loop.val_interval + 1
    if isinstance(runner.val_loop, ProbeValLoop):
        images = min(images, runner.val_loop.probe_images)
    seconds, (height, width) = _seconds_per_image(runner)
    in_all = timedelta(seconds=round(seconds * images * validations))
    raise ValueError(
        f'model.test_cfg.crf: refining an image of {height}x{width} takes about {seconds:.1f} s here, so '
        f'{images} images at each of {validations} validations would take {in_all}. Train without it '
        '(--cfg-options model.test_cfg.crf=None), then refine a checkpoint once: tools/test.py CONFIG '
        'CHECKPOINT --crf'
    )


def _seconds_per_image(runner: Runner) -> tuple[float, tuple[int, int]]:
    """Time for a validation image, and its size; measured on a crop, as time is linear in pixels."""
    model = bare_model(runner.model)
    with kept_random_states():
        packed = runner.val_dataloader.dataset[0]
        size = tuple(packed['data_samples'].ori_shape[:2])
        image = packed['inputs'][:, :_SIDE, :_SIDE]
        logits = torch.randn(1, model.out_channels, *image.shape[1:])
    device = next(model.parameters()).device
    logits, image = logits.to(device), image.to(device, torch.uint8)
    model.dense_crf(logits, image[None])  # the first call also starts things up
    started = time.perf_counter()
    # To the CPU: a GPU is not done when the call returns.
    model.dense_crf(logits, image[None]).cpu()
    seconds = time.perf_counter() - started
    return seconds * size[0] * size[1] / image[0].numel(), size


@HOOKS.register_module()
class DenseCRFRecordHook(Hook):
    """Put the test of a run's checkpoint with dense CRF into the run's record.

    ``tools/test.py --crf`` adds it. Appends a row of the kind ``"crf"`` to ``adaptation.jsonl`` in the
    checkpoint's folder, with the CRF's parameters, and writes refined label maps of the images of its
    snapshots to ``snapshots/crf/<iteration>/``. Records nothing, and says so, where the record has no
    validation of the checkpoint's iteration on the same images.

    Args:
        folder: of the checkpoint.

    Raises:
        RuntimeError: the run still trains.
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self._iteration: int | None = None
        self._snapshots: Snapshots | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Note the checkpoint's iteration."""
        self._iteration = (checkpoint.get('meta') or {}).get('iter')

    def before_test(self, runner: Runner) -> None:
        """Claim the folder, or say why nothing is recorded."""
        self._started = time.perf_counter()
        reason = from_main_process(lambda: self._claim(runner))
        if reason is not None:
            runner.logger.warning(
                f'{self.folder / FILE_NAME}: scores with dense CRF are not recorded: {reason}'
            )
            return
        dataset = runner.test_dataloader.dataset
        reference = self.folder / 'snapshots' / 'reference'
        kept = {path.name.removesuffix('_truth.png') for path in reference.glob('*_truth.png')}
        paths = image_paths(dataset)
        self._snapshots = Snapshots(
            self.folder / 'snapshots',
            [path for path in paths if Path(path).stem in kept],
            runner.test_evaluator.dataset_meta['palette'],
        )

    def _claim(self, runner: Runner) -> str | None:
        """Why nothing is recorded; None once the folder is this run's."""
        for kind in (AdaptationMetric, BoundaryMetric):
            if any(
                find_metric(runner.test_evaluator, kind, name) is None for name in (REFINED, UNREFINED_FIELD)
            ):
                return f'test_evaluator has no {kind.__name__} of both predictions'
        header, rows = read_history(self.folder)
        dataset = runner.test_dataloader.dataset
        validated = {(row['iter'], row['subset']) for row in rows if row['kind'] == Kind.VALIDATION}
        if (self._iteration, subset_name(dataset)) not in validated:
            return f"it has no validation at the checkpoint's iteration, {self._iteration}"
        if header.get('validation') != describe_dataset(dataset):
            return 'the test images are not those that the run was validated on'
        claim_work_dir(self.folder)
        return None

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        """Write the refined pictures of a batch."""
        if self._snapshots is not None:
            self._snapshots.take(outputs or (), f'{Kind.CRF}/{self._iteration:06d}')

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Append the row."""
        metric = find_metric(runner.test_evaluator, AdaptationMetric)
        if self._snapshots is None or metric.counts is None:
            return
        seconds = time.perf_counter() - self._started
        crf = bare_model(runner.model).dense_crf
        scores = _scores(runner.test_evaluator, REFINED)
        scores['unrefined'] = _scores(runner.test_evaluator, UNREFINED_FIELD)
        scores['crf'] = {**crf.parameters, 'backend': crf.backend}
        subset = subset_name(runner.test_dataloader.dataset)
        row = make_row(self._iteration, Kind.CRF, subset, scores, metric.confusion, metric.images, seconds)
        HistoryWriter(self.folder / FILE_NAME).append(row)
        runner.logger.info(f'{self.folder / FILE_NAME}: recorded the scores with dense CRF')


def _scores(evaluator: Evaluator, predictions: str) -> dict[str, Any]:
    """Scores of all images, from the metrics of those predictions."""
    metric = find_metric(evaluator, AdaptationMetric, predictions)
    scores = scores_from_confusion(metric.confusion, metric.classes, metric.seen)
    return scores | find_metric(evaluator, BoundaryMetric, predictions).scores(range(metric.images))


def enable_dense_crf(cfg: Config) -> None:
    """Test with dense CRF and without in one pass, and record both.

    A config that only writes predictions to files has no scores.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    refining_model(cfg)
    evaluators = as_list(cfg.test_evaluator)
    if evaluators and all(config.get('format_only') for config in evaluators):
        return
    # With the same parameters as while training.
    boundary = metric_config([*evaluators, *as_list(cfg.get('val_evaluator'))], BoundaryMetric)
    if boundary not in evaluators:
        evaluators.append(boundary)
    for config in (metric_config(evaluators, AdaptationMetric), boundary):
        evaluators.append({**config, 'predictions': UNREFINED_FIELD, 'prefix': UNREFINED})
    cfg.test_evaluator = evaluators
    if (folder := Path(cfg.load_from).parent).joinpath(FILE_NAME).is_file():
        hook = dict(type='DenseCRFRecordHook', folder=str(folder))
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
