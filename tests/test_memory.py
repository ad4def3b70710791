"""What the system says of its memory, in files made up here."""

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmseg_deeplab_study.memory import available_memory, free_shared_memory, is_out_of_memory

MEMINFO = 'MemTotal:       16000 kB\nMemAvailable:    9000 kB\n'
V1 = ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file')
V2 = ('memory.max', 'memory.current', 'inactive_file')


@pytest.fixture
def system(tmp_path):
    """A function of /proc/self/cgroup and, by folder, of each group's limit, use and inactive cache."""

    def make(lines: str, groups: dict[str, tuple], names: tuple[str, str, str]) -> int | None:
        (tmp_path / 'proc/self').mkdir(parents=True)
        (tmp_path / 'proc/meminfo').write_text(MEMINFO)
        (tmp_path / 'proc/self/cgroup').write_text(lines)
        for folder, (limit, used, cache) in groups.items():
            path = tmp_path / 'groups' / folder
            path.mkdir(parents=True, exist_ok=True)
            (path / names[0]).write_text(f'{limit}\n')
            (path / names[1]).write_text(f'{used}\n')
            (path / 'memory.stat').write_text(f'anon 5\n{names[2]} {cache}\nslab 7\n')
        return available_memory(tmp_path / 'proc', tmp_path / 'groups')

    return make


def test_this_machine():
    available = available_memory()
    assert available is None or 2**20 < available < os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


ALL = 'max'
FIRST_VERSION = '9:name=systemd:/x\n8:cpu,cpuacct:/x\n4:memory:/job/step\n0::/\n'


@pytest.mark.parametrize(
    ('lines', 'groups', 'names', 'expected'),
    [
        ('0::/\n', {'': (ALL, 10, 0)}, V2, 9000 * 1024),
        # In a container its own group is the root.
        ('0::/\n', {'': (5000, 4000, 0)}, V2, 1000),
        # Of what is used, 2500 is page cache that the system gives up at need.
        ('0::/\n', {'': (5000, 4000, 2500)}, V2, 3500),
        # A job of SLURM: the group of its step has no limit, that of the job above it has.
        ('0::/job/step\n', {'': (ALL, 9, 0), 'job': (6000, 3000, 0), 'job/step': (ALL, 2000, 0)}, V2, 3000),
        ('0::/job/step\n', {'job': (6000, 3000, 0), 'job/step': (2500, 2000, 0)}, V2, 500),
        # The path of a container's host, of which it has the root alone.
        ('0::/docker/abc\n', {'': (5000, 4000, 0), 'other': (1, 0, 0)}, V2, 1000),
        (FIRST_VERSION, {'memory': (2**63 - 4096, 9, 0), 'memory/job': (7000, 5000, 600)}, V1, 2600),
    ],
)
def test_control_groups(system, lines, groups, names, expected):
    assert system(lines, groups, names) == expected


def test_system_without_control_groups(tmp_path):
    (tmp_path / 'meminfo').write_text(MEMINFO)
    assert available_memory(tmp_path, tmp_path / 'none') == 9000 * 1024
    assert available_memory(tmp_path / 'none', tmp_path / 'none') is None


def test_free_shared_memory(tmp_path: Path):
    assert free_shared_memory(tmp_path / 'none') is None
    assert free_shared_memory(tmp_path) == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


OPENCV = "(-4:Insufficient memory) Failed to allocate 9 bytes in function 'OutOfMemoryError'"


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (MemoryError(), True),
        (RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB'), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError('[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate'), True),
        (RuntimeError('cuDNN error: CUDNN_STATUS_ALLOC_FAILED'), True),
        (ValueError(OPENCV), True),
        (RuntimeError('sizes differ'), False),
    ],
)
def test_errors_of_too_little_memory(error, expected):
    assert is_out_of_memory(error) == expected


# Freed memory is kept: in processes of their own, as the setting is one of the process.

of_glibc = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the setting is one of glibc')
PROGRAM = """
import ctypes, re, sys
from mmseg_deeplab_study.memory import keep_freed_memory
done = keep_freed_memory() if sys.argv[1] == 'keep' else None
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def resident():
    return int(re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024

before = resident()
block = libc.malloc(200 << 20)
ctypes.memset(block, 1, 200 << 20)
libc.free(block)
print(done, resident() - before > 150)
"""


@pytest.fixture
def run(forked, tmp_path) -> Callable[..., str]:
    def call(argument: str, **variables: str) -> str:
        done = forked.run('-c', PROGRAM, argument, cwd=tmp_path, env=variables)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return call


@of_glibc
def test_a_large_block_stays_with_the_process(run):
    assert run('keep') == 'True True'
    assert run('leave') == 'None False'


@of_glibc
def test_the_environment_has_its_way(run):
    assert run('keep', MALLOC_ARENA_MAX='2').startswith('False')
