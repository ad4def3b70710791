"""What MMEngine's own hooks are told of a validation's scores."""

from types import SimpleNamespace

import pytest
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub

from mmseg_deeplab_study.engine.validation_scores import check_best_scores, forget_stale_scores, metrics_of
from mmseg_deeplab_study.evaluation.metrics.adaptation_metric import AdaptationMetric


def best_by(save_best: str | list[str] | None, *others: object) -> None:
    metric = AdaptationMetric()
    metric.dataset_meta = dict(classes=('road', 'car'))
    hooks = [CheckpointHook(save_best=save_best, rule='greater')]
    check_best_scores(
        SimpleNamespace(hooks=hooks, val_evaluator=SimpleNamespace(metrics=[metric, *others])), metric
    )


@pytest.mark.parametrize('key', [None, 'auto', 'mIoU', 'IoU.car', ['probe/mIoU', 'mIoU.seen']])
def test_best_scores_that_there_are(key):
    best_by(key)


@pytest.mark.parametrize(
    ('key', 'meant'), [('mIOU', "; did you mean 'mIoU'\\?"), (['mIoU', 'IoU.wall'], '.*'), ('loss', '.')]
)
def test_a_best_score_that_no_validation_gives(key, meant):
    unknown = key if isinstance(key, str) else key[-1]
    message = f'save_best={unknown!r} is no score of a validation{meant} Expected one of mIoU,'
    with pytest.raises(ValueError, match=message):
        best_by(key)
    # Whose scores only it knows.
    best_by(key, SimpleNamespace(prefix=None))


def test_forgetting_absent_scores_leaves_everything_else():
    hub = MessageHub.get_instance('test_forgetting_absent_scores')
    stale = {'IoU.wall', 'mIoU.seen.labelled', 'mIoU.seen', 'night/IoU.wall', 'BIoU', 'BIoU.wall', 'trimap.4'}
    metrics = {'IoU.road': 1.0, 'BIoU.road': 1.0, 'night/IoU.road': 1.0, 'mIoU': 1.0}
    kept = {'train/IoU.wall', 'val/time', *(f'val/{key}' for key in metrics)}
    for key in (*kept, *(f'val/{key}' for key in stale)):
        hub.update_scalar(key, 1.0)
    forget_stale_scores(SimpleNamespace(message_hub=hub), metrics)
    assert set(hub.log_scalars) == kept


def test_metrics_of_rows_are_those_of_their_validation():
    means = {'mIoU': 3.0, 'aAcc': 4.0, 'mAcc': 5.0, 'mIoU.seen': None, 'mIoU.unseen': 3.0}
    row = {**means, 'class_iou': {'road': 3.0, 'wall': None}, 'kind': 'validation', 'subset': 'full'}
    edges = {
        'BIoU': 2.0,
        'class_biou': {'road': 2.0, 'wall': None},
        'trimap': {'4': {'mIoU': 1.0, 'class_iou': {'road': 1.0}}},
    }
    plain = {'mIoU': 3.0, 'aAcc': 4.0, 'mAcc': 5.0, 'mIoU.unseen': 3.0, 'IoU.road': 3.0}
    both = plain | {'BIoU': 2.0, 'BIoU.road': 2.0, 'trimap.4': 1.0}
    assert metrics_of([row]) == plain
    assert metrics_of([row | {'mIoU.labelled': 2.0}]) == plain | {'mIoU.labelled': 2.0}
    assert metrics_of([row | edges, row | {'kind': 'forgetting', 'mIoU': 9.0}]) == both
    assert metrics_of([row | edges | {'subset': 'probe'}]) == {f'probe/{k}': v for k, v in both.items()}
