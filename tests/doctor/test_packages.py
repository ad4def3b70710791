"""Versions that go together and that do not, on environments that are only said to be there."""

import configparser
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from mmseg_deeplab_study.doctor import packages
from mmseg_deeplab_study.doctor.findings import Finding

GOOD = {
    'torch': '2.14.1',
    'torchvision': '0.29.1',
    'mmengine': '0.10.7',
    'mmcv-lite': '2.1.0',
    'mmsegmentation': '1.2.2',
    'mmpretrain': '1.2.0',
    'ftfy': '6.3.1',
    'regex': '2026.11.15',
    'setuptools': '80.8.0',
    'numpy': '2.4.6',
    'scipy': '1.17.1',
    'opencv-python': '5.0.0.93',
    'pillow': '13.0.0',
    'matplotlib': '3.11.2',
    'prettytable': '3.18.0',
    'rich': '15.0.0',
    'jinja2': '3.1.6',
    'plotly': '7.1.0',
}
FORKS = {
    **dict.fromkeys(('mmengine', 'mmcv-lite', 'mmsegmentation', 'mmpretrain')),
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmsegmentation': '1.4.2',
    'onedl-mmpretrain': '1.3.6',
}


@pytest.fixture
def findings(monkeypatch) -> Callable[..., list[Finding]]:
    """A function of changes to a good environment (None: not installed) that runs every check of packages."""

    def run(changes: dict[str, str | None] | None = None) -> list[Finding]:
        installed = {**GOOD, **(changes or {})}
        monkeypatch.setattr(packages, 'version_of', installed.get)
        return [finding for check in packages.CHECKS for finding in check()]

    return run


def problems(found: list[Finding]) -> list[Finding]:
    """What is wrong, but for the package, which the fake environment does not have installed."""
    return [f for f in found if f.level in ('warning', 'error') and f.check != packages.NAME]


def test_a_good_environment_has_no_problem(findings):
    found = findings()
    assert problems(found) == []
    oks = {finding.check: finding.text for finding in found if finding.level == 'ok'}
    assert 'torch 2.14.1' in oks['requirements'] and 'plotly 7.1.0' in oks['requirements']
    assert oks['torchvision'] == '0.29.1 beside torch 2.14.1'
    assert 'setuptools 80.8.0' in oks['requirements']


@pytest.mark.parametrize(
    ('changes', 'check', 'said'),
    [
        (
            {'mmcv': '2.1.0'},
            'mmcv',
            'mmcv-lite and mmcv are installed, and write the same files: '
            'pip uninstall -y mmcv-lite mmcv && pip install "mmcv-lite<2.2,>=2.0.0rc4"',
        ),
        (
            {'onedl-mmsegmentation': '1.4.2'},
            'mmsegmentation',
            'mmsegmentation and onedl-mmsegmentation are installed.*: pip uninstall -y mmsegmentation '
            'onedl-mmsegmentation && pip install "mmsegmentation<2,>=1.2.2"',
        ),
        ({'onedl-mmcv': '2.3.6'}, 'mmcv', 'mmcv-lite and onedl-mmcv are .* && pip install "mmcv-lite<2.2'),
        ({'mmcv-lite': None}, 'requirements', '1 are not installed: pip install "mmcv-lite<2.2,>=2.0.0rc4"'),
        ({'mmcv-lite': '2.2.0'}, 'requirements', 'mmcv-lite 2.2.0, expected.*: pip install "mmcv-lite'),
        ({'mmcv-lite': None, 'mmcv': '2.0.0rc3'}, 'requirements', '2.0.0rc3, exp.*"mmcv<2.2,>=2.0.0rc4"'),
        ({**FORKS, 'onedl-mmengine': '0.10.8'}, 'requirements', '0.10.8, expected.*"onedl-mmengine<0.11,>'),
        ({'torchvision': '0.28.0'}, 'torchvision', 'goes with 0.29.*: pip install "torchvision==0.29.*"'),
        (
            {'torch': '2.0.1+cpu', 'torchvision': '0.16.0'},
            'torchvision',
            r'2.0.1\+cpu, .*0.15.*"torchvision==0.15',
        ),
        (
            {'torch': '2.2.2', 'torchvision': '0.17.2'},
            'numpy',
            'beside torch 2.2.2.*: pip install "numpy<2" "opencv-python<5"',
        ),
        (
            {'setuptools': '82.0.0'},
            'requirements',
            'setuptools 82.0.0, expected <82.*: pip install "setuptools<82,>=64"',
        ),
        (
            {'setuptools': None, 'regex': None, 'ftfy': None, 'torchvision': None},
            'requirements',
            '4 are not installed.*"torchvision" "ftfy" "regex" "setuptools<82,>=64"',
        ),
        ({'openmim': '0.3.9'}, 'openmim', 'pins setuptools 60.*use mim in a virtual environment of its own'),
        (
            {'opencv-python-headless': '5.0.0.93'},
            'OpenCV',
            'opencv-python and opencv-python-headless are installed.*'
            ': pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python',
        ),
        ({'mmengine': '0.10.5'}, 'requirements', 'mmengine 0.10.5, expected.*"mmengine<1.0,>=0.10.7"'),
        ({'plotly': None}, 'requirements', '1 are not installed.*: pip install "plotly<8,>=6"'),
    ],
)
def test_what_does_not_go_together_and_its_cure(findings, changes, check, said):
    found = [f for f in problems(findings(changes)) if f.check == check]
    [finding] = [f for f in found if re.search(said, f'{f.text}: {f.cure}')]
    assert finding.level == ('warning' if check in ('openmim', 'OpenCV') else 'error')


