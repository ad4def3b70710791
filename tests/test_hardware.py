"""What is said of the processor, from what Linux says of it."""

import logging

import pytest
import torch

from mmseg_deeplab_study import hardware

INFO = """processor : 0
model name	: A Processor @ 2 GHz
flags		: fpu avx2 {}
"""


@pytest.fixture
def cpu_info(tmp_path, monkeypatch):
    """A function that makes /proc/cpuinfo what is given, or take it away."""

    def write(text: str | None) -> None:
        path = tmp_path / 'cpuinfo'
        if text is not None:
            path.write_text(text)
        monkeypatch.setattr(hardware, '_CPU_INFO', path)

    return write


def test_name_and_cores(cpu_info, monkeypatch):
    monkeypatch.setattr('os.sched_getaffinity', lambda process: set(range(7)))
    cpu_info(INFO)
    assert hardware.describe_hardware(torch.device('cpu')) == 'A Processor @ 2 GHz, 7 cores'
    cpu_info(None)
    assert hardware.describe_hardware(torch.device('cpu')).endswith(', 7 cores')


@pytest.mark.parametrize(
    ('flag', 'native'), [('', False), ('avx512f', False), ('avx512_bf16', True), ('amx_bf16', True)]
)
def test_native_bfloat16(cpu_info, flag, native):
    cpu_info(INFO.format(flag))
    assert hardware.has_native_bfloat16() is native


def test_nothing_is_said_where_the_system_does_not_say(cpu_info, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, '_CPU_INFO', tmp_path / 'none')
    assert hardware.has_native_bfloat16()


@pytest.mark.parametrize(('flag', 'warned'), [('', 1), ('avx512_bf16', 0)])
def test_warning(cpu_info, monkeypatch, flag, warned):
    cpu_info(INFO.format(flag))
    lines = []
    monkeypatch.setattr(hardware, 'print_log', lambda text, logger, level: lines.append((text, level)))
    hardware.warn_of_slow_bfloat16('--amp')
    slower = 'expect it to be several times slower than float32'
    expected = f'--amp: this processor has no bfloat16 instructions; {slower}'
    assert lines == [(expected, logging.WARNING)] * warned
