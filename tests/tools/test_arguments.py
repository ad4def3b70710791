"""The flags of all tools: what they hand over, and what is not imported for them."""

import argparse
import errno
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.logging import MMLogger
from mmseg.registry import HOOKS

from mmseg_deeplab_study.datasets.downloads import CAMVID_COUNTS, CITYSCAPES_COUNTS
from mmseg_deeplab_study.evaluation.metrics.boundary_metric import WIDTHS
from mmseg_deeplab_study.hub import config_path
from mmseg_deeplab_study.report.page import page_content
from mmseg_deeplab_study.runs.config import read_config
from mmseg_deeplab_study.runs.history import FILE_NAME
from mmseg_deeplab_study.studies.demo import QUICK_OPTIONS
from mmseg_deeplab_study.studies.plan import read_study

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
NAMES = sorted(path.stem for path in TOOLS.glob('[!_]*.py'))
RECORD = """\
{"schema_version": 1, "target_classes": ["road"], "seen_classes": [], "max_iters": 5}
{"iter": 0, "kind": "validation", "subset": "full", "mIoU": 5.0, "aAcc": 9.0, "mAcc": 5.0, \
"mIoU.seen": null, "mIoU.unseen": 5.0, "class_iou": {"road": 5.0}, \
"confusion": [[5]], "images": 1, "seconds": 0.1}
"""
HEAVY = ('torch', 'mmengine', 'mmcv', 'mmseg', 'mmpretrain', 'mmseg_deeplab_study', 'numpy', 'matplotlib')


def python(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_there_are_tools():
    assert len(NAMES) == 16


@pytest.mark.parametrize('flag', ['--help', '--no-such-flag'])
@pytest.mark.parametrize('name', NAMES)
def test_help_and_mistakes_import_nothing_heavy(name: str, flag: str):
    # What is None in sys.modules cannot be imported.
    code = (
        'import runpy, sys\n'
        f'sys.modules.update(dict.fromkeys({HEAVY!r}))\n'
        'sys.argv = sys.argv[1:]\n'
        'sys.path[0] = sys.argv[0].rpartition("/")[0]\n'
        'runpy.run_path(sys.argv[0], run_name="__main__")\n'
    )
    done = python('-S', '-c', code, TOOLS / f'{name}.py', flag)
    output = done.stdout if flag == '--help' else done.stderr
    assert (done.returncode, output[:6]) == (0 if flag == '--help' else 2, 'usage:'), done.stderr
    assert '--debug' in output


@pytest.fixture
def end(load_tool, capsys, monkeypatch) -> Callable[..., tuple[int, str]]:
    """A function of a tool's main and its flags; returns exit code and errors."""
    # A log of another test's run.
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())

    def call(main: Callable[[], object], *flags: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, 'argv', ['tool.py', *flags])
        return load_tool('_arguments').exit_code(main), capsys.readouterr().err

    return call


