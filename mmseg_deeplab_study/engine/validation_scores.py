"""What the record and MMEngine's own hooks get of a validation's scores."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..evaluation.bootstrap import bootstrap_interval
from ..evaluation.metrics.adaptation_metric import AdaptationMetric
from ..evaluation.metrics.boundary_metric import flat_boundary_scores
from ..evaluation.metrics.confusion import add_sparse
from ..evaluation.metrics.counted import Counted
from ..evaluation.metrics.scores import LABELLED, MEAN_IOUS, flat_scalars, scores_from_confusion
from ..runs.history import Kind, SubsetName, make_row

MEANS = (*MEAN_IOUS, 'aAcc', 'mAcc', *LABELLED)
PARTS = ('IoU.', 'BIoU', 'trimap.')


def checkpoint_hooks(runner: Runner) -> list[CheckpointHook]:
    """Return the runner's hooks that save checkpoints."""
    return [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]


def check_best_scores(runner: Runner, metric: AdaptationMetric) -> None:
    """Refuse a best checkpoint by a score that no validation gives.

    Raises:
        ValueError: names ``save_best``, and the scores that there are.
    """
    if any(not isinstance(other, AdaptationMetric) or other.prefix for other in runner.val_evaluator.metrics):
        return  # only another metric knows its scores
    known = [*MEANS, *(f'IoU.{name}' for name in metric.classes)]
    for hook in checkpoint_hooks(runner):
        for key in [hook.save_best] if isinstance(hook.save_best, str) else hook.save_best or ():
            if key != 'auto' and key.removeprefix(f'{SubsetName.PROBE}/') not in known:
                near = get_close_matches(key, known, n=1)
                raise ValueError(
                    f'default_hooks.checkpoint.save_best={key!r} is no score of a validation'
                    f'{f"; did you mean {near[0]!r}?" if near else "."} Expected one of {", ".join(MEANS)} '
                    'and IoU.CLASS'
                )


def add_nulls(runner: Runner, metrics: dict[str, float | None]) -> None:
    """Add a null for each best score that a validation does not have.

    CheckpointHook ignores a best score of None, of an absent class or of the whole set where only the probe
    was evaluated; a missing one ends the run.
    """
    for hook in checkpoint_hooks(runner):
        for key in getattr(hook, 'key_indicators', None) or ():
            if key != 'auto':
                metrics.setdefault(key, None)


def metrics_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Rebuild the metrics that hooks got from the rows of one iteration."""
    metrics = {}
    for row in rows:
        if row['kind'] == Kind.VALIDATION:
            # A row of an older record may lack the means over the labelled classes.
            flat = flat_scalars({key: row.get(key) for key in (*MEANS, 'class_iou')})
            prefix = f'{SubsetName.PROBE}/' if row['subset'] == SubsetName.PROBE else ''
            metrics |= {prefix + key: value for key, value in (flat | flat_boundary_scores(row)).items()}
    return metrics


def forget_stale_scores(runner: Runner, metrics: Mapping[str, float]) -> None:
    """Remove from MMEngine's log the scores that ``metrics`` do not have.

    Its message hub would log them, of a class that is now absent or of the whole set where only the probe was
    evaluated, with their values of an earlier validation.
    """
    scalars = runner.message_hub.log_scalars
    for key in [key for key in scalars if key.startswith('val/')]:
        name = key.removeprefix('val/')
        score = name.rpartition('/')[2]
        if (score in MEANS or score.startswith(PARTS)) and name not in metrics:
            del scalars[key]


def validation_row(
    metric: AdaptationMetric, counted: Counted, iteration: int, subset: str
) -> dict[str, Any] | None:
    """Make the record's row of a pass; None but on the main process.

    The probe's has the bootstrap intervals of its means.
    """
    if counted.counts is None:
        return None
    scores = scores_from_confusion(counted.confusion, metric.classes, metric.seen)
    if subset == SubsetName.PROBE:
        matrices = (add_sparse([counts], metric.shape) for counts in counted.counts)
        scores['interval'] = bootstrap_interval(matrices, metric.classes, metric.seen)
    scores |= counted.boundaries
    images = len(counted.counts)
    return make_row(iteration, Kind.VALIDATION, subset, scores, counted.confusion, images, counted.seconds)
