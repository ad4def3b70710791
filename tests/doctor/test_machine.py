"""What can be imported, and what there is to run on."""

import importlib.metadata
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from mmseg_deeplab_study.doctor import machine

Usage = namedtuple('Usage', 'total used free')


def test_the_last_line_of_an_error_comes_from_a_process_of_its_own():
    assert machine.last_error('pass') is None
    assert machine.last_error('raise ImportError("libX: cannot open")') == 'ImportError: libX: cannot open'
    crash = 'import os, signal; os.kill(os.getpid(), signal.SIGSEGV)'
    assert machine.last_error(crash) == 'ended by signal 11'
    assert machine.last_error('raise SystemExit(3)') == 'ended with status 3'


@pytest.mark.parametrize(
    ('error', 'cure'),
    [
        ('ImportError: libGL.so.1: cannot open shared object file', 'apt-get install libgl1'),
        ('RuntimeError: operator torchvision::nms does not exist', 'install the torchvision that goes'),
        ('ImportError: .../mmcv/_ext.cpython.so: undefined symbol: _ZN2at', 'this mmcv was compiled for'),
        ("ModuleNotFoundError: No module named 'regex'", 'install what is missing'),
        ('ValueError: never seen', f'see {machine.GUIDE}'),
    ],
)
def test_known_errors_have_their_cure(error, cure):
    assert machine.cure_of(error).startswith(cure)


def test_a_failed_import_is_an_error_with_its_last_line(monkeypatch):
    monkeypatch.setattr(machine, 'last_error', lambda code: 'ImportError: libGL.so.1: cannot open')
    found = list(machine.check_imports())
    assert [finding.check for finding in found] == ['OpenCV', 'import']
    for finding in found:
        assert finding.level == 'error' and 'libGL.so.1' in finding.text and 'libgl1' in finding.cure


def test_disk_and_shared_memory(monkeypatch, tmp_path):
    free = {}
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: Usage(0, 0, free[Path(path)]))
    monkeypatch.setattr(machine, 'SHARED_MEMORY', tmp_path / 'shm')
    (tmp_path / 'shm').mkdir()
    for disk, shm, level in ((4.9, 0.0625, 'warning'), (5.1, 1.1, 'ok')):
        free.update({tmp_path: disk * 2**30, tmp_path / 'shm': shm * 2**30})
        # The work_dir is not there yet: what counts is the folder it will be made in.
        found = [*machine.check_disk(tmp_path / 'new/run'), *machine.check_shared_memory()]
        assert [finding.level for finding in found] == [level, level]
        assert f'{disk:.1f} GB' in found[0].text and f'{shm:.2f} GB' in found[1].text


@pytest.mark.parametrize('native', [True, False])
def test_devices_on_the_cpu(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(machine, 'NVIDIA_DRIVER', Path('/nowhere'))
    hardware = machine.load_alone('hardware.py')
    assert hardware.has_native_bfloat16() in (True, False)
    monkeypatch.setattr(machine, 'load_alone', lambda file: hardware)
    monkeypatch.setattr(hardware, 'has_native_bfloat16', lambda: native)
    found = list(machine.check_devices())
    assert [finding.level for finding in found] == ['ok'] + ['info'] * (not native)
    assert 'no GPU' in found[0].text


def test_a_gpu_that_torch_does_not_find(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    (tmp_path / 'version').touch()
    monkeypatch.setattr(machine, 'NVIDIA_DRIVER', tmp_path / 'version')
    finding = next(machine.check_devices())
    assert finding.level == 'warning' and 'finds no GPU' in finding.text


def test_devices_with_a_gpu(monkeypatch):
    properties = namedtuple('Properties', 'total_memory')(24 * 2**30)
    gpu = dict(is_available=lambda: True, device_count=lambda: 1, get_device_name=lambda i: 'Some GPU')
    for name, function in (gpu | dict(get_device_properties=lambda i: properties)).items():
        monkeypatch.setattr(torch.cuda, name, function)
    assert [finding.text for finding in machine.check_devices()] == ['cuda:0 Some GPU, 24.0 GB']


def test_without_torch_nothing_is_imported(monkeypatch):
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, 'version', version)
    assert [finding.level for finding in machine.check_devices()] == ['info']


@pytest.mark.slow
def test_an_installed_package_does_not_hide_the_standard_library(tmp_path, monkeypatch):
    """cityscapesScripts brings a typing.py."""
    (tmp_path / 'typing.py').write_text('raise RuntimeError("not this one")')
    monkeypatch.setattr(machine, 'ROOT', tmp_path)
    monkeypatch.setattr(machine, 'is_clone', lambda: False)
    assert [finding.level for finding in machine.check_imports()] == ['ok', 'ok']
