"""Check what can be imported here, and what it will run on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .findings import Finding
from .packages import NAME, ROOT, is_clone, load_alone, version_of

GUIDE = 'docs/troubleshooting.md'
SHARED_MEMORY = Path('/dev/shm')
NVIDIA_DRIVER = Path('/proc/driver/nvidia/version')
GB = 2**30
# What the last line of a failed import contains, and what helps.
CURES = (
    (r'libGL|libgthread', 'apt-get install libgl1 libglib2.0-0, or opencv-python-headless in its place'),
    (r'torchvision::nms', 'install the torchvision that goes with torch (see torchvision)'),
    (
        r'mmcv.*_ext.*undefined symbol',
        'this mmcv was compiled for another torch: install mmcv-lite in its place',
    ),
    (r'neither mmcv nor mmcv-lite', 'pip install "mmcv-lite<2.2"'),
    (r'No module named', 'install what is missing; the requirements above have it'),
)


def last_error(code: str) -> str | None:
    """Run Python code in another process; returns its error's last line, or None."""
    command = [sys.executable, '-W', 'ignore', '-c', code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f'ended by signal {-done.returncode}'
    return (done.stderr.strip().splitlines() or [f'ended with status {done.returncode}'])[-1]


def cure_of(error: str) -> str:
    """What helps against an error of an import."""
    return next((cure for pattern, cure in CURES if re.search(pattern, error)), f'see {GUIDE}')


def check_imports() -> Iterator[Finding]:
    """Check that OpenCV and this package can be imported."""
    # site-packages before the standard library would hide it: a package there has a typing.py.
    path = f'import sys; sys.path.insert(0, {str(ROOT)!r}); ' if is_clone() else ''
    ours = f'{path}import {NAME}'
    for check, name, code in (('OpenCV', 'cv2', 'import cv2'), ('import', NAME, ours)):
        if error := last_error(code):
            yield Finding('error', check, f'{name}: {error}', cure_of(error))
        else:
            yield Finding('ok', check, f'{name} can be imported')


def check_devices() -> Iterator[Finding]:
    """List GPUs, else cores, and warn of a driver that torch cannot use."""
    if version_of('torch') is None:
        yield Finding('info', 'devices', 'GPUs are not known without torch')
        return
    import torch

    hardware = load_alone('hardware.py')
    cores = f'{hardware.usable_cores()} cores'
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for i in range(count):
        memory = torch.cuda.get_device_properties(i).total_memory / GB
        yield Finding('ok', 'devices', f'cuda:{i} {torch.cuda.get_device_name(i)}, {memory:.1f} GB')
    if not count and NVIDIA_DRIVER.is_file():
        text = f'there is an NVIDIA driver, but torch {torch.__version__} finds no GPU'
        cure = 'install a torch whose CUDA the driver supports (nvidia-smi)'
        yield Finding('warning', 'devices', text, cure)
    elif not count:
        yield Finding('ok', 'devices', f'no GPU: runs on the CPU, {cores}')
    if not count and not hardware.has_native_bfloat16():
        cure = "leave out --amp and eval_dtype='bfloat16': they would be slower"
        yield Finding('info', 'devices', 'this processor has no bfloat16 instructions', cure)


def check_disk(work_dir: Path) -> Iterator[Finding]:
    """Check that runs have 5 GB to write to."""
    there = next(folder for folder in (work_dir.resolve(), *work_dir.resolve().parents) if folder.exists())
    free = shutil.disk_usage(there).free / GB
    text = f'{free:.1f} GB free for {work_dir}'
    if free < 5:
        cure = 'give a --work-dir on another disk, or keep fewer checkpoints (default_hooks.checkpoint)'
        yield Finding('warning', 'disk', f'{text}, less than 5', cure)
    else:
        yield Finding('ok', 'disk', text)


def check_shared_memory() -> Iterator[Finding]:
    """Check that workers of data loaders have 1 GB to pass batches through."""
    if not SHARED_MEMORY.is_dir():
        return
    free = shutil.disk_usage(SHARED_MEMORY).free / GB
    text = f'{free:.2f} GB free in {SHARED_MEMORY}, through which data loader workers pass batches'
    if free < 1:
        cure = 'docker run --shm-size=8g, or train_dataloader.num_workers=0 and persistent_workers=False'
        yield Finding('warning', 'shared memory', f'{text}, less than 1', cure)
    else:
        yield Finding('ok', 'shared memory', text)


CHECKS = (check_imports, check_devices, check_shared_memory)
