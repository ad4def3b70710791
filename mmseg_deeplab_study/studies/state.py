"""How far a run of a study is, read from its folder alone: the same here and on a cluster."""

import contextlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ..atomic_file import write_atomically
from ..engine.work_dir import is_claimed
from ..evaluation.history import FILE_NAME
from .plan import Run

LOCK = '.study'
LOG = 'train.log'
MARK = 'run.json'
# Apart from the mark: what submits a job and the job itself may write at the same moment.
JOB = 'job.json'
# Of a file's end: enough for some rows of a record, or some hundred lines of a log.
TAIL = 200_000
_LINE = re.compile(r'^(\d\d/\d\d \d\d:\d\d:\d\d) .*Iter\(train\) \[ *(\d+)/(\d+)\]', re.MULTILINE)


class RunState(NamedTuple):
    """What is known of a run.

    Attributes:
        status: ``waiting`` (not begun), ``queued`` (in a cluster's queue), ``running``, ``done``, ``failed``,
            ``interrupted`` (begun, and nobody is at it), or ``blocked`` (its source has failed).
        iteration: updates done; None before the first is logged.
        max_iters: updates in all.
        miou: of the last validation, in percent.
        seconds_left: at the pace of the log; None where there is none.
        problem: why it could not be started.
    """

    status: str
    iteration: int | None = None
    max_iters: int | None = None
    miou: float | None = None
    seconds_left: float | None = None
    problem: str = ''


def read_mark(run: Run) -> dict[str, Any]:
    """What ``write_mark`` wrote; empty where nothing is."""
    return _read(run.folder / MARK)


def write_mark(run: Run, **changes: Any) -> None:
    """Change what the run's folder says of it, atomically."""
    _write(run.folder / MARK, {**read_mark(run), **changes})


def read_job(run: Run) -> dict[str, Any]:
    """``cluster``, ``id`` and ``slot`` of the job that a run was last handed on as; empty if it never was."""
    return _read(run.folder / JOB)


def write_job(run: Run, cluster: str, number: str, slot: int | None = None) -> None:
    """Note the job that a cluster was given the run as."""
    _write(run.folder / JOB, {'cluster': cluster, 'id': number, 'slot': slot})


def is_alive(run: Run) -> bool:
    """Whether a job of submitit's executor for this machine is going on, also one of an earlier call."""
    job = read_job(run)
    if job.get('cluster') != 'local':
        return False
    try:
        # Another program may have got its number since.
        arguments = Path(f'/proc/{job["id"]}/cmdline').read_bytes()
        ended = Path(f'/proc/{job["id"]}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b'submitit' in arguments and not ended


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text('utf-8')) if path.is_file() else {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content, indent=1) + '\n').encode())


def check_mark(run: Run) -> None:
    """Refuse a folder in which a run of another recipe was begun.

    Raises:
        ValueError: says what is different.
    """
    begun = read_mark(run).get('recipe')
    if begun is None or begun == (recipe := run.recipe()):
        return
    changed = [
        f'{key} was {_brief(begun.get(key), recipe[key])}, now {_brief(recipe[key], begun.get(key))}'
        for key in recipe
        if begun.get(key) != recipe[key]
    ]
    raise ValueError(
        f'run {run.name}: {run.folder} was begun with another recipe ({"; ".join(changed)}). Give another '
        '--work-dir, or remove that folder'
    )


def _brief(value: Any, other: Any) -> Any:
    """Of options only those that differ, of a digest its beginning."""
    if isinstance(value, dict) and isinstance(other, dict):
        return {key: item for key, item in value.items() if key not in other or other[key] != item}
    return value[:8] if isinstance(value, str) and len(value) == 64 else value


def look(run: Run) -> RunState:
    """How far a run is; what only a cluster knows is not in it."""
    mark = read_mark(run)
    iteration, max_iters, seconds = _progress(_tail(run.folder / LOG))
    if (code := mark.get('exit_code')) is not None:
        status = 'failed' if code else 'done'
    elif is_claimed(run.folder, LOCK) or is_claimed(run.folder):
        status = 'running'
    else:
        status = 'interrupted' if mark.get('attempts') else 'waiting'
    left = seconds if status == 'running' else None
    return RunState(status, iteration, max_iters, _last_miou(_tail(run.folder / FILE_NAME)), left)


def _tail(path: Path) -> str:
    # NotADirectoryError too: something else stands where the run's folder should be.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read().decode(errors='replace')
    return ''


def _progress(log: str) -> tuple[int | None, int | None, float | None]:
    """Iteration, iterations in all and seconds left, from MMEngine's log.

    The pace is that between the first and the last line of the last attempt, validations included.
    """
    found = _LINE.findall(log)
    if not found:
        return None, None, None
    last_time, last, total = found[-1]
    done, max_iters = int(last), int(total)
    # A resumed run may step back; what is before that is another attempt's pace.
    attempt = [(time, int(n)) for time, n, _ in found]
    for i in range(len(attempt) - 1, 0, -1):
        if attempt[i - 1][1] >= attempt[i][1]:
            attempt = attempt[i:]
            break
    first_time, first = attempt[0]
    if first == done:
        return done, max_iters, None
    seconds = (_clock(last_time) - _clock(first_time)) / (done - first) * (max_iters - done)
    return done, max_iters, seconds if seconds >= 0 else None


def _clock(text: str) -> float:
    # The log has no year; any leap year will do, as only differences are asked for.
    return datetime.strptime(f'2000/{text}', '%Y/%m/%d %H:%M:%S').timestamp()


def _last_miou(record: str) -> float | None:
    for line in reversed(record.splitlines()):
        row = _row(line)
        if row.get('kind') == 'validation' and row.get('mIoU') is not None:
            return row['mIoU']
    return None


def _row(line: str) -> Mapping[str, Any]:
    # The first line of a tail and the last of a record that is being written are not whole.
    with contextlib.suppress(ValueError):
        row = json.loads(line)
        return row if isinstance(row, dict) else {}
    return {}