def fail(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


def build_hook() -> None:
    HOOKS.build(dict(type='AdaptationHook', snapshots=-1))


DEBUG, LOGGER = '(--debug shows the traceback)', 'mmengine.hooks.logger_hook.LoggerHook'
NO_SPACE = os.strerror(errno.ENOSPC)
# As torch raises again what a data loader's worker raised.
OF_A_WORKER = """\
Caught ValueError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "a.py", line 1, in b
    raise c
ValueError: a.png: label ids [33]
"""


@pytest.mark.parametrize(
    ('main', 'line'),
    [
        (lambda: read_config('a  b.py'), f'config a  b.py: no such file (seen from {Path.cwd()})'),
        (lambda: read_study(Path('a.py')), f'study a.py: no such file (seen from {Path.cwd()})'),
        (Path('nowhere/a.png').read_text, 'nowhere/a.png: No such file or directory'),
        (Path('/proc').read_text, '/proc: Is a directory; a file was expected'),
        (
            Path('/proc/stat/x').mkdir,
            '/proc/stat/x: Not a directory; a folder was expected, but a file is there',
        ),
        (fail(OSError(errno.ENOSPC, NO_SPACE)), 'No space left on device; make room, or give another place'),
        (fail(OSError(errno.ENOSPC, 'a.pth: no room; make some')), 'a.pth: no room; make some'),
        (lambda: [][1], f'IndexError: list index out of range {DEBUG}'),
        (lambda: {}['a'], f'KeyError: a {DEBUG}'),
        (fail(RuntimeError('sizes:\n\n\thead: [21]\n')), f'RuntimeError: sizes: head: [21] {DEBUG}'),
        # As MMEngine passes on what a hook raised.
        (fail(TypeError(f'no int in <{LOGGER} object at 0x7fca0a>')), f'TypeError: no int {DEBUG}'),
        (build_hook, 'AdaptationHook: snapshots must be a number of images, or their stems, but got -1'),
        (fail(MemoryError()), f'MemoryError {DEBUG}'),
        (fail(ValueError(OF_A_WORKER)), 'ValueError: a.png: label ids [33]'),
    ],
)
def test_an_error_is_one_line(end, main, line):
    assert end(main) == (1, f'error: {line}\n')


def test_how_a_tool_ends(end, monkeypatch):
    assert end(lambda: None) == end(lambda: 0) == (0, '')
    assert end(lambda: 3) == (3, '')
    assert end(fail(KeyboardInterrupt())) == (130, '')
    assert end(fail(KeyboardInterrupt('again'))) == (130, 'interrupted: again\n')
    with pytest.raises(SystemExit, match='^143$'):
        end(fail(SystemExit(143)))
    code, errors = end(lambda: [][1], '--debug')
    assert code == 1 and errors.startswith('Traceback') and errors.endswith('list index out of range\n')
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setenv('RANK', '1')
    line = f'error: rank 1: config a.py: no such file (seen from {Path.cwd()})\n'
    assert end(lambda: read_config('a.py')) == (1, line)


def test_the_log_of_a_run_has_the_traceback(end, tmp_path):
    log = tmp_path / 'run.log'

    def main() -> None:
        MMLogger.get_instance('traced', log_file=str(log))
        [][1]

    assert end(main) == (1, f'error: IndexError: list index out of range (traceback in {log})\n')
    text = log.read_text()
    assert text.startswith('Traceback') and text.endswith('IndexError: list index out of range\n')


@pytest.mark.parametrize(
    ('name', 'before', 'after', 'files'),
    [
        ('analyze', 'env -u HOME ', '| head -1', {'analysis.json', 'analysis.csv'}),
        ('report', 'HOME= ', '<&- >&- 2>&-', {'page'}),
    ],
)
def test_files_are_written_whoever_reads(tmp_path, name, before, after, files):
    (tmp_path / FILE_NAME).write_text(RECORD)
    out = tmp_path / 'out' / ('page' if name == 'report' else '')
    command = f'set -o pipefail; {before}{sys.executable} {TOOLS / name}.py {tmp_path} -o {out} {after}'
    done = subprocess.run(['bash', '-c', command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, '')
    assert {path.name for path in (tmp_path / 'out').iterdir()} == files


TALKER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from _arguments import run
def main():
    file = open('first', 'w')
    for i in range(100_000):
        print(i)
    file.close()
    Path('last').write_text('')
    raise ValueError(Path('first').read_text())
run(main)
"""


@pytest.mark.parametrize(
    ('after', 'goes_on', 'errors'),
    [
        # What is opened is not taken for a closed output.
        ('>&-', True, f'error: ValueError {DEBUG}'),
        ('| head -1', True, f'error: ValueError {DEBUG}'),
        ('>&- 2>&-', True, ''),
        ('2>&- | head -1', True, ''),
        ('>/dev/full', False, 'error: No space left on device; make room, or give another place'),
    ],
)
def test_a_tool_does_its_work_whoever_reads(tmp_path, after, goes_on, errors):
    (tmp_path / 'tool.py').write_text(TALKER)
    command = f'set -o pipefail; {sys.executable} tool.py {TOOLS} {after}'
    done = subprocess.run(['bash', '-c', command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (1, errors)
    assert (tmp_path / 'last').is_file() == goes_on


@pytest.fixture
def help_of(run_tool) -> Callable[[str], str]:
    return lambda name: ' '.join(run_tool(name, '--help')[1].split())


def test_what_help_says_is_what_the_package_does(load_tool, help_of, monkeypatch):
    """The parsers import nothing of the package, so they repeat these."""
    assert ('mIoU', 'BIoU', *(f'trimap.{width}' for width in WIDTHS)) == load_tool('tune_crf').METRICS
    study = read_study(Path(config_path('studies/demo.py')), Path('unused'), {'environment': {}})
    assert {run.name.split('/')[0] for run in study.runs} == set(load_tool('demo').BACKBONES)
    assert f'{QUICK_OPTIONS["train_cfg.max_iters"]} iterations on a few pictures' in help_of('demo')
    monkeypatch.setattr(sys, 'argv', ['report.py', 'a'])
    args = load_tool('report').parse_args()
    assert page_content.__defaults__[:2] == (args.frames, args.width)
    for name in ('analyze', 'report'):
        assert f'or its {FILE_NAME}' in help_of(name)
    for name, counts in (('prepare_cityscapes', CITYSCAPES_COUNTS), ('prepare_camvid', CAMVID_COUNTS)):
        assert f'{{{",".join(counts)}}}' in help_of(name)


@pytest.fixture
def parse(load_tool) -> Callable[..., argparse.Namespace]:
    """A function that parses the flags of every MMSegmentation tool."""

    def call(*argv: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        load_tool('_arguments').add_run_arguments(parser)
        return parser.parse_args(argv)

    return call


def test_flags_that_launchers_pass(parse):
    assert parse('c.py').local_rank == 0
    assert parse('c.py', '--local-rank', '3').local_rank == parse('c.py', '--local_rank=3').local_rank == 3
    for launcher in ('none', 'pytorch', 'slurm', 'mpi'):
        assert parse('c.py', '--launcher', launcher).launcher == launcher


PATH_KEYS = ('load_from', 'options.load_from', 'train_dataloader.dataset.data_root', 'a.init_cfg.checkpoint')


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (['lr=0.5', 'a.depth=101', 'a.strides="[1,1]"'], {'lr': 0.5, 'a.depth': 101, 'a.strides': [1, 1]}),
        # Given again, it adds.
        (['lr=1', '--cfg-options', 'lr=2', 'a=None'], {'lr': 2, 'a': None}),
        (['load_from=None'], {'load_from': None}),
        # White space between words stays.
        (['name=my run', 'b=1, 2'], {'name': 'my run', 'b': [1, 2]}),
        (['a="[traffic light, (1, 2), b c ]"'], {'a': ['traffic light', (1, 2), 'b c']}),
        # Paths are taken as they are typed.
        *(
            ([f'{key}={path}' for key in PATH_KEYS], dict.fromkeys(PATH_KEYS, path))
            for path in ('/x/a,b.pth', '2026', 'my file.pth', '[a](b).pth', 'tflite:///a, b', '1e3')
        ),
    ],
)
def test_options_of_a_config(parse, options, expected):
    assert parse('c.py', '--cfg-options', *options).cfg_options == expected


@pytest.mark.parametrize(('pair', 'message'), [('load_from', 'expected key=value'), ('a=[1,2', 'Imbalanced')])
def test_a_pair_that_is_none_is_a_usage_error(parse, capsys, pair, message):
    with pytest.raises(SystemExit, match='^2$'):
        parse('c.py', '--cfg-options', pair)
    errors = capsys.readouterr().err
    assert 'argument --cfg-options: ' in errors and message in errors and repr(pair) in errors


@pytest.mark.parametrize('name', ['analyze', 'report'])
def test_readers_of_records_import_neither_torch_nor_models(name: str, tmp_path: Path):
    (tmp_path / FILE_NAME).write_text(RECORD)
    done = python('-X', 'importtime', TOOLS / f'{name}.py', tmp_path, '-o', tmp_path / 'out')
    assert done.returncode == 0, done.stdout
    imported = {line.rpartition('|')[2].strip() for line in done.stderr.splitlines()}
    assert 'mmseg_deeplab_study.runs.history' in imported
    assert not imported & {'torch', 'mmengine', 'mmcv', 'mmseg', 'mmpretrain', 'matplotlib', 'cv2'}
    assert ('plotly' in imported) == (name == 'report')


@pytest.mark.slow
def test_a_reader_of_records_can_ask_for_the_classes_of_a_dataset():
    code = (
        'REGISTERS_NOTHING = True\n'
        'from mmseg_deeplab_study.datasets.label_spaces import resolve_classes\n'
        'import sys\n'
        'print(len(resolve_classes("voc")), "mmpretrain" in sys.modules)\n'
    )
    done = python('-W', 'ignore', '-c', code)
    assert done.stdout.split() == ['21', 'False'], done.stderr
