"""Free memory, errors of too little memory, and malloc's settings."""

import ctypes
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

# Limit, use, and of the use what is page cache that the system gives up at need; in the second and the first
# version of Linux' control groups.
_FILES = (
    ('memory.max', 'memory.current', 'inactive_file'),
    ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file'),
)
# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
# Of Python and NumPy by its type; of torch on any device, its CPU allocator and OpenCV by its text.
_SHORT = re.compile(
    "out ?of ?memory|not enough memory|can't allocate memory|failed to allocate|bad_alloc|alloc_failed",
    re.IGNORECASE,
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that there was not enough memory, of this machine or of an accelerator."""
    return isinstance(error, MemoryError) or _SHORT.search(str(error)) is not None


def available_memory(proc: Path = Path('/proc'), groups: Path = Path('/sys/fs/cgroup')) -> int | None:
    """Bytes to be had without swapping, in machine and control groups; None if unknown."""
    found = []
    meminfo = proc / 'meminfo'
    if meminfo.exists() and (match := re.search(r'MemAvailable:\s+(\d+) kB', meminfo.read_text())):
        found.append(int(match[1]) * 1024)
    for folder, (limit, used, cache) in _control_groups(proc, groups):
        try:
            taken = int((folder / used).read_text())
            counts = dict(line.split() for line in (folder / 'memory.stat').read_text().splitlines())
            found.append(int((folder / limit).read_text()) - taken + int(counts.get(cache, 0)))
        except (OSError, ValueError):  # not there, or 'max'
            continue
    return min(found, default=None)


def _control_groups(proc: Path, groups: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """The folders of this process's control groups of memory, and of those above."""
    try:
        lines = (proc / 'self/cgroup').read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(':', 2)
        if controllers and 'memory' not in controllers.split(','):
            continue
        root, files = (groups / 'memory', _FILES[1]) if controllers else (groups, _FILES[0])
        folder = root / path.strip('/')
        # In a container the path may be its host's, of which only the root is there.
        yield from ((place, files) for place in (folder, *folder.parents) if place.is_relative_to(root))


def free_shared_memory(folder: Path = Path('/dev/shm')) -> int | None:
    """Bytes that processes can still share by files, None where there is no such file system."""
    return shutil.disk_usage(folder).free if folder.is_dir() else None


def keep_freed_memory() -> bool:
    """Let glibc's malloc keep what is freed, instead of giving each large tensor back to the system.

    By default every block above 32 MB is mapped anew, and its pages are faulted in one by one: close to half
    the time of a forward pass on street photographs, on a CPU. Returns whether it was done: not with another
    C library, nor where the environment has a variable ``MALLOC_...``.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    if any(name.startswith('MALLOC_') for name in os.environ):
        return False
    return mallopt(_M_MMAP_MAX, 0) == 1 and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1) == 1
