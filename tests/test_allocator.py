"""Freed memory is kept, in processes of their own: the setting is one of the process."""

import os
import platform
import subprocess
import sys

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


def run(argument: str, **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith('MALLOC_')} | variables
    result = subprocess.run(
        [sys.executable, '-c', PROGRAM, argument], env=environment, capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_a_large_block_stays_with_the_process():
    assert run('keep') == 'True True'
    assert run('leave') == 'None False'


def test_the_environment_has_its_way():
    assert run('keep', MALLOC_ARENA_MAX='2').startswith('False')
