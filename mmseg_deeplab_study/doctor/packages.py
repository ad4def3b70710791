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
from typing import Any, NamedTuple

from .findings import Finding

NAME = 'mmseg_deeplab_study'
ROOT = Path(__file__).resolve().parents[2]
# As in setup.cfg, which an installed package does not have.
PYTHON = ((3, 10), (3, 14))
# Where two of a line are installed, one has written over files of the other.
SAME_FILES = (
    ('mmcv-lite', 'mmcv', 'onedl-mmcv'),
    ('mmengine', 'onedl-mmengine'),
    ('mmsegmentation', 'onedl-mmsegmentation'),
    ('mmpretrain', 'onedl-mmpretrain'),
)


def is_clone() -> bool:
    """Whether this doctor belongs to a clone, not to an installed package."""
    return (ROOT / 'setup.cfg').is_file()


class Stack(NamedTuple):
    """Versions as major.minor, and the extra that brings MMSegmentation."""

    python: str
    torch: str
    numpy: str
    extra: str

    def __str__(self) -> str:
        return f'Python {self.python}, torch {self.torch}, numpy {self.numpy}, [{self.extra}]'


# As .ci/run and .ci/stacks.toml have them, and docs/install.md; the last was tested by hand, as mmcv takes
# long to build.
TESTED = (
    Stack('3.11', '2.14', '2.4', 'lite'),
    Stack('3.10', '2.1', '1.26', 'lite'),
    Stack('3.10', '2.4', '2.2', 'lite'),
    Stack('3.13', '2.14', '2.5', 'lite'),
    Stack('3.12', '2.14', '2.5', 'onedl'),
    Stack('3.10', '2.4', '1.26', 'mim'),
)
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
    ('onnx', 'onnx', 'export to ONNX, with torch 2.6 or later'),
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


def extra_in_use() -> str:
    """The extra that the installed packages of MMSegmentation come with; 'lite' without any."""
    # MMSegmentation decides: of a mixture the fewest packages are then wrong.
    if version_of('onedl-mmsegmentation') and not version_of('mmsegmentation'):
        return 'onedl'
    return 'mim' if version_of('mmcv') else 'lite'


def declared_requirements(extra: str) -> list[Any]:
    """What this package requires with an extra, from its metadata, else from setup.cfg."""
    if version_of(NAME) is not None:
        lines = importlib.metadata.requires(NAME) or []
    else:
        config = configparser.ConfigParser()
        config.read(ROOT / 'setup.cfg')
        places = (('options', 'install_requires'), ('options.extras_require', extra))
        lines = [line for place in places for line in config.get(*place, fallback='').splitlines() if line]
    declared = map(parse_requirement, lines)
    return [one for one in declared if one.marker is None or one.marker.evaluate({'extra': extra})]


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
    # Another extra would write over the packages that are there.
    cure = (
        f'pip install -e "{ROOT}[{extra_in_use()}]"' if is_clone() else f'install {NAME} in this environment'
    )
    spec = importlib.util.find_spec(NAME)
    found = Path(spec.origin).resolve().parents[1] if spec and spec.origin else None
    if version is None:
        yield Finding('warning', NAME, 'not installed in this environment', cure)
    elif found not in (None, ROOT) and found.name == 'site-packages':
        cure = f'after changes to the clone: pip install --no-deps "{ROOT}"'
        yield Finding('info', NAME, f'{version} is installed in {found}, as a copy of a clone', cure)
    elif found not in (None, ROOT):
        text = f'{version}, but Python imports {found}, and this doctor belongs to {ROOT}'
        yield Finding('warning', NAME, text, cure)
    else:
        yield Finding('ok', NAME, f'{version} in {ROOT}')


def check_requirements() -> Iterator[Finding]:
    """Compare installed versions with the declared requirements."""
    met, missing, declared = [], [], declared_requirements(extra_in_use())
    if not declared:
        text = f'unknown: {NAME} is not installed, and there is no {ROOT / "setup.cfg"}'
        yield Finding('error', 'requirements', text, 'install it, or run the doctor of a clone')
    for requirement in declared:
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


