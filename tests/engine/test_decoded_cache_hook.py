"""The hook in a real run: one line in the log, and the scores of a run without it."""

import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmseg.registry import DATASETS, HOOKS

from mmseg_deeplab_study.datasets.decoded_cache import LoadDecoded
from mmseg_deeplab_study.engine import DecodedCacheHook
from mmseg_deeplab_study.evaluation.metrics.adaptation_metric import AdaptationMetric
from mmseg_deeplab_study.runs.history import read_history

NOT_KEPT = 'Decoded validation images are not kept in memory'


def train(cfg) -> tuple[list[dict], str]:
    """Two iterations: rows of the record, without their seconds, and the log."""
    cfg.train_cfg.update(max_iters=2, val_interval=1)
    runner = Runner.from_cfg(cfg)
    runner.train()
    if cfg.val_dataloader.num_workers:
        # Left to the garbage collector, each worker takes five seconds to end.
        runner.val_dataloader._iterator._shutdown_workers()
    rows = read_history(Path(cfg.work_dir) / 'adaptation.jsonl').rows
    log = next(Path(cfg.work_dir).glob('*/*.log')).read_text()
    return [{key: value for key, value in row.items() if key != 'seconds'} for row in rows], log


@pytest.fixture
def root(tiny_cityscapes) -> Path:
    return tiny_cityscapes()


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 2])
def test_scores_are_those_without_it(workers, root, make_config, tmp_path):
    rows = []
    for name in ('with', 'without'):
        cfg = make_config(root, tmp_path / name)
        cfg.val_dataloader.update(num_workers=workers, persistent_workers=workers > 0)
        if name == 'without':
            del cfg.default_hooks.decoded_cache
        found, log = train(cfg)
        rows.append(found)
        line = 'Decoded validation images are kept in memory: 3 images and label maps'
        assert log.count(line) == (name == 'with')
    assert len(rows[0]) == 3 and rows[0] == rows[1]


def test_too_little_memory_is_said(root, make_config, tmp_path):
    cfg = make_config(root, tmp_path / 'work')
    cfg.default_hooks.decoded_cache.cache = '10KB'
    _, log = train(cfg)
    why = '3 images and label maps would take 0.00 GB, more than 0.00 GB'
    assert f'{NOT_KEPT}: {why}' in log


def runner_of(dataset, said: list[str]) -> SimpleNamespace:
    """As much of a Runner as the hook asks; what is logged goes to ``said``."""
    spawn = multiprocessing.get_context('spawn')
    return SimpleNamespace(
        val_loop=object(),
        val_dataloader=SimpleNamespace(dataset=dataset, num_workers=2, multiprocessing_context=spawn),
        val_evaluator=Evaluator([AdaptationMetric()]),
        logger=SimpleNamespace(info=said.append),
    )


def test_spawned_workers_cannot_share(root, make_config, tmp_path):
    dataset = DATASETS.build(make_config(root, tmp_path).val_dataloader.dataset)
    said = []
    runner = runner_of(dataset, said)
    hook = HOOKS.build(dict(type='DecodedCacheHook'))
    hook.before_train(runner)
    hook.before_train(runner)  # as a second runner.train() does
    assert said == [f"{NOT_KEPT}: its workers are not forked: mp_start_method is not 'fork'"]
    assert not any(isinstance(transform, LoadDecoded) for transform in dataset.pipeline.transforms)
    # Labels are small all the same.
    assert dataset[0]['data_samples'].gt_sem_seg.data.dtype == torch.uint8


def test_another_metric_gets_the_labels_it_knows(root, make_config, tmp_path):
    cfg = make_config(root, tmp_path / 'work')
    cfg.val_evaluator = dict(type='IoUMetric')
    cfg.custom_hooks = []
    runner = Runner.from_cfg(cfg)
    next(hook for hook in runner.hooks if isinstance(hook, DecodedCacheHook)).before_train(runner)
    assert runner.val_dataloader.dataset[0]['data_samples'].gt_sem_seg.data.dtype == torch.int64


def test_a_run_without_validation():
    DecodedCacheHook('1GB').before_train(SimpleNamespace(val_loop=None))


def test_a_size_that_cannot_be_read():
    with pytest.raises(ValueError, match="as in '4GB', but got '4 gigs'"):
        HOOKS.build(dict(type='DecodedCacheHook', cache='4 gigs'))
