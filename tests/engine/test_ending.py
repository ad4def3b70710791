"""What is said at a run's end, and which runs have come to it."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmseg_deeplab_study.engine.ending import Pace, is_finished, say_finished, summary
from mmseg_deeplab_study.runs.history import FILE_NAME, HistoryWriter, make_row, read_history


def write_row(writer: HistoryWriter, iteration: int, miou: float, kind='validation', subset='full') -> None:
    scores = {'mIoU': miou, 'class_iou': {'road': miou}}
    writer.append(make_row(iteration, kind, subset, scores, np.array([[5]]), 1, 0.1))


@pytest.fixture
def writer(tmp_path) -> HistoryWriter:
    """A record of two validations in a folder of its own."""
    folder = tmp_path / 'a run'
    folder.mkdir()
    writer = HistoryWriter(folder / FILE_NAME)
    writer.start({'target_classes': ['road'], 'source_classes': ['car']})
    write_row(writer, 0, 9.0, kind='source')
    write_row(writer, 0, 11.0)
    write_row(writer, 5, 7.26)
    return writer


def test_summary(writer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_row(writer, 10, 20.0)
    folder = writer.path.parent
    assert summary(read_history(folder), folder, 83) == [
        'Done in 1:23 min. Record, snapshots and checkpoints: a run',
        "mIoU (%): source's view 9.0, at 0 11.0, lowest 7.3 (5), best 20.0 (10), last 20.0",
        "Figures: tools/analyze.py 'a run'",
        "Report:  tools/report.py 'a run'   # writes report.html there",
    ]


def test_summary_of_a_run_without_a_score(tmp_path):
    writer = HistoryWriter(tmp_path / FILE_NAME)
    writer.start({'target_classes': ['road']})
    lines = summary(read_history(tmp_path), tmp_path, 83)
    assert [line.split(':')[0] for line in lines] == ['Done in 1', 'Figures', 'Report']


def test_the_pace_of_a_run_says_what_is_left(monkeypatch):
    moments = iter([100.0, 110.0, 140.0])
    monkeypatch.setattr(time, 'perf_counter', lambda: next(moments))
    pace = Pace()
    assert pace.left(0, 20) is None
    assert pace.left(5, 20) == 30  # 2 s an iteration
    assert pace.left(20, 20) is None


@pytest.fixture
def finish(writer) -> tuple[Config, Path]:
    """Config and last checkpoint of the run of ``writer``, whose last validation is still to come."""
    folder = writer.path.parent
    torch.save(dict(meta=dict(iter=10)), folder / 'iter_10.pth')
    hooks = dict(checkpoint=dict(save_best='mIoU'))
    cfg = Config(dict(work_dir=str(folder), train_cfg=dict(max_iters=10), default_hooks=hooks))
    return cfg, folder / 'iter_10.pth'


def test_finished_is_what_resuming_would_not_change(finish, writer):
    assert not is_finished(*finish)
    write_row(writer, 10, 10.0)
    assert is_finished(*finish)
    cfg, checkpoint = finish
    cfg.train_cfg.max_iters = 20
    assert not is_finished(cfg, checkpoint)


def test_a_best_score_without_its_checkpoint_is_not_finished(finish, writer):
    write_row(writer, 10, 30.0)
    assert not is_finished(*finish)
    (writer.path.parent / 'best_mIoU_iter_10.pth').touch()
    assert is_finished(*finish)


def test_a_validation_without_its_probe_is_not_finished(finish, writer):
    write_row(writer, 5, 9.0, subset='probe')
    write_row(writer, 10, 10.0)
    assert not is_finished(*finish)
    write_row(writer, 10, 10.0, subset='probe')
    assert is_finished(*finish)


def test_a_run_without_a_record_is_not_known_to_be_finished(finish, writer):
    writer.path.unlink()
    assert not is_finished(*finish)


def test_who_resumes_a_finished_run_is_told_what_can_be_done(finish, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = say_finished(finish[0])
    assert lines[0] == 'Finished: the run in a run is at iteration 10 of 10; nothing is changed'
    assert lines[-1].startswith("Report:  tools/report.py 'a run'")