def check_same_files() -> Iterator[Finding]:
    """Check that no package was installed over another."""
    for names in SAME_FILES:
        installed = [name for name in names if version_of(name)]
        if len(installed) > 1:
            forked = extra_in_use() == 'onedl'
            keep = next((name for name in installed if name.startswith('onedl-') == forked), installed[0])
            if keep == 'mmcv-lite' and 'mmcv' in installed and has_compiled_ops():
                keep = 'mmcv'
            text = f'{" and ".join(installed)} are installed, and write the same files'
            cure = f'pip uninstall -y {" ".join(installed)} && pip install "{_with_range(keep)}"'
            yield Finding('error', names[-1].removeprefix('onedl-'), text, cure)


def _with_range(name: str) -> str:
    declared = (one for extra in ('lite', 'mim', 'onedl') for one in declared_requirements(extra))
    return next((str(one).partition(';')[0] for one in declared if one.name == name), name)


def check_ops() -> Iterator[Finding]:
    """Say whether mmcv has its compiled ops."""
    for name in SAME_FILES[0]:
        if not (version := version_of(name)):
            continue
        if has_compiled_ops():
            yield Finding('ok', 'mmcv', f'{name} {version} with compiled ops')
        elif name == 'mmcv':
            text = f'{name} {version} has no compiled ops (mmcv._ext)'
            cure = (
                f'if no model needs them, pip uninstall -y mmcv && pip install "{_with_range("mmcv-lite")}"'
            )
            yield Finding('warning', 'mmcv', text, cure)
        else:
            text = f'{name} {version}; a placeholder replaces the compiled ops, which no DeepLab uses'
            yield Finding('ok', 'mmcv', text)


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
        # OpenCV's later wheels need numpy 2.
        yield Finding(
            'error', 'numpy', text, 'pip install "numpy<2" "opencv-python<5", or torch 2.3 or later'
        )


def check_stack() -> Iterator[Finding]:
    """Say which tested set of versions this environment is, or which is the nearest."""
    if not version_of('torch') or not version_of('numpy'):
        return
    checks = (check_requirements, check_same_files, check_torchvision, check_numpy)
    if any(finding.level == 'error' for check in checks for finding in check()):
        return
    python, torch, numpy = (
        '.'.join(map(str, leading_numbers(version)))
        for version in ('.'.join(map(str, sys.version_info[:2])), version_of('torch'), version_of('numpy'))
    )
    here = Stack(python, torch, numpy, extra_in_use())
    if here in TESTED:
        yield Finding('ok', 'versions', f'{here}: tested together')
        return

    def distance(stack: Stack) -> tuple:
        numbers = zip(map(leading_numbers, stack[:3]), map(leading_numbers, here[:3]), strict=True)
        python, torch, numpy = ([abs(a - b) for a, b in zip(*pair, strict=True)] for pair in numbers)
        return stack.extra != here.extra, torch, numpy, python

    yield Finding(
        'info', 'versions', f'{here}: not tested together; the nearest: {min(TESTED, key=distance)}'
    )


def check_openmim() -> Iterator[Finding]:
    """Warn of openmim, which pins packages of others."""
    if version := version_of('openmim'):
        text = f'{version} installs openxlab, which pins setuptools 60.2, requests and rich'
        cure = 'use mim in a virtual environment of its own, which has this package, too'
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
            base = declared_requirements('')
            needed = [one.name for one in declared_requirements(extra) if one not in base] or [name]
            cure = f'pip install {" ".join(needed)}, or the extra [{extra}]'
            yield Finding('info', name, f'not installed, needed only for {purpose}', cure)


CHECKS = (
    check_python,
    check_installation,
    check_requirements,
    check_same_files,
    check_ops,
    check_torchvision,
    check_numpy,
    check_stack,
    check_openmim,
    check_opencv_packages,
    check_optional,
)
