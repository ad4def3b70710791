"""tools/study.py: real runs from one command, also when it is killed and started again."""

import signal

import pytest

pytestmark = pytest.mark.slow


def test_a_killed_study_goes_on_and_repeats_nothing(study):
    first = study.start()
    study.wait_for(lambda marks: marks.get('tiny/seed0', {}).get('attempts') == 1)
    first.kill()
    first.communicate(timeout=150)
    before = study.marks()
    assert before['tiny/seed0']['exit_code'] is None
    assert 'tiny/seed1' not in before

    second = study.start()
    study.wait_for(lambda marks: marks.get('tiny/seed1', {}).get('attempts') == 1)
    second.send_signal(signal.SIGINT)
    output, _ = second.communicate(timeout=150)
    assert (second.returncode, output.splitlines()[-1]) == (
        130,
        'interrupted: the same command resumes the study',
    )
    before = study.marks()
    assert before['tiny/seed0']['exit_code'] == 0
    assert before['tiny/seed1']['exit_code'] is None

    third = study.start()
    output, _ = third.communicate(timeout=300)
    assert third.returncode == 0, output
    assert f'Report: {study.folder / "report.html"}' in output
    attempts = {name: mark['attempts'] for name, mark in study.marks().items()}
    assert attempts == {'tiny/seed0': 2, 'tiny/seed1': 2}
    assert before['tiny/seed0'] == study.marks()['tiny/seed0']
    study.check_whole()
