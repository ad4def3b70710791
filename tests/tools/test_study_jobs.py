"""tools/study.py: jobs that outlive the command that has started them."""

import signal

import pytest

pytest.importorskip('submitit')
pytestmark = pytest.mark.slow


def test_jobs_of_a_cluster_outlive_the_command(study):
    arguments = ('--cluster', 'local', '--jobs', 1)
    first = study.start(*arguments)
    study.wait_for(lambda marks: marks.get('tiny/seed0', {}).get('attempts') == 1)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)
    assert first.returncode == 130
    assert 'tiny/seed1' not in study.marks()
    # Nobody is watching.
    study.wait_for(lambda marks: marks['tiny/seed0'].get('exit_code') == 0)

    second = study.start(*arguments)
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    assert {mark['attempts'] for mark in study.marks().values()} == {1}
    study.check_whole()
