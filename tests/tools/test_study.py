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
    """A study of two seeds, each run ten iterations of a tiny network."""
    cfg = make_config(make_tiny_cityscapes(tmp_path), tmp_path / 'unused')
    cfg.pop('work_dir')
    cfg.default_hooks.checkpoint.update(interval=5)
    cfg.dump(tmp_path / 'tiny.py')
    path = tmp_path / 'two_seeds.py'
    path.write_text("runs = {'tiny': dict(config='tiny.py')}\nseeds = [0, 1]\n")
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
    for seed in (0, 1):
        history = read_history(folder / f'tiny/seed{seed}' / FILE_NAME)
        assert [row['iter'] for row in history.validations] == [0, 5, 10]
        assert history.header['seed'] == seed
    table = json.loads((folder / 'analysis.json').read_text())
    assert [run['name'] for run in table['runs']] == ['seed0', 'seed1']
    # One experiment of two seeds: mean and band.
    assert [len(group['runs']) for group in table['groups']] == [2]


@pytest.mark.slow
def test_a_killed_study_goes_on_and_repeats_nothing(study, tmp_path):
    folder = tmp_path / 'out'
    first = start(study, '--work-dir', folder, folder=tmp_path)
    wait_for(lambda: marks(folder).get('tiny/seed0', {}).get('attempts') == 1)
    first.kill()
    first.communicate(timeout=150)
    before = marks(folder)
    assert before['tiny/seed0']['exit_code'] is None
    assert 'tiny/seed1' not in before

    second = start(study, '--work-dir', folder, folder=tmp_path)
    wait_for(lambda: marks(folder).get('tiny/seed1', {}).get('attempts') == 1)
    second.send_signal(signal.SIGINT)
    output, _ = second.communicate(timeout=150)
    assert (second.returncode, output.splitlines()[-1]) == (130, 'Interrupted: the same command goes on')
    before = marks(folder)
    assert before['tiny/seed0']['exit_code'] == 0
    assert before['tiny/seed1']['exit_code'] is None

    third = start(study, '--work-dir', folder, folder=tmp_path)
    output, _ = third.communicate(timeout=300)
    assert third.returncode == 0, output
    assert f'Report: {folder / "report.html"}' in output
    attempts = {name: mark['attempts'] for name, mark in marks(folder).items()}
    assert attempts == {'tiny/seed0': 2, 'tiny/seed1': 2}
    assert before['tiny/seed0'] == marks(folder)['tiny/seed0']
    check_whole(folder)


@pytest.mark.slow
def test_jobs_of_a_cluster_outlive_the_command(study, tmp_path):
    pytest.importorskip('submitit')
    folder = tmp_path / 'out'
    arguments = (study, '--work-dir', folder, '--cluster', 'local', '--jobs', 1)
    first = start(*arguments, folder=tmp_path)
    wait_for(lambda: marks(folder).get('tiny/seed0', {}).get('attempts') == 1)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)
    assert first.returncode == 130
    assert 'tiny/seed1' not in marks(folder)
    # Nobody is watching.
    wait_for(lambda: marks(folder)['tiny/seed0'].get('exit_code') == 0)

    second = start(*arguments, folder=tmp_path)
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    assert {mark['attempts'] for mark in marks(folder).values()} == {1}
    check_whole(folder)
