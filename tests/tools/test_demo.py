"""The demonstration: its parts, and a run of a few iterations from data to figure."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from mmseg_deeplab_study.evaluation.history import History, read_history

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'tools' / 'demo.py'


@pytest.fixture(scope='module')
def demo():
    spec = importlib.util.spec_from_file_location('demo_script', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(demo, tmp_path, monkeypatch, capsys):
    """A function that runs the demonstration in tmp_path and returns its exit code and its output."""

    def call(*arguments) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv('OMP_NUM_THREADS', '1')  # the tests share their machine
        monkeypatch.setattr(sys, 'argv', ['demo.py', *map(str, arguments)])
        return demo.main(), capsys.readouterr().out

    return call


def test_table(demo):
    scores = {'mIoU': (11.0, 6.04, 12.0), 'mIoU.seen': (30.0, 20.0, 25.0), 'mIoU.unseen': (1.0, 2.0, 3.0)}
    rows = [
        {'iter': 5 * k, 'kind': 'validation', 'subset': 'full', **{s: v[k] for s, v in scores.items()}}
        for k in range(3)
    ]
    table = demo.make_table({'ResNet-50': History({}, rows)})
    assert [list(column.cells) for column in table.columns] == [
        ['ResNet-50', '', ''],
        ['all', 'seen', 'unseen'],
        ['11.0', '30.0', '1.0'],
        ['6.0', '20.0', '1.0'],
        ['5', '5', '0'],  # the unseen classes never fell: the lowest is iteration 0
        ['10', 'not yet', '-'],
        ['12.0', '25.0', '3.0'],
        ['12.0', '30.0', '3.0'],
    ]


@pytest.mark.parametrize(
    ('arguments', 'gpu', 'jobs'),
    [
        ([], False, 2),
        (['--backbones', 'ResNet-50'], False, 1),
        (['--jobs', '3'], False, 3),
        (['--cluster', 'local'], False, None),
        ([], True, None),
    ],
)
def test_as_many_at_a_time_as_cores(demo, monkeypatch, arguments, gpu, jobs):
    monkeypatch.setattr(demo, 'usable_cores', lambda: 2)
    monkeypatch.setattr(demo.torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.setattr(sys, 'argv', ['demo.py', *arguments])
    assert demo.parse_args().jobs == jobs


def test_data_of_another_kind_are_refused(run, tmp_path):
    other = tmp_path / 'data-quick' / 'drawn-voc'
    other.mkdir(parents=True)
    (other / 'notes.txt').write_text('mine')
    code, output = run('--quick', '--work-dir', tmp_path)
    assert code == 1
    assert 'drawn-voc holds files without a dataset.json' in output


@pytest.mark.slow
def test_quick_run_and_its_repetition(run, tmp_path):
    names = ('MobileNetV2', 'SegFormer-B0')
    arguments = ('--quick', '--work-dir', 'the runs', '--backbones', *names, '--seed', 3)
    code, output = run(*arguments)
    assert code == 0, output
    folder = tmp_path / 'the runs' / 'quick'
    assert 'not photographs' in output
    assert 'Study demo: 4 runs, 0 done or going on' in output
    for name in names:
        assert f'{name}/seed3: done, iteration 10/10, mIoU' in output
    for question in ('mIoU (%) at its best', 'Boundary IoU (%) at the end'):
        assert re.search(rf'^{re.escape(question)}: .*; with one seed', output, re.MULTILINE), output
    assert output.rstrip().endswith(f'Report: {folder / "report.html"}')
    assert f'Figure: {folder / "adaptation.png"}' in output
    Image.open(folder / 'adaptation.png').verify()
    assert 'drawn data (not photographs)' in (folder / 'report.html').read_text()

    histories = [read_history(folder / name / 'seed3') for name in names]
    for name, history in zip(names, histories, strict=True):
        assert [row['iter'] for row in history.validations] == [0, 5, 10]
        assert history.header['seed'] == 3
        assert history.header['load_from'] == str(folder / name / 'source' / 'iter_10.pth')
        work_dir = folder / name / 'seed3'
        assert (work_dir / 'head_transfer.json').is_file()
        # at 0, 5 and 10, the source's view, and the reference
        assert len(list((work_dir / 'snapshots').iterdir())) == 5

    code, output = run(*arguments)
    assert code == 0
    assert 'Study demo: 4 runs, 4 done or going on' in output
    assert [read_history(folder / name / 'seed3') for name in names] == histories


def test_a_dry_run_draws_the_data_and_trains_nothing(demo, run, tmp_path):
    code, output = run('--quick', '--work-dir', tmp_path, '--seeds', 0, 1, '--dry-run')
    assert code == 0, output
    for name in demo.BACKBONES:
        for part in ('source', 'seed0', 'seed1'):
            assert f'\n{name}/{part}: ' in output
    assert [path.name for path in tmp_path.iterdir()] == ['data-quick']
