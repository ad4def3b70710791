"""tools/study.py: real runs from one command, also when it is killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmseg_deeplab_study.evaluation.history import FILE_NAME, read_history

SCRIPT = Path(__file__).resolve().parents[2] / 'tools' / 'study.py'


@pytest.fixture
def study(tmp_path, make_tiny_cityscapes, make_config) -> Path:
    """A study of two learning rates and two seeds, each run ten iterations of a tiny network."""
    cfg = make_config(make_tiny_cityscapes(tmp_path), tmp_path / 'unused')
    cfg.pop('work_dir')
    cfg.default_hooks.checkpoint.update(interval=5)
    cfg.dump(tmp_path / 'tiny.py')
    path = tmp_path / 'two_by_two.py'
    path.write_text(
        "runs = {'slow': dict(config='tiny.py', options={'optim_wrapper.optimizer.lr': 0.01}),\n"
        "        'fast': dict(config='tiny.py')}\n"
        'seeds = [0, 1]\n'
    )
    return path


def start(*arguments, folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, '-W', 'ignore', str(SCRIPT), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Whoever runs the tests may ignore it, as a shell does for what it starts in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def marks(folder: Path) -> dict[str, dict]:
    found = sorted(folder.glob('*/seed*/run.json'))
    return {f'{path.parent.parent.name}/{path.parent.name}': json.loads(path.read_text()) for path in found}


def wait_for(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def check_whole(folder: Path) -> None:
    for run in ('slow/seed0', 'slow/seed1', 'fast/seed0', 'fast/seed1'):
        history = read_history(folder / run / FILE_NAME)
        assert [row['iter'] for row in history.validations] == [0, 5, 10]
        assert history.header['seed'] == int(run[-1])
    table = json.loads((folder / 'analysis.json').read_text())
    assert {run['name'] for run in table['runs']} == {'slow/seed0', 'slow/seed1', 'fast/seed0', 'fast/seed1'}
    # Two experiments of two seeds each: means and bands.
    assert sorted(len(group['runs']) for group in table['groups']) == [2, 2]


@pytest.mark.slow
def test_a_killed_study_goes_on_and_repeats_nothing(study, tmp_path):
    folder = tmp_path / 'out'
    first = start(study, '--work-dir', folder, folder=tmp_path)
    wait_for(lambda: marks(folder).get('slow/seed1', {}).get('attempts') == 1)
    first.kill()
    first.communicate(timeout=150)
    before = marks(folder)
    assert before['slow/seed0']['exit_code'] == 0
    assert before['slow/seed1']['exit_code'] is None
    assert 'fast/seed0' not in before

    second = start(study, '--work-dir', folder, folder=tmp_path)
    wait_for(lambda: marks(folder).get('fast/seed0', {}).get('attempts') == 1)
    second.send_signal(signal.SIGINT)
    output, _ = second.communicate(timeout=150)
    assert (second.returncode, output.splitlines()[-1]) == (130, 'Interrupted: the same command goes on')
    assert marks(folder)['fast/seed0']['exit_code'] is None

    third = start(study, '--work-dir', folder, folder=tmp_path)
    output, _ = third.communicate(timeout=300)
    assert third.returncode == 0, output
    assert f'Report: {folder / "report.html"}' in output
    attempts = {name: mark['attempts'] for name, mark in marks(folder).items()}
    assert attempts == {'slow/seed0': 1, 'slow/seed1': 2, 'fast/seed0': 2, 'fast/seed1': 1}
    assert before['slow/seed0'] == marks(folder)['slow/seed0']
    check_whole(folder)


@pytest.mark.slow
def test_jobs_of_a_cluster_outlive_the_command(study, tmp_path):
    pytest.importorskip('submitit')
    folder = tmp_path / 'out'
    arguments = (study, '--work-dir', folder, '--cluster', 'local', '--jobs', 2)
    first = start(*arguments, folder=tmp_path)
    wait_for(lambda: marks(folder).get('slow/seed1', {}).get('attempts') == 1)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)
    assert first.returncode == 130
    assert 'fast/seed0' not in marks(folder)
    # Nobody is watching.
    wait_for(lambda: all(mark.get('exit_code') == 0 for mark in marks(folder).values()))

    second = start(*arguments, folder=tmp_path)
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    assert {mark['attempts'] for mark in marks(folder).values()} == {1}
    check_whole(folder)
