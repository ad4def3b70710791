"""The command itself: both ways to call it, in interpreters that lack what it is there to miss."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmseg_deeplab_study.doctor.__main__ import parse_args
from mmseg_deeplab_study.doctor.findings import Finding, as_json, as_text, exit_code, run_check, summary

REPO = Path(__file__).resolve().parents[2]
SCRIPT = ['tools/doctor.py']
MODULE = ['-m', 'mmseg_deeplab_study.doctor']
ALL = ('torch', 'numpy', 'cv2', 'PIL', 'rich', 'packaging', 'pip', 'mmcv', 'mmengine')
# As early as an interpreter can be told: these modules are not there.
BLOCK = """
import sys
for name in {names!r}:
    sys.modules[name] = None
"""


def run(command: list[str], *arguments: str, block: Path | None = None) -> subprocess.CompletedProcess:
    path = os.pathsep.join(map(str, filter(None, (block, REPO))))
    options = dict(env={**os.environ, 'PYTHONPATH': path}, capture_output=True, text=True, timeout=300)
    return subprocess.run([sys.executable, *command, *arguments], cwd=REPO, **options)


def without(folder: Path, *names: str) -> Path:
    """A folder for PYTHONPATH that hides modules from every interpreter that has it."""
    (folder / 'sitecustomize.py').write_text(BLOCK.format(names=names))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('command', [SCRIPT, MODULE], ids=['script', 'module'])
def test_it_runs_where_the_package_cannot_be_imported(tmp_path, command):
    (tmp_path / 'blocked').mkdir()
    block = without(tmp_path / 'blocked', 'mmcv', 'mmengine')
    (tmp_path / 'model.pth').write_bytes(b'\x80\x02')
    done = run(command, '--checkpoint', str(tmp_path / 'model.pth'), block=block)
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr
    assert 'error    import: mmseg_deeplab_study: ImportError: ' in done.stdout
    assert 'warning  checkpoint: ' in done.stdout and 'cannot be imported' in done.stdout
    assert done.stdout.count('\n           -> ') >= 2
    assert done.stdout.splitlines()[-1].startswith(('1 error,', '2 errors,'))


def test_it_runs_without_anything(tmp_path):
    done = run(SCRIPT, '--data-root', str(tmp_path), block=without(tmp_path, *ALL))
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr
    text = 'could not be checked: packaging is not installed\n           -> pip install packaging'
    assert text in done.stdout and 'neither the layout of Cityscapes' in done.stdout


@pytest.mark.slow
def test_a_good_environment_as_json_with_a_checkpoint_and_a_config(voc_tflite, shared, monkeypatch):
    """The package is left out when Python looks for the module, and whole once a checkpoint is read."""
    monkeypatch.setenv('CAMVID_ROOT', f'{shared}/data/camvid_cityscapes')  # of which MMEngine logs
    config = next((REPO / 'configs/camvid').glob('*.py'))
    done = run(MODULE, '--json', '--checkpoint', str(voc_tflite), '--config', str(config))
    found = {item['check']: item for item in json.loads(done.stdout)}
    assert found['import']['level'] == found['OpenCV']['level'] == found['checkpoint']['level'] == 'ok'
    assert found['config']['text'].endswith('its data roots are there') or found['config']['level'] == 'info'
    assert set(found['import']) == {'level', 'check', 'text', 'cure'}
    assert done.returncode == 0


@pytest.mark.slow
def test_the_doctors_name_as_an_argument_leaves_no_import_out():
    # Its name as an argument of something else.
    code = 'import mmseg_deeplab_study; print(mmseg_deeplab_study.engine.__name__)'
    done = run(['-c', code], 'mmseg_deeplab_study.doctor')
    assert done.stdout.splitlines()[-1:] == ['mmseg_deeplab_study.engine'], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(('command', 'after'), [(SCRIPT, '| head -1'), (MODULE, '>&-')])
def test_nobody_reads_it(tmp_path, command, after):
    path = os.pathsep.join(map(str, (without(tmp_path, *ALL), REPO)))
    line = f'set -o pipefail; {sys.executable} {" ".join(command)} {after}'
    env = {**os.environ, 'PYTHONPATH': path}
    done = subprocess.run(['bash', '-c', line], cwd=REPO, env=env, capture_output=True, text=True)
    # That of its findings.
    assert (done.returncode, done.stderr) == (1, '')


def test_arguments(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['doctor', '--checkpoint', 'tflite:///a.tflite', '--data-root', 'd'])
    args = parse_args()
    assert args.checkpoint == ['tflite:///a.tflite'] and args.data_root == [Path('d')] and not args.deep


def test_lines_and_exit_codes():
    ok, warning = Finding('ok', 'disk', '61.3 GB free'), Finding('warning', 'disk', '1 GB', 'make room')
    error = Finding('error', 'mmcv', 'absent', 'pip install it')
    assert as_text(ok) == 'ok       disk: 61.3 GB free\n'
    assert as_text(warning) == 'warning  disk: 1 GB\n           -> make room\n'
    assert [exit_code([ok, warning], strict) for strict in (False, True)] == [0, 1]
    assert [exit_code(found, False) for found in ([ok], [ok, error])] == [0, 1]
    assert summary([ok, warning, warning]) == '0 errors, 2 warnings\n'
    assert summary([error, warning]) == '1 error, 1 warning\n'
    assert json.loads(as_json([error])) == [error._asdict()]


def test_a_check_that_fails_is_one_more_finding():
    def check_shared_memory():
        yield Finding('ok', 'first', 'done')
        raise RuntimeError('no such thing')

    first, failed = run_check(check_shared_memory)
    assert first.level == 'ok'
    assert failed.level == 'error' and failed.check == 'shared memory'
    assert failed.text == 'could not be checked: RuntimeError: no such thing'


def test_a_package_that_cannot_be_loaded_is_not_to_be_installed():
    """It is there: a library that it wants is not, as libGL."""

    def check_opencv(error: ImportError):
        raise error
        yield

    [absent] = run_check(check_opencv, ModuleNotFoundError("No module named 'x'", name='x'))
    assert absent.cure == 'pip install x'
    [failed] = run_check(check_opencv, ImportError('libGL.so.1: cannot open shared object file'))
    assert 'libGL.so.1' in failed.text and 'pip install' not in failed.cure
