"""What a run finds in its folder: another run, a record, checkpoints to resume from."""

import fcntl
import logging
import os
import re
import shutil
import socket
import zipfile
from pathlib import Path
from typing import IO

from mmengine.logging import print_log

from ..checkpoints.safe_loading import load_plain
from ..evaluation.history import FILE_NAME, read_history

LOCK_NAME = '.running'
_RESUMABLE = ('state_dict', 'optimizer', 'message_hub', 'meta')
# Open for as long as the process lives: closing the file gives the folder up.
_claimed: dict[Path, IO[str]] = {}


def claim_work_dir(work_dir: str | Path) -> None:
    """Take a folder for this process alone until it ends, however it ends.

    A POSIX record lock, which data loader workers do not inherit: one that outlives a killed run for a moment
    does not hold the folder.

    Raises:
        RuntimeError: another process has it; names that one.
        OSError: the folder cannot be written to.
    """
    path = Path(work_dir).resolve() / LOCK_NAME
    if path in _claimed:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open('a+')
    except OSError as error:
        raise OSError(
            error.errno,
            f'work_dir {work_dir}: cannot be written to ({error.strerror}); give another --work-dir',
        ) from error
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or 'another process'
        file.close()
        raise RuntimeError(
            f'work_dir {work_dir}: a run is going on in it ({holder}); wait for its end, or give another '
            '--work-dir'
        ) from error
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
    file.flush()
    _claimed[path] = file


def find_checkpoint(work_dir: str | Path) -> Path | None:
    """The newest checkpoint of a run that loads, or None if there is none at all.

    Looks at the files themselves, newest iteration first, and not only at ``last_checkpoint``, which a crash
    may have lost; logs which it passes over and why.

    Raises:
        ValueError: there are checkpoints and none of them loads.
    """
    work_dir = Path(work_dir)
    paths = set(work_dir.glob('iter_*.pth')) | set(work_dir.glob('epoch_*.pth'))
    pointer = work_dir / 'last_checkpoint'
    # CheckpointHook's out_dir may be elsewhere.
    if pointer.is_file() and (named := Path(pointer.read_text(errors='replace').strip())).is_file():
        paths |= {named} if named.resolve() not in {path.resolve() for path in paths} else set()
    problems = []
    for path in sorted(paths, key=_number, reverse=True):
        problem = _problem(path)
        if problem is None:
            print_log(f'Resume from {path}, the newest checkpoint that loads', logger='current')
            return path
        problems.append(problem)
        print_log(f'Passed over to resume: {problem}', logger='current', level=logging.WARNING)
    if problems:
        raise ValueError(
            f'work_dir {work_dir}: none of its {len(problems)} checkpoints can be resumed from: '
            f'{"; ".join(problems)}. Start again with --overwrite, or in another --work-dir'
        )
    return None


def refuse_recorded(work_dir: str | Path) -> None:
    """Raise FileExistsError where a folder holds recorded validations; a header alone is nothing lost."""
    path = Path(work_dir) / FILE_NAME
    if not path.exists():
        return
    try:
        recorded = bool(read_history(path).rows)
    except ValueError:
        recorded = path.stat().st_size > 0
    if recorded:
        raise FileExistsError(
            f'{path} already holds a record of adaptation; go on with it by --resume, give another '
            '--work-dir, or start again with --overwrite, which deletes it with its checkpoints and snapshots'
        )


def clear_work_dir(work_dir: str | Path) -> None:
    """Delete an earlier run's record, snapshots and checkpoints; logs and everything else stay."""
    work_dir = Path(work_dir)
    # The record last: as long as it is there, no run starts over these without being told to.
    for pattern in ('iter_*.pth', 'epoch_*.pth', 'best_*.pth', 'last_checkpoint'):
        for path in work_dir.glob(pattern):
            path.unlink()
    shutil.rmtree(work_dir / 'snapshots', ignore_errors=True)
    (work_dir / FILE_NAME).unlink(missing_ok=True)


def _number(path: Path) -> tuple[int, str]:
    digits = re.findall(r'\d+', path.stem)
    return (int(digits[-1]) if digits else -1, path.name)


def _problem(path: Path) -> str | None:
    """Why a run cannot be resumed from a checkpoint, or None if it can."""
    try:
        content = load_plain(path)
        # torch does not look at the check sums, and would go on with flipped bits.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        return str(error)
    if damaged is not None:
        return f'checkpoint {path}: damaged, the check sum of {damaged} is wrong'
    missing = [key for key in _RESUMABLE if not isinstance(content, dict) or key not in content]
    if missing:
        return f'checkpoint {path}: has no {missing[0]!r}, so it is not one to resume from'
    return None
