"""Side-by-side measuring: alternating timings, peak memory, and what the machine is."""

import contextlib
import ctypes
import gc
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from statistics import median

import torch
from rich.progress import track

from mmseg_deeplab_study.allocator import keep_freed_memory

# What glibc's malloc has by default once a process has freed a large block, in its own parameters' numbers:
# it raises both thresholds by itself, but no longer where one was ever set.
_BY_DEFAULT = {-4: 65536, -3: 32 << 20, -1: 64 << 20}  # most mmaps, their threshold, that of trimming


def alternate(tasks: Mapping[str, Callable[[], object]], rounds: int, what: str) -> dict[str, float]:
    """Median seconds of each task, one after the other in each round, behind one untimed round."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in track(range(-1, rounds), what):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            if number >= 0:
                seconds[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}


def peak_growth(task: Callable[[], object]) -> float:
    """MB by which the process at most grows while the task runs, beyond what it holds for good."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else the task could begin with what another has freed
    before = _status('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')  # the high-water mark starts from here
    task()
    return _status('VmHWM') - before


def _status(key: str) -> float:
    return int(re.search(rf'{key}:\s+(\d+) kB', Path('/proc/self/status').read_text())[1]) / 1024


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """The allocator as our tools set it; afterwards as the C library has it, without what was freed."""
    if not keep_freed_memory():
        raise RuntimeError('needs glibc, and no MALLOC_... variable in the environment')
    try:
        yield
    finally:
        libc = ctypes.CDLL(None)
        for parameter, value in _BY_DEFAULT.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)


def machine() -> str:
    """One line: processor, cores, versions, date."""
    cpu = re.search(r'model name\s*:\s*(.+)', Path('/proc/cpuinfo').read_text())
    flags = Path('/proc/cpuinfo').read_text()
    native = 'with' if 'avx512_bf16' in flags else 'without'
    return (
        f'{cpu[1] if cpu else platform.processor()}, {os.cpu_count()} cores, {native} AVX-512 BF16, '
        f'Python {platform.python_version()}, PyTorch {torch.__version__}, {date.today().isoformat()}'
    )
