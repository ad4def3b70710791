"""What is read of a work_dir, and what may be missing there."""

import json
from pathlib import Path

import pytest

from mmseg_deeplab_study.report.runs import name_runs, read_run, read_runs

CURVE = {0: 9.0, 5: 21.5, 10: 24.0}


def test_names():
    paths = [Path(path) for path in ('/a/x/run', '/b/x/run', '/b/other')]
    assert name_runs(paths) == ['a/x/run', 'b/x/run', 'other']
    assert name_runs([Path('/a/run'), Path('/b/a/run')]) == ['/a/run', 'b/a/run']


def test_record_and_folder_are_one_run(make_run, tmp_path):
    folder = make_run(tmp_path / 'run', CURVE)
    (run,) = read_runs([folder, folder / 'adaptation.jsonl']).values()
    assert run.folder == folder


def test_pictures(make_run, tmp_path):
    folder = make_run(tmp_path / 'run', CURVE)
    # one that the record does not have, as after a kill before its row
    (folder / 'snapshots/000015').mkdir()
    run = read_runs([folder])['run']
    assert run.images == ['first', 'second']
    assert list(run.snapshots) == [0, 5, 10]
    assert run.prediction('first', 5) == folder / 'snapshots/000005/first.png'
    assert run.prediction('first', None) == folder / 'snapshots/source/first.png'
    assert run.prediction('first', 15) is run.prediction('third', 5) is None
    assert run.photograph('second') == folder / 'snapshots/reference/second.png'
    assert run.photograph('third') is None


@pytest.mark.parametrize(('max_iters', 'finished'), [(10, True), (11, False), (None, None)])
def test_finished(make_run, tmp_path, max_iters, finished):
    run = read_runs([make_run(tmp_path / 'run', CURVE, max_iters=max_iters)])['run']
    assert run.finished is finished


def test_a_run_that_has_only_begun(make_run, tmp_path):
    run = read_runs([make_run(tmp_path / 'run', {}, images=(), source=False)])['run']
    assert run.finished is False and run.history.rows == []
    assert run.images == [] and run.snapshots == {}
    assert run.head_transfer() is None and run.iteration_seconds is None


def test_iteration_seconds(make_run, tmp_path):
    folder = make_run(tmp_path / 'run', CURVE)
    for resumed, lines in (
        ('20260101_000000', [dict(lr=0.1, time=1.0, step=5), dict(lr=0.1, time=9.0, step=10)]),
        # 10 was run again after a kill; the last line is torn, a validation's is no iteration
        ('20260101_000001', [dict(lr=0.1, time=3.0, step=10), dict(mIoU=24.0, time=7.0, step=10)]),
    ):
        path = folder / resumed / 'vis_data/scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text(''.join(json.dumps(line) + '\n' for line in lines) + '{"lr": 0.1, "ti')
    # (1 + 3) / 2 seconds
    assert read_runs([folder])['run'].iteration_seconds == 2


def test_head_transfer_that_is_cut_short(make_run, tmp_path):
    folder = make_run(tmp_path / 'run', CURVE)
    (folder / 'head_transfer.json').write_text('{"rows": [')
    assert read_runs([folder])['run'].head_transfer() is None
    (folder / 'head_transfer.json').write_text('{"rows": []}')
    assert read_runs([folder])['run'].head_transfer() == {'rows': []}


def test_not_a_record(tmp_path):
    path = tmp_path / 'adaptation.jsonl'
    path.write_text('{"schema_version": 1}\n{"iter": 0, "kind": "validation"}\n')
    with pytest.raises(ValueError, match=r"line 2: expected a row of a record, but it lacks \['subset'\]"):
        read_run(path)
