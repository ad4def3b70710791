"""What a run's folder says of it."""

import json

import pytest

from mmseg_deeplab_study.engine.work_dir import claim_work_dir, release_work_dir
from mmseg_deeplab_study.evaluation.history import FILE_NAME
from mmseg_deeplab_study.studies.plan import read_study
from mmseg_deeplab_study.studies.state import LOCK, LOG, RunState, check_mark, look, read_mark, write_mark

LINE = '11/23 10:{minute:02d}:00 - mmengine - INFO - Iter(train) [{i}/60]  lr: 1.0e-04  eta: 0:00:01\n'


@pytest.fixture
def run(make_study_file, tmp_path):
    (run,) = read_study(make_study_file(runs={'a': dict(config='well.py')}), tmp_path / 'out').runs
    return run


def test_status_in_the_order_of_a_life(run):
    assert look(run) == RunState('waiting')
    write_mark(run, recipe=run.recipe(), attempts=1, exit_code=None)
    assert look(run).status == 'interrupted'
    claim_work_dir(run.folder, LOCK)
    assert look(run).status == 'running'
    # Looking has not given it up.
    assert look(run).status == 'running'
    release_work_dir(run.folder, LOCK)
    assert look(run).status == 'interrupted'
    write_mark(run, exit_code=1)
    assert look(run).status == 'failed'
    write_mark(run, exit_code=0)
    assert look(run).status == 'done'
    assert read_mark(run)['attempts'] == 1


def test_progress_of_a_run_that_is_going_on(run):
    claim_work_dir(run.folder, LOCK)
    (run.folder / LOG).write_text(
        # An earlier attempt, at another pace.
        LINE.format(minute=0, i=5)
        + LINE.format(minute=1, i=40)
        + LINE.format(minute=10, i=25)
        + 'Iter(val) [ 5/26]\n'
        + LINE.format(minute=14, i=45)
    )
    rows = [
        {'schema': 1},
        {'iter': 40, 'kind': 'validation', 'subset': 'full', 'mIoU': 23.5},
        {'iter': 40, 'kind': 'forgetting', 'subset': 'full', 'mIoU': 60},
    ]
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    (run.folder / FILE_NAME).write_text(text + '{"iter": 45, "kind": "valid')
    # 20 iterations in 4 minutes, 15 to go: 3 minutes.
    assert look(run) == RunState('running', 45, 60, 23.5, 180)
    release_work_dir(run.folder, LOCK)


def test_no_time_left_is_said_of_what_does_not_run_or_has_one_line(run):
    claim_work_dir(run.folder, LOCK)
    (run.folder / LOG).write_text(LINE.format(minute=0, i=5))
    assert look(run) == RunState('running', 5, 60)
    release_work_dir(run.folder, LOCK)
    write_mark(run, attempts=1, exit_code=1)
    assert look(run) == RunState('failed', 5, 60)


def test_a_folder_of_another_recipe_is_refused(run, make_study_file, tmp_path):
    check_mark(run)
    write_mark(run, recipe=run.recipe())
    check_mark(run)
    path = make_study_file(runs={'a': dict(config='well.py')}, options={'optim_wrapper.head': 3})
    (other,) = read_study(path, tmp_path / 'out').runs
    message = (
        r'run a/seed0: .*seed0 was begun with another recipe \(config_digest was .*; '
        r"options was {}, now {'optim_wrapper.head': 3}\). Give another --work-dir, or remove that folder"
    )
    with pytest.raises(ValueError, match=message):
        check_mark(other)
