"""Check installed packages: declared versions, and pairs known to conflict."""

from __future__ import annotations

import configparser
import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from .findings import Finding

NAME = 'mmseg_deeplab_study'
ROOT = Path(__file__).resolve().parents[2]
# As in setup.cfg, which an installed package does not have.
PYTHON = ((3, 10), (3, 13))
MMCV = '<2.2,>=2.0.0rc4'  # of the extras, either lite or mim
OPENCV = (
    'opencv-python',
    'opencv-contrib-python',
    'opencv-python-headless',
    'opencv-contrib-python-headless',
)
# Distribution, the extra that brings it, and what needs it.
OPTIONAL = (
    ('submitit', 'cluster', 'studies on a cluster'),
    ('cityscapesscripts', 'data', 'tools/prepare_cityscapes.py'),
    ('tflite', 'tflite', 'checkpoints of tflite://'),
    ('onnx', 'onnx', 'export to ONNX'),
)


def version_of(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def load_alone(file: str) -> ModuleType:
    """Load a module by its path: the package around it may fail to import."""
    spec = importlib.util.spec_from_file_location(f'study_{Path(file).stem}', ROOT / NAME / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def declared_requirements() -> list[str]:
    """This package's requirements, from its metadata, else from setup.cfg."""
    if version_of(NAME) is not None:
        return importlib.metadata.requires(NAME) or []
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    return list(filter(None, config.get('options', 'install_requires', fallback='').splitlines()))


def parse_requirement(line: str) -> Any:
    """A requirement as ``packaging`` reads it, or pip's copy; ModuleNotFoundError without both."""
    for place in ('packaging', 'pip._vendor.packaging'):
        try:
            return importlib.import_module(f'{place}.requirements').Requirement(line)
        except ImportError:
            continue
    raise ModuleNotFoundError('packaging is not installed', name='packaging')


def leading_numbers(version: str) -> tuple[int, ...]:
    """Major and minor of a version: ``(2, 14)`` of '2.14.1+cu130'."""
    return tuple(map(int, re.findall(r'\d+', version)[:2]))


def check_python() -> Iterator[Finding]:
    """Check the version of Python."""
    low, high = ('.'.join(map(str, version)) for version in PYTHON)
    text = f'{".".join(map(str, sys.version_info[:3]))} ({sys.executable})'
    if PYTHON[0] <= sys.version_info[:2] < PYTHON[1]:
        yield Finding('ok', 'Python', text)
    else:
        cure = f'make a virtual environment of Python {low} or later, below {high}'
        yield Finding('error', 'Python', f'{text}, expected >= {low}, < {high}', cure)


def check_installation() -> Iterator[Finding]:
    """Check that Python imports the package that this doctor belongs to."""
    version = version_of(NAME)
    clone = (ROOT / 'setup.cfg').is_file()
    # "[lite]" beside full mmcv would overwrite it.
    extra = 'mim' if version_of('mmcv') else 'lite'
    cure = f'pip install -e "{ROOT}[{extra}]"' if clone else f'install {NAME} in this environment'
    spec = importlib.util.find_spec(NAME)
    found = Path(spec.origin).resolve().parents[1] if spec and spec.origin else None
    if version is None:
        yield Finding('warning', NAME, 'not installed in this environment', cure)
    elif found not in (None, ROOT):
        text = f'{version}, but Python imports {found}, and this doctor belongs to {ROOT}'
        yield Finding('warning', NAME, text, cure)
    else:
        yield Finding('ok', NAME, f'{version} in {ROOT}')


def check_requirements() -> Iterator[Finding]:
    """Compare installed versions with the declared requirements."""
    met, missing, declared = [], [], declared_requirements()
    if not declared:
        text = f'unknown: {NAME} is not installed, and there is no {ROOT / "setup.cfg"}'
        yield Finding('error', 'requirements', text, 'install it, or run the doctor of a clone')
    for requirement in map(parse_requirement, declared):
        if requirement.marker is not None and not requirement.marker.evaluate({'extra': ''}):
            continue
        name, wanted = requirement.name, f'"{requirement.name}{requirement.specifier}"'
        version = version_of(name)
        if version is None and name in OPENCV:
            version = next(filter(None, map(version_of, OPENCV)), None)
        if version is None:
            missing.append(wanted)
        elif requirement.specifier.contains(version, prereleases=True):
            met.append(f'{name} {version}')
        else:
            text = f'{name} {version}, expected {requirement.specifier}'
            yield Finding('error', 'requirements', text, f'pip install {wanted}')
    if missing:
        names = ' '.join(missing)
        yield Finding('error', 'requirements', f'{len(missing)} are not installed', f'pip install {names}')
    if met:
        yield Finding('ok', 'requirements', ', '.join(met))


def check_mmcv() -> Iterator[Finding]:
    """Check that there is one mmcv that MMSegmentation takes, and its ops."""
    installed = {name: version for name in ('mmcv', 'mmcv-lite') if (version := version_of(name))}
    lite = f'pip install "mmcv-lite{MMCV}"'
    if not installed:
        yield Finding('error', 'mmcv', 'neither mmcv nor mmcv-lite is installed', lite)
        return
    if len(installed) == 2:
        text = 'mmcv and mmcv-lite are both installed, and write the same files'
        yield Finding('error', 'mmcv', text, f'pip uninstall -y mmcv mmcv-lite && {lite}')
        return
    [(name, version)] = installed.items()
    if not parse_requirement(name + MMCV).specifier.contains(version, prereleases=True):
        text = f'{name} {version}, expected {MMCV}: MMSegmentation refuses it'
        yield Finding('error', 'mmcv', text, f'pip install "{name}{MMCV}"')
    elif has_compiled_ops():
        yield Finding('ok', 'mmcv', f'{name} {version} with compiled ops')
    elif name == 'mmcv-lite':
        text = f'{name} {version}; a placeholder replaces the compiled ops, which no DeepLab uses'
        yield Finding('ok', 'mmcv', text)
    else:
        text = f'{name} {version} has no compiled ops (mmcv._ext)'
        cure = f'if no model needs them, pip uninstall -y mmcv && {lite}'
        yield Finding('warning', 'mmcv', text, cure)


def has_compiled_ops() -> bool:
    """Whether mmcv has its extension module; imports nothing of it."""
    spec = importlib.util.find_spec('mmcv')
    folders = spec.submodule_search_locations if spec else None
    return any(any(Path(folder).glob('_ext.*')) for folder in folders or ())


def check_torchvision() -> Iterator[Finding]:
    """Check that torchvision is the one for torch."""
    torch, vision = version_of('torch'), version_of('torchvision')
    if torch is None or vision is None:
        return
    major, minor = leading_numbers(torch)
    # Holds from torch 2.0 with torchvision 0.15 on.
    if major != 2 or leading_numbers(vision) == (0, minor + 15):
        yield Finding('ok', 'torchvision', f'{vision} beside torch {torch}')
    else:
        text = f'{vision} beside torch {torch}, which goes with 0.{minor + 15}'
        yield Finding('error', 'torchvision', text, f'pip install "torchvision==0.{minor + 15}.*"')


def check_numpy() -> Iterator[Finding]:
    """Check that torch takes this NumPy."""
    torch, numpy = version_of('torch'), version_of('numpy')
    if torch and numpy and leading_numbers(numpy) >= (2, 0) and leading_numbers(torch) < (2, 3):
        text = f'{numpy} beside torch {torch}, which was built for numpy 1'
        yield Finding('error', 'numpy', text, 'pip install "numpy<2", or torch 2.3 or later')


def check_openmim() -> Iterator[Finding]:
    """Warn of openmim, which pins packages of others."""
    if version := version_of('openmim'):
        text = f'{version} installs openxlab, which pins setuptools 60.2, requests and rich'
        cure = 'pip uninstall openmim openxlab, and install mim in another virtual environment'
        yield Finding('warning', 'openmim', text, cure)


def check_opencv_packages() -> Iterator[Finding]:
    """Warn where more than one package of OpenCV is installed."""
    installed = [name for name in OPENCV if version_of(name)]
    if len(installed) > 1:
        text = f'{" and ".join(installed)} are installed, and write the same files'
        cure = f'pip uninstall -y {" ".join(installed)} && pip install {installed[0]}'
        yield Finding('warning', 'OpenCV', text, cure)


def check_optional() -> Iterator[Finding]:
    """List optional packages, and what needs them."""
    for name, extra, purpose in OPTIONAL:
        if version := version_of(name):
            yield Finding('info', name, f'{version} ({purpose})')
        else:
            cure = f'pip install {name}, or the extra [{extra}]'
            yield Finding('info', name, f'not installed, needed only for {purpose}', cure)


CHECKS = (
    check_python,
    check_installation,
    check_requirements,
    check_mmcv,
    check_torchvision,
    check_numpy,
    check_openmim,
    check_opencv_packages,
    check_optional,
)
