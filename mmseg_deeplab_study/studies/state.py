"""How far a run of a study is, read from its folder alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from ..atomic_file import write_atomically
from ..json_lines import read_objects
from ..report.runs import training_logs
from ..runs.history import FILE_NAME, Kind
from ..runs.work_dir import is_claimed
from .plan import StudyRun

LOCK = '.study'
LOG = 'train.log'
MARK = 'run.json'
# Apart from the mark: what submits a job and the job itself may write at the same moment.
JOB = 'job.json'
# Bytes at a file's end: some rows of a record, some hundred lines of a log.
TAIL = 200_000


class RunState(NamedTuple):
    """What is known of a run; of numbers None where nothing is logged yet.

    ``status`` is ``waiting`` (not begun), ``queued`` (in a cluster's queue), ``running``, ``done``,
    ``failed``, ``interrupted`` (begun, and no process runs it), or ``blocked`` (its source has failed).
    ``iteration`` are updates done, ``miou`` is the last validation's in percent, ``seconds_left`` is at the
    pace so far, and ``problem`` says why it could not be started.
    """

    status: str
    iteration: int | None = None
    max_iters: int | None = None
    miou: float | None = None
    seconds_left: float | None = None
    problem: str = ''


def read_mark(run: StudyRun) -> dict[str, Any]:
    """What ``write_mark`` wrote; empty where nothing is."""
    return _read(run.folder / MARK)


def write_mark(run: StudyRun, **changes: Any) -> None:
    """Change what the run's folder says of it, atomically."""
    _write(run.folder / MARK, {**read_mark(run), **changes})


def read_job(run: StudyRun) -> dict[str, Any]:
    """``cluster``, ``id`` and ``slot`` of a run's last job; empty if it had none."""
    return _read(run.folder / JOB)


def write_job(run: StudyRun, cluster: str, number: str, slot: int | None = None) -> None:
    """Note the job that a cluster was given the run as."""
    _write(run.folder / JOB, {'cluster': cluster, 'id': number, 'slot': slot})


def is_alive(run: StudyRun) -> bool:
    """Whether a submitit job of this machine runs, also of an earlier call."""
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


def check_mark(run: StudyRun) -> None:
    """Raise ValueError for a folder in which a run of another recipe was begun."""
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


def look(run: StudyRun) -> RunState:
    """How far a run is; what only a cluster knows is not in it."""
    mark = read_mark(run)
    record = [row for row in read_objects(run.folder / FILE_NAME, TAIL) if 'iter' in row]
    # Of the last attempt that came to an iteration.
    logged = next(filter(None, training_logs(run.folder, TAIL)), [])
    iteration = logged[-1]['step'] if logged else record[-1]['iter'] if record else None
    if (code := mark.get('exit_code')) is not None:
        status = 'failed' if code else 'done'
    elif is_claimed(run.folder, LOCK) or is_claimed(run.folder):
        status = 'running'
    else:
        status = 'interrupted' if mark.get('attempts') else 'waiting'
    if iteration is None:
        return RunState(status, max_iters=run.max_iters)
    scored = [row for row in record if row.get('kind') == Kind.VALIDATION and row.get('mIoU') is not None]
    miou = scored[-1]['mIoU'] if scored else None
    left = (run.max_iters - iteration) * _pace(logged, record) if logged and status == 'running' else None
    return RunState(status, iteration, run.max_iters, miou, left)


def _pace(logged: Sequence[Mapping[str, Any]], record: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of an iteration, with its share of the validations."""
    seconds = fmean(row['time'] for row in logged)
    if record and (iterations := record[-1]['iter'] - record[0]['iter']):
        validating = (row.get('seconds', 0) for row in record if row['iter'] > record[0]['iter'])
        seconds += sum(validating) / iterations
    return seconds