@pytest.mark.parametrize(
    'changes',
    [
        {'mmcv-lite': '2.0.0rc4'},
        FORKS,
        {'torch': '2.1.2+cu121', 'torchvision': '0.16.2+cu121', 'numpy': '1.26.4'},
        {'torch': '2.3.0', 'torchvision': '0.18.0'},  # the first with numpy 2
        {'torch': '2.6.0a0+git1', 'torchvision': '0.21.0a0'},
        {'opencv-python': None, 'opencv-python-headless': '5.0.0.93'},
    ],
)
def test_what_goes_together(findings, changes):
    assert problems(findings(changes)) == []


def test_full_mmcv_without_its_compiled_ops(findings, monkeypatch, tmp_path):
    spec = ModuleSpec('mmcv', None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: spec if name == 'mmcv' else real(name))
    full = {'mmcv-lite': None, 'mmcv': '2.1.0'}
    [finding] = problems(findings(full))
    assert finding.level == 'warning' and 'no compiled ops' in finding.text
    (tmp_path / '_ext.cpython-311-x86_64-linux-gnu.so').touch()
    found = findings(full)
    assert problems(found) == []
    assert Finding('ok', 'mmcv', 'mmcv 2.1.0 with compiled ops') in found


def test_optional_packages_are_no_problem_and_say_their_extra(findings):
    found = {finding.check: finding for finding in findings({'onnx': '1.23.2'})}
    assert found['tflite'].level == 'info' and found['tflite'].cure.endswith('the extra [tflite]')
    assert found['onnx'] == Finding('info', 'onnx', '1.23.2 (export to ONNX, with torch 2.6 or later)')


@pytest.mark.parametrize(
    ('version', 'level'), [((3, 9, 18), 'error'), ((3, 10, 0), 'ok'), ((3, 14, 0), 'error')]
)
def test_python(monkeypatch, version, level):
    monkeypatch.setattr(sys, 'version_info', version)
    [finding] = packages.check_python()
    assert finding.level == level and '.'.join(map(str, version)) in finding.text


def test_requirements_without_an_installation_are_those_of_setup_cfg(monkeypatch):
    monkeypatch.setattr(packages, 'version_of', lambda name: None)
    declared = packages.declared_requirements('onedl')
    config = configparser.ConfigParser()
    config.read(packages.ROOT / 'setup.cfg')
    for name, extra, _ in packages.OPTIONAL:
        assert name in config['options.extras_require'][extra].lower()
    wanted = '>={}.{},<{}.{}'.format(*packages.PYTHON[0], *packages.PYTHON[1])
    assert config['options']['python_requires'] == wanted
    assert {'torch>=2.1', 'onedl-mmengine<0.11,>=0.10.12'} <= set(map(str, declared))


def test_no_extra_brings_packages_that_write_the_same_files(monkeypatch):
    monkeypatch.setattr(packages, 'version_of', lambda name: None)
    brought = [
        {one.name for one in packages.declared_requirements(extra)} for extra in ('lite', 'mim', 'onedl')
    ]
    for names in packages.SAME_FILES:
        assert [len(some & set(names)) for some in brought] == [1, 1, 1]


