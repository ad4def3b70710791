"""The flags of all tools: what they hand over, and what is not imported for them."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmseg_deeplab_study.datasets.downloads import CAMVID_COUNTS, CITYSCAPES_COUNTS
from mmseg_deeplab_study.evaluation.boundary_metric import WIDTHS
from mmseg_deeplab_study.evaluation.history import FILE_NAME
from mmseg_deeplab_study.hub import config_path
from mmseg_deeplab_study.report.film import Film
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
    assert len(NAMES) == 14


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
    assert Film() == (args.frames, args.width)
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


def test_flags_and_their_defaults(parse):
    assert vars(parse('c.py')) == {
        'config': 'c.py',
        'work_dir': None,
        'cfg_options': None,
        'launcher': 'none',
        'local_rank': 0,
    }
    assert parse('c.py', '--local-rank', '3').local_rank == parse('c.py', '--local_rank=3').local_rank == 3
    for launcher in ('pytorch', 'slurm', 'mpi'):
        assert parse('c.py', '--launcher', launcher).launcher == launcher
    with pytest.raises(SystemExit):
        parse('c.py', '--launcher', 'torchrun')


def test_help_explains_every_flag_but_the_launchers_own(parse, capsys):
    with pytest.raises(SystemExit) as caught:
        parse('--help')
    assert caught.value.code == 0
    text = ' '.join(capsys.readouterr().out.split())
    assert 'config config file path' in text
    assert '--work-dir WORK_DIR the dir to save logs and models (default: work_dirs/<config name>)' in text
    assert 'load_from=PATH train_dataloader.batch_size=2 key="[a,b]"' in text
    assert 'job launcher (default: none)' in text
    assert 'local' not in text


def test_options_are_those_of_mmengine(parse):
    options = ('lr=0.5', 'model.depth=101', 'model.strides="[1,1]"')
    expected = {'lr': 0.5, 'model.depth': 101, 'model.strides': [1, 1]}
    assert parse('c.py', '--cfg-options', *options).cfg_options == expected
    # Given again, it adds.
    again = parse('c.py', '--cfg-options', *options, '--cfg-options', 'lr=1', 'a=None')
    assert again.cfg_options == {**expected, 'lr': 1, 'a': None}


@pytest.mark.parametrize('name', ['analyze', 'report'])
def test_readers_of_records_import_neither_torch_nor_models(name: str, tmp_path: Path):
    (tmp_path / FILE_NAME).write_text(RECORD)
    done = python('-X', 'importtime', TOOLS / f'{name}.py', tmp_path, '-o', tmp_path / 'out')
    assert done.returncode == 0, done.stdout
    imported = {line.rpartition('|')[2].strip() for line in done.stderr.splitlines()}
    assert 'mmseg_deeplab_study.evaluation.history' in imported
    assert not imported & {'torch', 'mmengine', 'mmcv', 'mmseg', 'mmpretrain', 'matplotlib', 'cv2', 'rich'}
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
