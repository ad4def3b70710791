"""A run that is killed at random moments, or asked to end, leaves the record of an uninterrupted one."""

import random
import signal
import time

import pytest

pytestmark = pytest.mark.slow

RANDOM_MOMENTS = 4  # with no workers, and as many with two


@pytest.mark.parametrize('workers', [0, 2])
def test_killed_at_random_moments(runs, uninterrupted, tmp_path, workers):
    expected, seconds = uninterrupted(workers)
    moments, kills, attempt = random.Random(workers), 0, 0
    while kills < RANDOM_MOMENTS:
        work_dir, killed, attempt = tmp_path / f'work_{attempt}', True, attempt + 1
        while killed and kills < RANDOM_MOMENTS:
            # Resumed and killed again, until it gets through.
            run = runs.start(workers, work_dir, '--resume')
            time.sleep(moments.uniform(0.05, 0.6) * seconds)
            run.send_signal(signal.SIGKILL)
            done = run.wait()
            killed = done.returncode == -signal.SIGKILL
            assert killed or done.returncode == 0, done.stderr
            kills += killed
        if killed:
            runs.resumes(workers, work_dir)
        assert runs.record(work_dir) == expected, f'after {kills} kills'


@pytest.mark.parametrize(
    ('kill', 'workers', 'reached'),
    [(('terminated_in_training', 5), 2, 6), (('terminated_in_validation', 9), 0, 9)],
    ids=('training', 'validation'),
)
def test_terminated(runs, uninterrupted, tmp_path, kill, workers, reached):
    expected, _ = uninterrupted(workers)
    work_dir = tmp_path / 'work'
    ended = runs.start(workers, work_dir, kill=kill).wait()
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    assert f'SIGTERM: saved iteration {reached} and ended' in ended.stdout + ended.stderr
    assert (work_dir / 'last_checkpoint').read_text().endswith(f'iter_{reached}.pth')
    runs.resumes(workers, work_dir)
    assert runs.record(work_dir) == expected