def test_what_is_said_to_be_tested_is_tried():
    """By .ci/stacks, but for the pinned set, the first, and full mmcv, the last."""
    sets = re.findall(
        r'python = "(.+)"\nextra = "(.+)"\n(?:#.*\n)?pins = (.+)',
        (packages.ROOT / '.ci/stacks.toml').read_text(),
    )
    assert len(sets) == len(packages.TESTED) - 2
    for (python, extra, pins), stack in zip(sets, packages.TESTED[1:-1], strict=True):
        torch = re.search(r'"torch==(\d+\.\d+)', pins)[1]
        assert (stack.python, stack.torch, stack.extra) == (python, torch, extra)


@pytest.mark.parametrize(
    ('changes', 'python', 'level', 'said'),
    [
        ({}, (3, 11, 7), 'ok', 'Python 3.11, torch 2.14, numpy 2.4, [lite]: tested together'),
        (
            {**FORKS, 'torch': '2.9.0', 'torchvision': '0.24.0'},
            (3, 11, 7),
            'info',
            'Python 3.11, torch 2.9, numpy 2.4, [onedl]: not tested together; the nearest: '
            'Python 3.12, torch 2.14, numpy 2.5, [onedl]',
        ),
        (
            {'torch': '2.5.1+cu124', 'torchvision': '0.20.1', 'numpy': '1.26.4'},
            (3, 12, 1),
            'info',
            'Python 3.12, torch 2.5, numpy 1.26, [lite]: not tested together; the nearest: '
            'Python 3.10, torch 2.4, numpy 2.2, [lite]',
        ),
    ],
)
def test_the_nearest_tested_versions(findings, monkeypatch, changes, python, level, said):
    monkeypatch.setattr(sys, 'version_info', python)
    [finding] = [finding for finding in findings(changes) if finding.check == 'versions']
    assert (finding.level, finding.text) == (level, said)


@pytest.mark.parametrize(
    'changes', [{'mmcv-lite': '2.2.0'}, {'mmpretrain': None}, {'mmcv': '2.1.0'}, {'torchvision': '0.28.0'}]
)
def test_what_does_not_go_together_was_not_tested(findings, changes):
    assert not [finding for finding in findings(changes) if finding.check == 'versions']


def test_an_installed_copy_beside_a_clone(findings, monkeypatch, tmp_path):
    spec = ModuleSpec(
        packages.NAME, None, origin=str(tmp_path / 'site-packages' / packages.NAME / '__init__.py')
    )
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: spec)
    monkeypatch.setattr(packages, 'version_of', {packages.NAME: '0.1.0'}.get)
    [finding] = packages.check_installation()
    assert finding.level == 'info' and 'site-packages, as a copy of a clone' in finding.text
    assert finding.cure == f'after changes to the clone: pip install --no-deps "{packages.ROOT}"'


def test_a_compiled_mmcv_is_kept(findings, monkeypatch):
    monkeypatch.setattr(packages, 'has_compiled_ops', lambda: True)
    [finding] = [finding for finding in findings({'mmcv': '2.1.0'}) if 'same files' in finding.text]
    assert finding.cure.endswith('&& pip install "mmcv<2.2,>=2.0.0rc4"')


def test_without_metadata_and_setup_cfg_the_other_checks_still_speak(findings, monkeypatch, tmp_path):
    monkeypatch.setattr(packages, 'ROOT', tmp_path)
    found = problems(findings({'mmcv-lite': None}))
    assert [finding.check for finding in found] == ['requirements']
    assert found[0].text.startswith('unknown: ')


def test_pips_copy_of_packaging_serves(monkeypatch):
    monkeypatch.setitem(sys.modules, 'packaging.requirements', None)
    requirement = packages.parse_requirement('mmcv-lite>=2.0.0rc4,<2.2; extra == "lite"')
    assert type(requirement).__module__.startswith('pip.') and requirement.name == 'mmcv-lite'
    monkeypatch.setitem(sys.modules, 'pip._vendor.packaging.requirements', None)
    with pytest.raises(ImportError, match='packaging is not installed'):
        packages.parse_requirement('numpy')


def test_an_installation_of_another_clone_is_named(findings, monkeypatch, tmp_path):
    monkeypatch.setattr(packages, 'ROOT', tmp_path)
    (tmp_path / 'setup.cfg').touch()
    monkeypatch.setattr(packages, 'version_of', {packages.NAME: '0.1.0', 'mmcv': '2.1.0'}.get)
    [finding] = packages.check_installation()
    here = Path(importlib.util.find_spec(packages.NAME).origin).resolve().parents[1]
    assert finding.level == 'warning' and f'imports {here}' in finding.text
    # Beside full mmcv, [lite] would write over it.
    assert finding.cure == f'pip install -e "{tmp_path}[mim]"'
