"""Freed memory is kept, in processes of their own: the setting is one of the process."""

import platform
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the setting is one of glibc')

PROGRAM = """
import ctypes, re, sys
from mmseg_deeplab_study.allocator import keep_freed_memory
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


def test_a_large_block_stays_with_the_process(run):
    assert run('keep') == 'True True'
    assert run('leave') == 'None False'


def test_the_environment_has_its_way(run):
    assert run('keep', MALLOC_ARENA_MAX='2').startswith('False')
