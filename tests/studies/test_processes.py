"""Runs as processes of this machine: their calls, their shares of it, and who has a folder."""

import pytest

from mmseg_deeplab_study.runs.work_dir import release_work_dir
from mmseg_deeplab_study.studies.processes import LocalPool, RunProcess, command
from mmseg_deeplab_study.studies.state import LOCK

pytestmark = pytest.mark.usefixtures('fake_tools')


def test_two_processes_are_not_at_one_run(forked, make_study, tmp_path):
    (run,) = make_study('hangs.py').runs
    process = RunProcess(run)
    looks = (
        'import sys; from mmseg_deeplab_study.runs.work_dir import is_claimed; '
        'print(*(is_claimed(folder, sys.argv[1]) for folder in sys.argv[2:]))'
    )
    seen = forked.run('-c', looks, LOCK, run.folder, tmp_path, cwd=tmp_path)
    assert seen.stdout.split() == ['True', 'False']
    code = (
        'import sys; from mmseg_deeplab_study.runs.work_dir import claim_work_dir; '
        'claim_work_dir(*sys.argv[1:])'
    )
    other = forked.run('-c', code, run.folder, LOCK, cwd=tmp_path)
    process.stop()
    assert 'a run is going on in it (process' in other.stderr


def test_a_leaf_that_changed_since_the_run_was_begun(make_study):
    (run,) = make_study('hangs.py').runs
    RunProcess(run).stop()
    (other,) = make_study('hangs.py', options={'optim_wrapper.head': 7}).runs
    with pytest.raises(ValueError, match='was begun with another recipe'):
        RunProcess(other)
    release_work_dir(run.folder, LOCK)


def test_shares_of_gpus_and_cores(monkeypatch):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr('mmseg_deeplab_study.studies.processes.usable_cores', lambda: 8)
    assert (LocalPool(None, 0).count, LocalPool(None, 0).variables(0)) == (1, {})
    assert LocalPool(3, 0).variables(2) == {'OMP_NUM_THREADS': '2'}
    monkeypatch.setattr('torch.cuda.device_count', lambda: 4)
    assert LocalPool(None, 2).count == 2
    assert [LocalPool(None, 2).variables(slot) for slot in (0, 1)] == [
        {'CUDA_VISIBLE_DEVICES': '0,1'},
        {'CUDA_VISIBLE_DEVICES': '2,3'},
    ]
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,5,6,7')
    assert LocalPool(None, 0).variables(3) == {'CUDA_VISIBLE_DEVICES': '7'}
    with pytest.raises(ValueError, match=r'resources.gpus_per_node=5, but this machine has 4; give fewer'):
        LocalPool(None, 5)


def test_command(make_study):
    (run,) = make_study(resources=dict(gpus_per_node=4)).runs
    found = ' '.join(command(run))
    assert 'torch.distributed.run --standalone --nproc-per-node=4' in found
    assert found.endswith(f'{run.folder / "well.py"} --work-dir {run.folder} --resume --launcher pytorch')
    (alone,) = make_study().runs
    assert 'distributed' not in ' '.join(command(alone))
