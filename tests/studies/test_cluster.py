"""Runs as jobs: what SLURM would get, and jobs that really run, under a SLURM played by three scripts."""

import argparse
import signal
import sys
import textwrap
import threading
import time
from itertools import islice
from pathlib import Path

import pytest

from mmseg_deeplab_study.runs.history import FILE_NAME, read_history
from mmseg_deeplab_study.studies.carry_out import carry_out, run_study, show_plan, to_start
from mmseg_deeplab_study.studies.plan import read_study
from mmseg_deeplab_study.studies.processes import LocalPool
from mmseg_deeplab_study.studies.state import look, read_job, read_mark, write_job, write_mark

submitit = pytest.importorskip('submitit')

from mmseg_deeplab_study.studies.cluster import Perform, SlurmCluster, stages  # noqa: E402

SBATCH = """
    import os, re, subprocess, sys
    from pathlib import Path
    home, script = Path(__file__).parent, Path(sys.argv[1])
    text = script.read_text()
    last = int(re.search(r'--array=0-(\\d+)', text)[1])
    job = str(1000 + len(list(home.glob('*.sh'))))
    (home / f'{job}.sh').write_text(text)
    common = dict(SLURM_NTASKS='1', SLURM_JOB_NUM_NODES='1')
    common |= dict(SLURM_NODEID='0', SLURM_PROCID='0', SLURM_LOCALID='0')
    for i in range(last + 1):
        ids = dict(SLURM_JOB_ID=job, SLURM_ARRAY_JOB_ID=job, SLURM_ARRAY_TASK_ID=str(i))
        state = f'{home}/{job}_{i}'
        code = f'echo RUNNING > {state}; bash {script} && s=COMPLETED || s=FAILED; echo $s > {state}'
        subprocess.Popen(['bash', '-c', code], env={**os.environ, **common, **ids}, start_new_session=True,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f'Submitted batch job {job}')
"""
SRUN = """
    import subprocess, sys
    arguments = sys.argv[1:]
    while arguments[0].startswith('--'):
        del arguments[: 2 if arguments[0] in ('--output', '--error') else 1]
    sys.exit(subprocess.call(arguments))
"""
SACCT = """
    from pathlib import Path
    print('JobID|State|NodeList')
    for path in Path(__file__).parent.glob('*_*'):
        print(f'{path.name}|{path.read_text().strip()}|here')
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """The commands that submitit calls, playing SLURM on this machine; returns their folder."""
    home = tmp_path / 'slurm'
    home.mkdir()
    for name, code in (('sbatch', SBATCH), ('srun', SRUN), ('sacct', SACCT)):
        path = home / name
        path.write_text(f'#!{sys.executable}\n{textwrap.dedent(code)}')
        path.chmod(0o755)
    monkeypatch.setenv('PATH', f'{home}:/usr/bin:/bin')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    # submitit asks only every now and then.
    monkeypatch.setattr(submitit.SlurmJob, 'watcher', submitit.slurm.slurm.SlurmInfoWatcher(delay_s=1))
    return home


def arguments(**changes) -> argparse.Namespace:
    return argparse.Namespace(**{'jobs': None, 'cluster': 'slurm', 'dry_run': False, **changes})


def test_the_script_of_a_dry_run(make_study, fake_tools, tmp_path, capsys):
    study = make_study(
        source='well.py',
        seeds=[0, 1, 2],
        resources=dict(
            gpus_per_node=2, cpus_per_task=8, mem_gb=32, timeout_min=90, partition='gpu', array_parallelism=2
        ),
    )
    show_plan(study, arguments(dry_run=True))
    _, first, second = capsys.readouterr().out.split('--- sbatch script ---\n')
    for line in ('--gpus-per-node=2', '--cpus-per-task=8', '--mem=32GB', '--time=90', '--partition=gpu'):
        assert f'#SBATCH {line}\n' in first
        assert f'#SBATCH {line}\n' in second
    assert '--array' not in first
    assert '#SBATCH --array=0-2%2\n' in second
    assert '--dependency' not in first
    assert '#SBATCH --dependency=afterany:ID-OF-THE-FIRST\n' in second
    assert '#SBATCH --job-name=my_study\n' in second
    assert '#SBATCH --signal=USR2@180\n' in second
    assert f'srun --unbuffered --output {tmp_path}/out/jobs/%A_%a/%A_%a_%t_log.out' in second
    assert f'{sys.executable} -u -m submitit.core._submit {tmp_path}/out/jobs/' in second
    assert not (tmp_path / 'out').exists()


def test_an_unknown_resource_is_refused_before_anything_is_submitted(make_study, slurm):
    study = make_study(resources=dict(memory='3GB'))
    with pytest.raises(
        ValueError, match=r"(?s)Unavailable parameter\(s\): \['memory'\].*Valid parameters are:"
    ):
        SlurmCluster(study).submit(study.runs)
    assert not list(slurm.glob('*.sh'))


def test_no_slurm(make_study, monkeypatch):
    monkeypatch.setenv('PATH', '/nowhere')
    study = make_study()
    with pytest.raises(RuntimeError, match='Could not detect "srun"'):
        run_study(study, arguments())


def test_adaptations_wait_for_a_source_of_an_earlier_call(make_study):
    study = make_study(source='well.py')
    source, run = study.runs
    write_job(source, 'slurm', '1007_0')
    assert SlurmCluster(study)._parameters([run])['dependency'] == 'afterany:1007'
    write_mark(source, exit_code=0)
    assert 'dependency' not in SlurmCluster(study)._parameters([run])


def test_a_run_that_has_been_ended_is_not_repeated(make_study, fake_tools, calls):
    (run,) = make_study().runs
    assert (Perform(10)(run), Perform(10)(run), calls(run.folder)) == (0, 0, 1)


def test_a_failed_job_is_not_asked_after(slurm, make_study, fake_tools):
    """Without accounting SLURM does not know it, which is no reason to wait for ever."""
    study = make_study('fails.py')
    (run,) = study.runs
    with pytest.raises(RuntimeError, match='run a/seed0: failed with exit code 1'):
        Perform(10)(run)
    write_job(run, 'slurm', '1007_0')
    # One look is enough; where it is not, the study would look for ever.
    states = list(islice(carry_out(study, SlurmCluster(study), [], interval=0), 3))
    assert [state[run.name].status for state in states] == ['failed']
    assert to_start(study, SlurmCluster(study), 'slurm') == [run]


def test_a_job_of_another_cluster_may_still_come(slurm, make_study):
    study = make_study()
    write_job(study.runs[0], 'slurm', '1007_0')
    with pytest.raises(RuntimeError, match='run a/seed0: submitted with --cluster slurm as job 1007_0'):
        to_start(study, LocalPool(None, 0), None)
    # One of this machine that has ended, of a number that no process has, is in the way of none.
    write_job(study.runs[0], 'local', '4194305', 0)
    assert to_start(study, LocalPool(None, 0), None) == study.runs


def test_stages(make_study):
    runs = make_study(
        runs={'a': dict(config='well.py', source='well.py'), 'b': dict(config='well.py')}, seeds=[0, 1]
    ).runs
    assert [[run.name for run in stage] for stage in stages(runs)] == [
        ['a/source'],
        ['a/seed0', 'a/seed1', 'b/seed0', 'b/seed1'],
    ]
    # The source is done: nothing is left before the others.
    assert [[run.name for run in stage] for stage in stages(runs[1:2])] == [['a/seed0']]


def test_a_job_whose_source_is_not_there_says_so(make_study):
    source, run = make_study(source='well.py').runs
    write_mark(source, recipe=source.recipe(), attempts=1, exit_code=1)
    with pytest.raises(
        RuntimeError, match='run a/seed0: its source a/source has not been trained to its end'
    ):
        Perform(10)(run)


def test_a_job_out_of_time_is_queued_again_and_goes_on(make_study, fake_tools, tmp_path, calls):
    """What submitit calls when the cluster says that time is nearly up."""
    (run,) = make_study('hangs.py').runs
    perform, again = Perform(10), []

    def out_of_time(*_: object) -> None:
        again.append(perform.checkpoint(run))
        raise SystemExit

    before = signal.signal(signal.SIGUSR2, out_of_time)
    try:
        main = threading.main_thread().ident

        def send() -> None:
            while look(run).iteration != 3:
                time.sleep(0.05)
            signal.pthread_kill(main, signal.SIGUSR2)

        threading.Thread(target=send).start()
        with pytest.raises(SystemExit):
            perform(run)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert look(run).status == 'interrupted'
    # What submitit puts into the queue survives pickling, and ends the run.
    (delayed,) = again
    delayed.dump(tmp_path / 'delayed.pkl')
    assert submitit.core.utils.DelayedSubmission.load(tmp_path / 'delayed.pkl').result() == 0
    assert (look(run).status, calls(run.folder), read_mark(run)['attempts']) == ('done', 2, 2)


@pytest.mark.slow
def test_a_study_on_slurm(slurm, make_tiny_cityscapes, make_config, tmp_path, capsys):
    cfg = make_config(make_tiny_cityscapes(tmp_path), tmp_path / 'unused')
    cfg.pop('work_dir')
    cfg.train_cfg.update(max_iters=2, val_interval=1)
    cfg.dump(tmp_path / 'tiny.py')
    (tmp_path / 'study.py').write_text("runs = {'a': dict(config='tiny.py')}\nseeds = [0, 1]\n")
    study = read_study(tmp_path / 'study.py', tmp_path / 'out')
    states = run_study(study, arguments())
    assert {state.status for state in states.values()} == {'done'}, capsys.readouterr().out
    for run in study.runs:
        assert [row['iter'] for row in read_history(run.folder / FILE_NAME).validations] == [0, 1, 2]
    # One array of two, and nothing is submitted again.
    assert [read_job(run)['id'] for run in study.runs] == ['1000_0', '1000_1']
    run_study(study, arguments())
    assert [path.name for path in slurm.glob('*.sh')] == ['1000.sh']


def test_jobs_in_the_queue_are_not_submitted_again(slurm, make_study):
    study = make_study()
    (run,) = study.runs
    write_job(run, 'slurm', '1007_0')
    cluster = SlurmCluster(study)
    for state, status in (
        ('PENDING', 'queued'),
        ('RUNNING', 'running'),
        ('CANCELLED by 0', None),
        ('FAILED', None),
    ):
        (slurm / '1007_0').write_text(state)
        submitit.SlurmJob.watcher.clear()
        assert cluster.status(run) == status
