"""A few images every time, all of them now and then."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from mmseg_deeplab_study.digests import names_digest
from mmseg_deeplab_study.evaluation.bootstrap import bootstrap_interval
from mmseg_deeplab_study.runs.history import read_history


class Witness(Hook):
    """Which images were evaluated at each iteration, what they counted, and the metrics other hooks get."""

    priority = 'LOW'

    def __init__(self) -> None:
        self.images, self.metrics = {}, {}

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for sample in outputs:
            prediction, label = sample.pred_sem_seg.data[0].numpy(), sample.gt_sem_seg.data[0].numpy()
            counts = np.zeros((19, 19), int)
            np.add.at(counts, (label[label != 255], prediction[label != 255]), 1)
            self.images.setdefault(runner.iter, []).append((Path(sample.img_path).stem, counts))

    def after_val_epoch(self, runner, metrics=None) -> None:
        self.metrics[runner.iter] = dict(metrics)


def make(make_tiny_cityscapes, make_config, folder: Path, **val_cfg):
    root = make_tiny_cityscapes(folder, val=5)
    # A class that only one image has.
    path = root / 'gtFine/val/tiny/tiny_000003_gtFine_labelTrainIds.png'
    label = np.array(Image.open(path))
    label[16:32, 16:32] = 6
    Image.fromarray(label).save(path)
    config = make_config(root, folder / 'work')
    config.val_cfg = dict(type='ProbeValLoop', **val_cfg)
    config.custom_hooks = [dict(type='AdaptationHook', snapshots=2)]
    config.train_cfg.update(max_iters=11, val_interval=2)
    config.default_hooks.checkpoint.update(save_best='mIoU')
    return config


@pytest.fixture(scope='module')
def run(tmp_path_factory, make_tiny_cityscapes, make_config) -> tuple[Runner, Witness]:
    folder = tmp_path_factory.mktemp('probe')
    config = make(make_tiny_cityscapes, make_config, folder, probe=2, full_interval=3)
    runner, witness = Runner.from_cfg(config), Witness()
    runner.register_hook(witness)
    runner.train()
    return runner, witness


@pytest.mark.slow
def test_the_probe_is_recorded_and_has_every_class(run):
    runner, _ = run
    header, rows = read_history(runner.work_dir)
    names = header['probe']['names']
    assert header['probe'] == {'images': 2, 'digest': names_digest(names), 'names': names}
    assert 'tiny_000003_leftImg8bit.png' in names
    row = next(row for row in rows if row['subset'] == 'probe')
    counts = zip(header['target_classes'], row['confusion'], strict=True)
    present = [name for name, count in counts if sum(count)]
    assert present == ['road', 'building', 'traffic light', 'person', 'car']
    for iteration in (0, 2, 4, 6, 8, 10, 11):
        pictures = (Path(runner.work_dir) / f'snapshots/{iteration:06d}').iterdir()
        assert sorted(path.name for path in pictures) == sorted(names)


def test_the_whole_set_is_due_at_every_third_validation_at_a_best_probe_and_at_the_end(run):
    runner, witness = run
    history = read_history(runner.work_dir)
    probe = {row['iter']: row for row in history.select('validation', 'probe')}
    assert list(probe) == [0, 2, 4, 6, 8, 10, 11]
    best, due = float('-inf'), []
    for iteration, row in probe.items():
        # validations 0, 1, 2, ...: the third is at 6
        if iteration in (0, 6, 11) or row['mIoU'] > best:
            due.append(iteration)
        best = max(best, row['mIoU'])
    assert [row['iter'] for row in history.validations] == due
    assert len(due) < len(probe)
    for iteration, images in witness.images.items():
        scheduled = iteration in (0, 6, 11)
        assert len(images) == (5 if scheduled else 2 + 5 * (iteration in due))


def test_rows_of_the_probe(run):
    runner, witness = run
    history = read_history(runner.work_dir)
    stems = [Path(name).stem for name in history.header['probe']['names']]
    metric = next(iter(runner.val_evaluator.metrics))
    for row in history.select('validation', 'probe'):
        counts = np.array([dict(witness.images[row['iter']])[stem] for stem in stems])
        np.testing.assert_array_equal(row['confusion'], counts.sum(0))
        assert row['images'] == 2
        assert row['interval'] == bootstrap_interval(counts, metric.classes, metric.seen)
        assert witness.metrics[row['iter']]['probe/mIoU'] == row['mIoU']
        assert 'probe/IoU.car' in witness.metrics[row['iter']]
    for row in history.validations:
        # all five images, each once, even where the probe was evaluated before
        counts = dict(witness.images[row['iter']])
        np.testing.assert_array_equal(row['confusion'], sum(counts.values()))
        assert row['images'] == 5 and 'interval' not in row


def test_hooks_see_scores_of_the_whole_set_only_where_it_was_looked_at(run):
    runner, _ = run
    rows = read_history(runner.work_dir).validations
    best = max(rows, key=lambda row: row['mIoU'])
    (path,) = Path(runner.work_dir).glob('best_mIoU_*.pth')
    assert path.name == f'best_mIoU_iter_{best["iter"]}.pth'
    (path,) = Path(runner.work_dir).glob('*/vis_data/scalars.json')
    lines = map(json.loads, path.read_text().splitlines())
    validated = {line['step']: line for line in lines if 'probe/mIoU' in line}
    assert list(validated) == [0, 2, 4, 6, 8, 10, 11]
    for step, line in validated.items():
        assert ('mIoU' in line) == ('IoU.road' in line) == (step in [row['iter'] for row in rows])


def test_outside_training_the_whole_set_is_evaluated(run):
    runner, _ = run
    cfg = runner.cfg.copy()
    cfg.work_dir = str(Path(runner.work_dir).parent / 'val')
    cfg.experiment_name = 'outside'
    cfg.default_hooks.checkpoint.save_best = None  # MMEngine 0.10.7 saves it only after a before_train
    metrics = Runner.from_cfg(cfg).val()
    assert 'mIoU' in metrics and not any(key.startswith('probe/') for key in metrics)


@pytest.mark.parametrize(
    ('val_cfg', 'message'),
    [
        (dict(probe=0), 'val_cfg.probe must be at least 1, but got 0'),
        (dict(full_interval=0), 'val_cfg.full_interval must be at least 1, but got 0'),
        (dict(probe=6), '6'),
    ],
    ids=str,
)
def test_what_it_refuses(make_tiny_cityscapes, make_config, tmp_path, val_cfg, message):
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(make(make_tiny_cityscapes, make_config, tmp_path, **val_cfg)).train()
