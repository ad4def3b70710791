"""Check all that could stop a recorded run later, before it trains."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..datasets.label_maps import check_headers, count_label_pixels, pixel_warnings
from ..datasets.probe import choose_probe
from ..evaluation.metrics.adaptation_metric import AdaptationMetric
from ..evaluation.metrics.counted import find_metric
from ..models.segmentors import bare_model
from ..runs.batches import check_batches
from ..runs.main_process import from_main_process
from ..runs.parts import unused_custom_keys
from ..runs.rehearsal import rehearse
from ..runs.resuming import is_resumed, loaded_from
from ..runs.work_dir import claim_work_dir, refuse_recorded
from .dense_crf import refuse_dense_crf
from .exact_checkpoint import ExactCheckpointHook
from .head_transfer import HeadTransferHook
from .probe_loop import ProbeValLoop
from .schedule import require_iterations
from .validation_scores import check_best_scores


class Recorder(Protocol):
    """What the checks ask of ``AdaptationHook``."""

    check_labels: bool
    overwrite: bool


def check_arguments(snapshots: Any, forgetting: Any) -> None:
    """Raise ValueError for an argument that ``AdaptationHook`` does not take."""
    if not isinstance(snapshots, int | str | list | tuple) or (isinstance(snapshots, int) and snapshots < 0):
        raise ValueError(f'snapshots must be a number of images, or their stems, but got {snapshots!r}')
    if forgetting is not None and 'dataloader' not in (forgetting if isinstance(forgetting, Mapping) else ()):
        raise ValueError(
            f'forgetting must be None or dict(dataloader=dict(...), interval=1), but got {forgetting!r}'
        )


def preflight(runner: Runner, hook: Recorder) -> tuple[AdaptationMetric, Sequence[int] | None]:
    """Check everything, on all ranks alike; returns the metric and the probe.

    The probe is the places of its images in the validation set, or None without ``ProbeValLoop``.

    Raises:
        ValueError: the config's parts do not fit one another or the data; names them.
        FileNotFoundError: a photograph or label map is missing.
        FileExistsError: a fresh run would overwrite another's record.
        RuntimeError: another run uses the folder.
    """
    require_iterations(runner, hook)
    for kind in (type(hook), HeadTransferHook):
        if (count := sum(isinstance(other, kind) for other in runner.hooks)) > 1:
            raise ValueError(f'the config has {count} {kind.__name__}s, expected one: remove the others')
    metric = _find_metric(runner)
    refuse_dense_crf(runner)
    head_classes = getattr(bare_model(runner.model).decode_head, 'num_classes', len(metric.classes))
    if head_classes != len(metric.classes):
        raise ValueError(
            f'decode_head.num_classes is {head_classes}, but the validation set has '
            f'{len(metric.classes)} classes'
        )
    _check_label_spaces(metric, find_transfer(runner))
    _check_end(runner)
    from_main_process(lambda: _claim(runner, hook))
    check_batches(runner)
    check_best_scores(runner, metric)
    probe = from_main_process(lambda: _check_data(runner, metric, hook.check_labels))
    rehearse(runner)
    _warn_of_custom_keys(runner)
    warn_of_checkpoints(runner)
    return metric, probe


def find_transfer(runner: Runner) -> HeadTransferHook | None:
    """The runner's ``HeadTransferHook``, or None."""
    return next((hook for hook in runner.hooks if isinstance(hook, HeadTransferHook)), None)


def _claim(runner: Runner, hook: Recorder) -> None:
    claim_work_dir(runner.work_dir)
    if not is_resumed(runner) and not hook.overwrite:
        refuse_recorded(runner.work_dir)


def _check_data(runner: Runner, metric: AdaptationMetric, check_labels: bool) -> list[int] | None:
    """Check all label maps, or their headers alone; returns the probe's images if there is a probe."""
    loop, pixels = runner.val_loop, None
    probed = isinstance(loop, ProbeValLoop)
    for split, loader in (('train', runner.train_dataloader), ('val', loop.dataloader)):
        trained = split == 'train'
        if not check_labels and (trained or not probed):
            check_headers(loader.dataset, trained)
            continue
        pixels = count_label_pixels(loader.dataset, len(metric.classes), metric.ignore_index, trained)
        for warning in pixel_warnings(split, pixels, metric.classes, metric.ignore_index):
            runner.logger.warning(warning)
    return choose_probe(pixels.labelled, loop.probe_images) if probed else None


def _warn_of_custom_keys(runner: Runner) -> None:
    parameters = dict(bare_model(runner.model).named_parameters())
    for key in unused_custom_keys(runner.cfg, parameters):
        runner.logger.warning(
            f'optim_wrapper.paramwise_cfg.custom_keys: no parameter has {key!r} in its name, so it '
            f'changes nothing; first parameters: {", ".join(list(parameters)[:3])}'
        )


def warn_of_checkpoints(runner: Runner) -> None:
    """Warn of a hook whose checkpoints cannot be resumed exactly, or not loaded."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and not isinstance(hook, ExactCheckpointHook):
            runner.logger.warning(
                f'default_hooks.checkpoint is a {type(hook).__name__}, expected an ExactCheckpointHook: '
                'torch since 2.6 refuses its checkpoints, and a resume is not exact; see docs/reuse.md'
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
    checkpoint = loaded_from(runner)
    if checkpoint is not None and checkpoint == runner.cfg.get('load_from'):
        raise ValueError(
            f'resumed from load_from={checkpoint} at iteration {runner.iter}, beyond '
            f'train_cfg.max_iters={runner.max_iters}. If it is of this run, raise max_iters. If it is the '
            'source, MMEngine took it because load_from is set: unset that, or resume with this '
            "project's tools/train.py --resume"
        )
    raise ValueError(
        f'the run in {runner.work_dir} is at iteration {runner.iter}, beyond train_cfg.max_iters='
        f'{runner.max_iters}: nothing is left to train. To train on, raise max_iters and the end of '
        'param_scheduler; to train less, start a new run in another --work-dir'
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
