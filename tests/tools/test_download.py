"""tools/download.py with a folder of the real weights as its mirror."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / 'tools/download.py'


def test_weights_from_a_mirror_are_fetched_and_then_kept(run_tool, shared: Path, tmp_path: Path, monkeypatch):
    names = ('deeplabv3_257_mv_gpu', 'deeplabv3_mnv2', 'deeplabv3_mnv2_dm05', 'mobilenet_v2')
    files = sorted((shared / 'data').glob('*_weights/*'), key=lambda path: path.name)
    mirror = tmp_path / 'mirror'
    mirror.mkdir()
    for file in files:
        (mirror / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    assert run_tool('download')[1].count('| no ') == 5
    for said in ('fetched', 'is there'):
        code, output, errors = run_tool('download', *names, '--mirror', f'file://{mirror}')
        assert (code, errors) == (0, '')
        lines = [f'checkpoints/{file.name}: {said} (TensorFlow, Apache-2.0)' for file in files]
        assert sorted(output.splitlines()) == sorted(lines) and len(lines) == 4
    assert [path.read_bytes() for path in sorted(Path('checkpoints').iterdir())] == [
        file.read_bytes() for file in files
    ]
    assert run_tool('download')[1].count('| no ') == 1


def test_without_a_name_neither_torch_nor_mmsegmentation_is_imported(tmp_path: Path):
    command = [sys.executable, '-X', 'importtime', TOOL]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and 'camvid' in done.stdout
    imported = {line.rpartition('|')[2].strip() for line in done.stderr.splitlines()}
    assert 'mmseg_deeplab_study.datasets.fetch' in imported
    assert not imported & {'torch', 'mmengine', 'mmcv', 'mmseg', 'numpy'}


def test_errors_are_one_line_with_a_cure(run_tool, shared: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('checkpoints').mkdir()
    part = Path('checkpoints/mobilenet_v2_1.0_224_quant.tflite.part')
    part.symlink_to('/dev/full')
    mirror = f'file://{shared}/data/imagenet_weights'
    code, output, errors = run_tool('download', 'mobilenet_v2', '--mirror', mirror)
    assert (code, output) == (1, '')
    assert errors == f'error: {part}: No space left on device; make room, or give another place\n'
    code, _, errors = run_tool('download', 'mobilenet', '--mirror', mirror)
    assert code == 1 and errors.startswith(
        "error: unknown download 'mobilenet'; did you mean 'mobilenet_v2'?"
    )
    assert errors.count('\n') == 1
