"""What starts when, and what becomes of the others when a run fails."""

import argparse

import pytest

from mmseg_deeplab_study.runs.work_dir import claim_work_dir, is_claimed, release_work_dir
from mmseg_deeplab_study.studies.carry_out import (
    carry_out,
    carry_out_study,
    report_failures,
    run_study,
    show_plan,
    to_start,
)
from mmseg_deeplab_study.studies.plan import read_study
from mmseg_deeplab_study.studies.processes import LocalPool
from mmseg_deeplab_study.studies.state import LOCK, LOG, look, read_mark

pytestmark = pytest.mark.usefixtures('fake_tools')


def statuses(states) -> dict[str, str]:
    return {name: state.status for name, state in states.items()}


def run_all(study, jobs=None) -> dict[str, str]:
    pool = LocalPool(jobs, 0)
    for looks, states in enumerate(carry_out(study, pool, to_start(study, pool, None), interval=0.05)):
        # Fails where the study would wait for ever.
        assert looks < 600, statuses(states)
    return statuses(states)


def test_each_run_once_and_none_again(make_study, calls):
    study = make_study(seeds=[0, 1])
    assert run_all(study) == {'a/seed0': 'done', 'a/seed1': 'done'}
    assert to_start(study, LocalPool(None, 0), None) == []
    assert run_all(study) == {'a/seed0': 'done', 'a/seed1': 'done'}
    assert [calls(run.folder) for run in study.runs] == [1, 1]
    mark = read_mark(study.runs[1])
    assert (mark['attempts'], mark['exit_code'], mark['recipe']) == (1, 0, study.runs[1].recipe())
    assert mark['seconds'] > 0


def test_a_source_comes_first_and_is_handed_on(make_study_file, tmp_path):
    path = make_study_file(runs={'a': dict(config='well.py', source='well.py')}, seeds=[0, 1])
    study = read_study(path, tmp_path / 'a folder with a blank')
    assert set(run_all(study, jobs=3).values()) == {'done'}
    source, first, _ = study.runs
    assert first.checkpoint.read_text() == str(source.checkpoint)
    assert source.checkpoint.stat().st_mtime <= (first.folder / LOG).stat().st_mtime


@pytest.mark.slow
def test_the_others_go_on_where_one_fails(make_study, calls):
    study = make_study(
        runs={
            'bad': dict(config='fails.py'),
            'orphan': dict(config='well.py', source='fails.py'),
            'late': dict(config='well.py', source='fails_once.py'),
            'good': dict(config='well.py'),
        }
    )
    expected = {
        'bad/seed0': 'failed',
        'orphan/source': 'failed',
        'orphan/seed0': 'blocked',
        'late/source': 'failed',
        'late/seed0': 'blocked',
        'good/seed0': 'done',
    }
    assert run_all(study) == expected
    # Another call tries what failed again, each once.
    assert run_all(study) == {**expected, 'late/source': 'done', 'late/seed0': 'done'}
    assert [calls(run.folder) for run in study.runs] == [2, 2, 0, 2, 1, 1]


def test_as_many_at_a_time_as_there_are_jobs(make_study):
    study = make_study(seeds=[0, 1, 2, 3, 4])
    at_once = [
        list(statuses(states).values()).count('running')
        for states in carry_out(study, LocalPool(2, 0), study.runs, interval=0.01)
    ]
    assert max(at_once) == 2


def test_a_stopped_run_is_interrupted_and_goes_on_later(make_study, calls):
    study = make_study('hangs.py')
    (run,) = study.runs
    pool = LocalPool(None, 0)
    for states in carry_out(study, pool, study.runs, interval=0.05):
        if states[run.name].iteration == 3:
            break
    assert look(run).status == 'running'
    pool.close()
    assert look(run).status == 'interrupted'
    assert run_all(study) == {'a/seed0': 'done'}
    assert (calls(run.folder), read_mark(run)['attempts']) == (2, 2)


def test_a_run_of_another_process_is_waited_for(make_study, calls):
    study = make_study()
    (run,) = study.runs
    # train.py's own lock: of a study that was killed, whose run is still saving its checkpoint.
    claim_work_dir(run.folder)
    assert is_claimed(run.folder)
    states = carry_out(study, LocalPool(None, 0), study.runs, interval=0)
    for _ in range(3):
        assert statuses(next(states)) == {'a/seed0': 'running'}
    assert calls(run.folder) == 0
    release_work_dir(run.folder)
    *_, last = states
    assert (statuses(last), calls(run.folder)) == ({'a/seed0': 'done'}, 1)


def test_one_that_cannot_start_does_not_stop_the_others(make_study, tmp_path):
    study = make_study(runs={'a': dict(config='well.py'), 'b': dict(config='well.py')})
    (tmp_path / 'out' / 'a').mkdir(parents=True)
    (tmp_path / 'out' / 'a' / 'seed0').write_text('a file in the place of a folder')
    *_, last = carry_out(study, LocalPool(None, 0), study.runs, interval=0.05)
    assert statuses(last) == {'a/seed0': 'failed', 'b/seed0': 'done'}
    assert 'cannot be written to' in last['a/seed0'].problem


@pytest.fixture
def arguments():
    return argparse.Namespace(jobs=None, cluster=None, dry_run=False)


@pytest.mark.slow
def test_a_line_per_change_and_how_a_failure_s_log_ends(make_study, tmp_path, arguments, capsys):
    study = make_study(runs={'bad': dict(config='fails.py'), 'good': dict(config='well.py')})
    done = report_failures(study, run_study(study, arguments))
    assert [run.name for run in done] == ['good/seed0']
    output = capsys.readouterr().out
    assert f'Study my_study: 2 runs, 0 done or running, in {study.folder}' in output
    assert 'bad/seed0: failed, iteration 3/3\n' in output
    assert f'the end of {tmp_path}/out/bad/seed0/train.log:' in output
    assert output.endswith('no such label: 77\n')


def test_a_study_that_is_going_on_is_refused(make_study, claim_elsewhere, arguments):
    study = make_study()
    claim_elsewhere(study.folder, LOCK)
    with pytest.raises(RuntimeError, match=r'work_dir .*out: a run is going on in it \(process'):
        run_study(study, arguments)


def test_a_dry_run_writes_nothing(make_study, tmp_path, arguments, capsys):
    study = make_study(source='well.py', options={'custom_hooks.0.unmatched': 'random'})
    show_plan(study, arguments)
    output = capsys.readouterr().out
    assert not (tmp_path / 'out').exists()
    assert "custom_hooks.0.unmatched = 'random'" in output
    assert f"load_from = '{tmp_path}/out/a/source/iter_3.pth'" in output
    assert 'train.py' in output


def test_a_dry_run_prints_the_plan_and_what_is_missing(make_study, arguments, capsys):
    arguments.dry_run = True

    def dry_run(**options) -> int:
        return carry_out_study(lambda: make_study(seeds=[0, 1], options=options), pytest.fail, arguments)

    assert dry_run(load_from='no.pth') == 1
    plan, missing = capsys.readouterr().out.split('\nMissing or wrong, each named once')
    assert 'a/seed0: ' in plan and 'a/seed1: ' in plan
    assert missing.count('\n- ') == 1 and '- run a/seed0: load_from=no.pth: no such file' in missing
    assert dry_run() == 0
    assert 'Missing' not in capsys.readouterr().out
