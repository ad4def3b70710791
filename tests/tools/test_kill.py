"""A run that is killed at a named point and resumed leaves the record of an uninterrupted one."""

import signal

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ('kill', 'workers'),
    [
        (('in_history_append', 0), 0),
        (('in_history_append', 6), 2),
        (('behind_row', 6), 0),
        (('before_validation', 0), 2),
        (('before_validation', 12), 0),
        (('before_validation', 12), 2),
        (('in_validation', 3), 0),
        (('in_validation', 3), 2),
        (('in_validation', 12), 0),
        (('in_checkpoint_write', 0), 0),
        (('in_checkpoint_write', 8), 0),
        (('in_checkpoint_write', 8), 2),
        (('before_rename', 4), 0),
    ],
    ids=lambda value: '-'.join(map(str, value)) if isinstance(value, tuple) else f'{value} workers',
)
def test_killed_at_a_named_point(runs, uninterrupted, tmp_path, kill, workers):
    expected, _ = uninterrupted(workers)
    work_dir = tmp_path / 'work'
    killed = runs.start(workers, work_dir, kill=kill).wait()
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    runs.resumes(workers, work_dir)
    assert runs.record(work_dir) == expected
    assert not list(work_dir.glob('**/.*.tmp'))
