"""What starts when, and what becomes of the others when a run fails."""

import argparse

import pytest
from rich.console import Console

from mmseg_deeplab_study.engine.work_dir import claim_work_dir, is_claimed, release_work_dir
from mmseg_deeplab_study.studies.command import report_failures, run_study, show_plan
from mmseg_deeplab_study.studies.execute import RunProcess, command
from mmseg_deeplab_study.studies.local import LocalPool, Slots
from mmseg_deeplab_study.studies.plan import read_study
from mmseg_deeplab_study.studies.schedule import carry_out, unfinished
from mmseg_deeplab_study.studies.state import LOCK, LOG, look, read_mark

pytestmark = pytest.mark.usefixtures('fake_tools')


def statuses(states) -> dict[str, str]:
    return {name: state.status for name, state in states.items()}


def run_all(study, jobs=None) -> dict[str, str]:
    pool = LocalPool(jobs, 0)
    for looks, states in enumerate(carry_out(study, pool, unfinished(study), interval=0.05)):
        # Fails where the study would wait for ever.
        assert looks < 600, statuses(states)
    return statuses(states)


def test_each_run_once_and_none_again(make_study_file, tmp_path, calls):
    study = read_study(make_study_file(runs={'a': dict(config='well.py')}, seeds=[0, 1]), tmp_path / 'out')
    assert run_all(study) == {'a/seed0': 'done', 'a/seed1': 'done'}
    assert unfinished(study) == []
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
def test_the_others_go_on_where_one_fails(make_study_file, tmp_path, calls):
    path = make_study_file(
        runs={
            'bad': dict(config='fails.py'),
            'orphan': dict(config='well.py', source='fails.py'),
            'good': dict(config='well.py'),
        }
    )
    study = read_study(path, tmp_path / 'out')
    expected = {
        'bad/seed0': 'failed',
        'orphan/source': 'failed',
        'orphan/seed0': 'blocked',
        'good/seed0': 'done',
    }
    assert run_all(study) == expected
    # Another call tries them again, each once.
    assert run_all(study) == expected
    assert [calls(run.folder) for run in study.runs] == [2, 2, 0, 1]


def test_what_failed_is_tried_again_by_the_next_call(make_study_file, tmp_path, calls):
    path = make_study_file(runs={'a': dict(config='well.py', source='fails_once.py')})
    study = read_study(path, tmp_path / 'out')
    assert run_all(study) == {'a/source': 'failed', 'a/seed0': 'blocked'}
    assert run_all(study) == {'a/source': 'done', 'a/seed0': 'done'}
    assert [calls(run.folder) for run in study.runs] == [2, 1]


def test_as_many_at_a_time_as_there_are_jobs(make_study_file, tmp_path):
    study = read_study(
        make_study_file(runs={'a': dict(config='well.py')}, seeds=[0, 1, 2, 3, 4]), tmp_path / 'out'
    )
    at_once = [
        list(statuses(states).values()).count('running')
        for states in carry_out(study, LocalPool(2, 0), study.runs, interval=0.01)
    ]
    assert max(at_once) == 2


def test_a_stopped_run_is_interrupted_and_goes_on_later(make_study_file, tmp_path, calls):
    study = read_study(make_study_file(runs={'a': dict(config='hangs.py')}), tmp_path / 'out')
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


def test_a_run_of_another_process_is_waited_for(make_study_file, tmp_path, calls):
    study = read_study(make_study_file(runs={'a': dict(config='well.py')}), tmp_path / 'out')
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


def test_two_processes_are_not_at_one_run(forked, make_study_file, tmp_path):
    (run,) = read_study(make_study_file(runs={'a': dict(config='hangs.py')}), tmp_path / 'out').runs
    process = RunProcess(run)
    looks = (
        'import sys; from mmseg_deeplab_study.engine.work_dir import is_claimed; '
        'print(*(is_claimed(folder, sys.argv[1]) for folder in sys.argv[2:]))'
    )
    seen = forked.run('-c', looks, LOCK, run.folder, tmp_path, cwd=tmp_path)
    assert seen.stdout.split() == ['True', 'False']
    code = (
        'import sys; from mmseg_deeplab_study.engine.work_dir import claim_work_dir; '
        'claim_work_dir(*sys.argv[1:])'
    )
    other = forked.run('-c', code, run.folder, LOCK, cwd=tmp_path)
    process.stop()
    assert 'a run is going on in it (process' in other.stderr


