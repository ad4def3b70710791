"""Side-by-side measuring: alternating timings, peak memory, the machine."""

import ctypes
import gc
import multiprocessing
import platform
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.progress import track

from mmseg_deeplab_study.hardware import describe_hardware, has_native_bfloat16
from mmseg_deeplab_study.memory import keep_freed_memory


def alternate(tasks: Mapping[str, Callable[[], object]], rounds: int, what: str) -> dict[str, float]:
    """Median seconds of each task, taking turns, after one untimed round."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in track(range(-1, rounds), what):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            if number >= 0:
                seconds[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}


def in_own_process(task: Callable[..., Any], *arguments: Any) -> Any:
    """What a task returns in a new process, with an allocator of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        return pool.submit(task, *arguments).result()


def peak_growth(task: Callable[[], object]) -> float:
    """MB by which the process at most grows while the task runs."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else the task could begin with what another has freed
    before = memory_mb('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')  # the high-water mark starts from here
    task()
    return memory_mb('VmHWM') - before


def memory_mb(key: str) -> float:
    """The kernel's ``VmRSS`` (held now) or ``VmHWM`` (at most), in MB."""
    return int(re.search(rf'{key}:\s+(\d+) kB', Path('/proc/self/status').read_text())[1]) / 1024


def keep_memory() -> None:
    """Have the allocator as our tools set it, from now on.

    There is no way back in one process: glibc raises its thresholds by itself only where none was ever set.
    """
    if not keep_freed_memory():
        raise RuntimeError('needs glibc, and no MALLOC_... variable in the environment')


def machine() -> str:
    """One line: processor, cores, versions, date."""
    native = 'with' if has_native_bfloat16() else 'without'
    return (
        f'{describe_hardware(torch.device("cpu"))}, {native} bfloat16 instructions, '
        f'Python {platform.python_version()}, PyTorch {torch.__version__}, {date.today().isoformat()}'
    )
