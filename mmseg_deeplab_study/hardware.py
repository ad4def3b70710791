"""What this machine is, and whether it computes in bfloat16 at any speed."""

import logging
import os
import platform
import re
from pathlib import Path

import torch
from mmengine.logging import print_log

_CPU_INFO = Path('/proc/cpuinfo')


def usable_cores() -> int:
    """How many cores this process may use: in a cluster's job fewer than there are."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_hardware(device: torch.device) -> str:
    """The device by its name, and the processor's cores."""
    cores = f'{usable_cores()} cores'
    if device.type == 'cuda':
        return f'{torch.cuda.get_device_name(device)}, {cores}'
    found = re.search(r'model name\s*:\s*(.+)', _cpu_info())
    return f'{found[1] if found else platform.processor() or platform.machine()}, {cores}'


def has_native_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16 itself; True where the system does not say."""
    flags = _cpu_info()
    return not flags or any(flag in flags for flag in ('avx512_bf16', 'amx_bf16', ' bf16'))


def warn_of_slow_bfloat16(option: str) -> None:
    """Log a warning if ``option`` asks for bfloat16 of a processor that has to emulate it."""
    if not has_native_bfloat16():
        print_log(
            f'{option}: this processor has no bfloat16 instructions; expect it to be several times slower '
            'than float32',
            logger='current',
            level=logging.WARNING,
        )


def _cpu_info() -> str:
    return _CPU_INFO.read_text() if _CPU_INFO.is_file() else ''
