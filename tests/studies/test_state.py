"""What a run's folder says of it."""

import json

import pytest

from mmseg_deeplab_study.runs.history import FILE_NAME
from mmseg_deeplab_study.runs.work_dir import claim_work_dir, release_work_dir
from mmseg_deeplab_study.studies.state import LOCK, RunState, check_mark, look, read_mark, write_mark


@pytest.fixture
def run(make_study):
    return make_study(options={'train_cfg.max_iters': 60}).runs[0]


def test_status_in_the_order_of_a_life(run):
    assert look(run) == RunState('waiting', max_iters=60)
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


def log(run, attempt: str, *rows: dict) -> None:
    """Write rows as MMEngine's LocalVisBackend does; the last line is torn."""
    path = run.folder / attempt / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows) + '{"lr": 0.1, "ti')


def test_progress_of_a_run_that_is_going_on(run):
    claim_work_dir(run.folder, LOCK)
    assert look(run) == RunState('running', max_iters=60)
    # Nothing is logged: the record says the iteration.
    (run.folder / FILE_NAME).write_text('{"iter": 5, "kind": "validation", "subset": "full", "mIoU": null}\n')
    assert look(run) == RunState('running', 5, 60)
    (run.folder / FILE_NAME).unlink()
    log(run, '20261123_100000', dict(lr=0.1, time=99, step=40))  # an earlier attempt, at another pace
    log(run, '20261123_110000', dict(mIoU=9, time=7, step=20), dict(lr=0.1, time=2, step=25))
    log(run, '20261123_120000', dict(mIoU=9, time=7, step=25))  # this one has not trained yet
    # 35 iterations of 2 seconds
    assert look(run) == RunState('running', 25, 60, None, 70)
    rows = [
        {'schema': 1},
        {'iter': 10, 'kind': 'validation', 'subset': 'full', 'mIoU': 22, 'seconds': 1000},
        {'iter': 20, 'kind': 'validation', 'subset': 'full', 'mIoU': 23.5, 'seconds': 20},
        {'iter': 20, 'kind': 'forgetting', 'subset': 'full', 'mIoU': 60, 'seconds': 10},
    ]
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    (run.folder / FILE_NAME).write_text(text + '{"iter": 45, "kind": "valid')
    # 30 seconds of validating in the 10 iterations after the first row: 3 for each.
    assert look(run) == RunState('running', 25, 60, 23.5, 175)
    release_work_dir(run.folder, LOCK)
    write_mark(run, attempts=1, exit_code=1)
    assert look(run) == RunState('failed', 25, 60, 23.5)


def test_a_folder_of_another_recipe_is_refused(run, make_study):
    check_mark(run)
    write_mark(run, recipe=run.recipe())
    check_mark(run)
    (other,) = make_study(options={'train_cfg.max_iters': 60, 'optim_wrapper.head': 3}).runs
    message = (
        r'run a/seed0: .*seed0 was begun with another recipe \(config_digest was .*; '
        r"options was {}, now {'optim_wrapper.head': 3}\). Give another --work-dir, or remove that folder"
    )
    with pytest.raises(ValueError, match=message):
        check_mark(other)
