"""What a run finds in its folder: another run, a record, checkpoints to resume from."""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import socket
import struct
from pathlib import Path
from typing import IO

from mmengine.logging import print_log

from ..checkpoints.safe_loading import check_sums, load_plain
from ..log import warn
from .history import FILE_NAME, read_history

LOCK_NAME = '.running'
_RESUMABLE = ('state_dict', 'optimizer', 'message_hub', 'meta')
# Open for as long as the process lives: closing the file gives the folder up.
_claimed: dict[Path, IO[str]] = {}
# The work_dirs that this process has made, and the topmost folder that it made for each.
_made: dict[Path, Path] = {}


def claim_work_dir(work_dir: str | Path, lock: str = LOCK_NAME) -> None:
    """Take a folder for this process alone until it ends, however it ends.

    By a POSIX record lock on the file ``lock``, which data loader workers, who may outlive a killed run, do
    not inherit. A study claims its runs' folders by a ``lock`` of its own. RuntimeError names the process
    that has it; OSError if it cannot be written to.
    """
    path = Path(work_dir).resolve() / lock
    if path in _claimed:
        return
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open('a+')
        _lock(file, work_dir)
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
        file.flush()
    except OSError as error:
        raise OSError(
            error.errno,
            f'work_dir {work_dir}: cannot be written to ({error.strerror}); give another --work-dir',
        ) from error
    _claimed[path] = file
    if missing:
        _made[path.parent] = missing[-1]


def release_work_dir(work_dir: str | Path, lock: str = LOCK_NAME) -> None:
    """Give up a folder that ``claim_work_dir`` took."""
    if file := _claimed.pop(Path(work_dir).resolve() / lock, None):
        file.close()


def remove_unbegun() -> None:
    """Remove the folders that ``claim_work_dir`` made, where no run has begun a record or saved anything."""
    while _made:
        folder, top = _made.popitem()
        if (folder / FILE_NAME).exists() or _checkpoints(folder):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: someone else's too
            while folder != top:
                folder = folder.parent
                folder.rmdir()


def is_claimed(work_dir: str | Path, lock: str = LOCK_NAME) -> bool:
    """Whether a process, this or another, has a folder; False where the file system has no locks."""
    path = Path(work_dir).resolve() / lock
    # Closing any handle of a file gives up this process's own lock on it.
    if path in _claimed:
        return True
    # Asked for, not tried: a lock held for a moment could have another's claim refused.
    wanted = struct.pack('hhqqi', fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        with path.open('r+') as file:
            found = fcntl.fcntl(file, fcntl.F_GETLK, wanted)
    except OSError:
        return False
    return struct.unpack('hhqqi', found)[0] != fcntl.F_UNLCK


def _lock(file: IO[str], work_dir: str | Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            # Network file systems without locks.
            warn(
                f'work_dir {work_dir}: its file system has no locks ({error.strerror}), so a second run in '
                'it cannot be refused'
            )
            return
        file.seek(0)
        holder = file.read().strip() or 'another process'
        file.close()
        raise RuntimeError(
            f'work_dir {work_dir}: a run is going on in it ({holder}); wait for its end, or give another '
            '--work-dir'
        ) from error


def find_checkpoint(work_dir: str | Path, out_dir: str | None = None) -> Path | None:
    """The newest checkpoint of a run that loads, or None if there is none; logs what it passes over.

    Looks at the files themselves and not only at ``last_checkpoint``, which a crash may have lost, and which
    in a copied run names the original's. ``out_dir`` is that of ``CheckpointHook``. ValueError if none of
    them loads.
    """
    work_dir = Path(work_dir)
    paths, problems = _checkpoints(work_dir), []
    # What the pointer says is worth no more than a look.
    with contextlib.suppress(OSError, ValueError):
        named = Path((work_dir / 'last_checkpoint').read_text().strip())
        if named.is_file() and named.resolve() not in {path.resolve() for path in paths}:
            own = [work_dir]
            if out_dir:
                # As MMEngine puts them together.
                own.append(Path(out_dir, os.path.basename(os.path.abspath(work_dir))))
            if named.parent.resolve() in [folder.resolve() for folder in own]:
                paths.append(named)
            else:
                warn(
                    f'Skipped on resume: {work_dir}/last_checkpoint names {named}, a checkpoint of '
                    'another folder. Is the run a copy?'
                )
    for path in sorted(paths, key=_number, reverse=True):
        problem = _problem(path)
        if problem is None:
            print_log(f'Resume from {path}, the newest checkpoint that loads', logger='current')
            return path
        problems.append(problem)
        warn(f'Skipped on resume: {problem}')
    if problems:
        raise ValueError(
            f'work_dir {work_dir}: none of its {len(problems)} checkpoints can be resumed from: '
            f'{"; ".join(problems)}. Start again with --overwrite, or in another --work-dir'
        )
    return None


def refuse_recorded(work_dir: str | Path) -> None:
    """Raise FileExistsError where a run that starts from zero would write over another's results.

    That is over recorded validations, or beside checkpoints of trained weights, which --resume would later
    take for the new run's. A header and iteration 0 alone are nothing lost.
    """
    path = Path(work_dir) / FILE_NAME
    if _has_rows(path):
        found = f'{path} already holds a record of adaptation'
    elif trained := [path for path in _checkpoints(Path(work_dir)) if _number(path)[0] > 0]:
        found = f'{max(trained, key=_number)} is a checkpoint of an earlier run'
    else:
        return
    raise FileExistsError(
        f'{found}; resume that run by --resume if it has a checkpoint, give another --work-dir, or start '
        'again with --overwrite, which deletes record, checkpoints and snapshots'
    )


def _has_rows(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        return bool(read_history(path).rows)
    except ValueError:
        return path.stat().st_size > 0


def clear_work_dir(work_dir: str | Path) -> None:
    """Delete an earlier run's record, snapshots and checkpoints; logs and everything else stay."""
    work_dir = Path(work_dir)
    # The record last: as long as it is there, no run starts over these without being told to.
    for pattern in ('iter_*.pth', 'epoch_*.pth', 'best_*.pth', '.*.pth.*.tmp', 'last_checkpoint'):
        for path in work_dir.glob(pattern):
            path.unlink()
    shutil.rmtree(work_dir / 'snapshots', ignore_errors=True)
    (work_dir / FILE_NAME).unlink(missing_ok=True)


def _checkpoints(work_dir: Path) -> list[Path]:
    return [*work_dir.glob('iter_*.pth'), *work_dir.glob('epoch_*.pth')]


def _number(path: Path) -> tuple[int, str]:
    digits = re.findall(r'\d+', path.stem)
    return (int(digits[-1]) if digits else -1, path.name)


def _problem(path: Path) -> str | None:
    """Why a run cannot be resumed from a checkpoint, or None if it can."""
    try:
        # What it has; the tensors are looked at by their check sums, and read once the runner takes them.
        content = load_plain(path, mmap=True)
        check_sums(path)
    # A flipped bit fails wherever the reader happens to be, zipfile's NotImplementedError included.
    except Exception as error:
        return str(error) if str(path) in str(error) else f'checkpoint {path}: damaged ({error})'
    missing = [key for key in _RESUMABLE if not isinstance(content, dict) or key not in content]
    if missing:
        return f'checkpoint {path}: has no {missing[0]!r}, so it is not one to resume from'
    return None