def test_one_that_cannot_start_does_not_stop_the_others(make_study_file, tmp_path):
    path = make_study_file(runs={'a': dict(config='well.py'), 'b': dict(config='well.py')})
    study = read_study(path, tmp_path / 'out')
    (tmp_path / 'out' / 'a').mkdir(parents=True)
    (tmp_path / 'out' / 'a' / 'seed0').write_text('a file in the place of a folder')
    *_, last = carry_out(study, LocalPool(None, 0), study.runs, interval=0.05)
    assert statuses(last) == {'a/seed0': 'failed', 'b/seed0': 'done'}
    assert 'cannot be written to' in last['a/seed0'].problem


def test_a_leaf_that_changed_since_the_run_was_begun(make_study_file, tmp_path):
    path = make_study_file(runs={'a': dict(config='hangs.py')})
    (run,) = read_study(path, tmp_path / 'out').runs
    RunProcess(run).stop()
    (other,) = read_study(path, tmp_path / 'out', {'options.optim_wrapper.head': 7}).runs
    with pytest.raises(ValueError, match='was begun with another recipe'):
        RunProcess(other)
    release_work_dir(run.folder, LOCK)


def test_shares_of_gpus_and_cores(monkeypatch):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr('mmseg_deeplab_study.studies.local.usable_cores', lambda: 8)
    assert (Slots(None, 0).count, Slots(None, 0).variables(0)) == (1, {})
    assert Slots(3, 0).variables(2) == {'OMP_NUM_THREADS': '2'}
    monkeypatch.setattr('torch.cuda.device_count', lambda: 4)
    assert Slots(None, 2).count == 2
    assert [Slots(None, 2).variables(slot) for slot in (0, 1)] == [
        {'CUDA_VISIBLE_DEVICES': '0,1'},
        {'CUDA_VISIBLE_DEVICES': '2,3'},
    ]
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,5,6,7')
    assert Slots(None, 0).variables(3) == {'CUDA_VISIBLE_DEVICES': '7'}
    with pytest.raises(ValueError, match=r'resources.gpus_per_node=5, but this machine has 4; give fewer'):
        Slots(None, 5)


def test_command(make_study_file, tmp_path):
    path = make_study_file(runs={'a': dict(config='well.py')}, resources=dict(gpus_per_node=4))
    (run,) = read_study(path, tmp_path / 'out').runs
    found = ' '.join(command(run))
    assert 'torch.distributed.run --standalone --nproc-per-node=4' in found
    assert found.endswith(f'{run.folder / "well.py"} --work-dir {run.folder} --resume --launcher pytorch')
    (alone,) = read_study(make_study_file(runs={'a': dict(config='well.py')}), tmp_path / 'out').runs
    assert 'distributed' not in ' '.join(command(alone))


@pytest.fixture
def arguments():
    return argparse.Namespace(jobs=None, cluster=None, dry_run=False)


@pytest.mark.slow
def test_a_line_per_change_and_how_the_log_of_a_failure_ends(make_study_file, tmp_path, arguments, capsys):
    path = make_study_file(runs={'bad': dict(config='fails.py'), 'good': dict(config='well.py')})
    study = read_study(path, tmp_path / 'out')
    console = Console(highlight=False, markup=False, soft_wrap=True)
    done = report_failures(study, run_study(study, arguments, console), console)
    assert [run.name for run in done] == ['good/seed0']
    output = capsys.readouterr().out
    assert f'Study my_study: 2 runs, 0 done or going on, in {study.folder}' in output
    assert 'bad/seed0: failed, iteration 3/3\n' in output
    assert f'the end of {tmp_path}/out/bad/seed0/train.log:' in output
    assert output.endswith('no such label: 77\n')


def test_a_study_that_is_going_on_is_refused(make_study_file, claim_elsewhere, tmp_path, arguments):
    study = read_study(make_study_file(runs={'a': dict(config='well.py')}), tmp_path / 'out')
    claim_elsewhere(study.folder, LOCK)
    with pytest.raises(RuntimeError, match=r'work_dir .*out: a run is going on in it \(process'):
        run_study(study, arguments, Console())


def test_a_dry_run_writes_nothing(make_study_file, tmp_path, arguments, capsys):
    path = make_study_file(
        runs={'a': dict(config='well.py', source='well.py')}, options={'custom_hooks.0.unmatched': 'random'}
    )
    study = read_study(path, tmp_path / 'out')
    show_plan(study, arguments, Console(highlight=False, markup=False, soft_wrap=True))
    output = capsys.readouterr().out
    assert not (tmp_path / 'out').exists()
    assert "custom_hooks.0.unmatched = 'random'" in output
    assert f"load_from = '{tmp_path}/out/a/source/iter_3.pth'" in output
    assert 'train.py' in output
