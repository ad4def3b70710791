"""The demonstration: its parts, and a run of a few iterations from data to figure."""

import importlib.util
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


@pytest.fixture
def stage(demo, tmp_path):
    """A function that makes a stage which runs the given Python code instead of tools/train.py."""

    def make(monkeypatch, code: str, seed: int = 0):
        (tmp_path / 'tools').mkdir(exist_ok=True)
        (tmp_path / 'tools' / 'train.py').write_text(code)
        config = tmp_path / 'leaf.py'
        config.write_text('lr = 1')
        monkeypatch.setattr(demo, 'ROOT', tmp_path)
        return demo.Stage('R learns', config, seed, (), {'DEMO_ROOT': 'x'})

    return make


def test_every_backbone_has_both_configs(demo):
    for model in demo.BACKBONES.values():
        for data in (demo.SOURCE, demo.TARGET):
            assert demo.find_config(model, data).is_file()


def test_a_complete_stage_is_not_run_again(demo, stage, tmp_path, monkeypatch, capsys):
    one = stage(monkeypatch, 'print("Iter(train) [  5/10]")')
    work_dir = demo.run_stage(one, tmp_path / 'runs', '[1/4]')
    assert work_dir == tmp_path / 'runs' / 'leaf'
    assert (work_dir / 'train.log').read_text() == 'Iter(train) [  5/10]\n'
    before = sorted(tmp_path.rglob('*'))
    assert demo.run_stage(one, tmp_path / 'runs', '[1/4]') == work_dir
    assert sorted(tmp_path.rglob('*')) == before
    assert f'[1/4] R learns: already done, {work_dir}' in capsys.readouterr().out


def test_a_failed_stage_says_why_and_starts_over_in_a_fresh_folder(demo, stage, tmp_path, monkeypatch):
    bad = stage(monkeypatch, 'raise SystemExit("no such file: data")')
    log = tmp_path / 'runs' / 'leaf' / 'train.log'
    with pytest.raises(demo.StageError) as caught:
        demo.run_stage(bad, tmp_path / 'runs', '[1/4]')
    assert str(caught.value) == (
        f'[1/4] R learns: failed with exit code 1; the end of {log}:\nno such file: data'
    )
    good = stage(monkeypatch, '')
    assert demo.run_stage(good, tmp_path / 'runs', '[1/4]') == tmp_path / 'runs' / 'leaf.2'
    assert log.read_text() == 'no such file: data\n'  # the failed attempt is left as it was


def test_another_seed_or_config_is_another_stage(demo, stage, tmp_path, monkeypatch):
    first = stage(monkeypatch, '')
    other_seed = stage(monkeypatch, '', seed=1)
    assert first.key() == first._replace(title='another').key() != other_seed.key()
    key = first.key()
    first.config.write_text('lr = 2')
    assert first.key() != key


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


def test_data_of_another_kind_are_refused(run, tmp_path):
    other = tmp_path / 'data-quick' / 'drawn-voc'
    other.mkdir(parents=True)
    (other / 'notes.txt').write_text('mine')
    code, output = run('--quick', '--work-dir', tmp_path)
    assert code == 1
    assert 'drawn-voc holds files without a dataset.json' in output


@pytest.mark.slow
def test_quick_run_and_its_repetition(run, tmp_path):
    arguments = ('--quick', '--work-dir', 'the runs', '--backbones', 'MobileNetV2', '--seed', 3)
    code, output = run(*arguments)
    assert code == 0, output
    folder = tmp_path / 'the runs' / 'quick-seed3'
    assert 'not photographs' in output
    assert '[2/2] MobileNetV2 adapts to the drawn streets: done in' in output
    assert output.rstrip().endswith(f'Report: {folder / "report.html"}')
    assert f'Figure: {folder / "adaptation.png"}' in output
    Image.open(folder / 'adaptation.png').verify()
    assert 'drawn data (not photographs)' in (folder / 'report.html').read_text()

    (work_dir,) = folder.glob('*_drawn-voc2drawn-cityscapes-128x256')
    history = read_history(work_dir)
    assert [row['iter'] for row in history.validations] == [0, 5, 10]
    assert history.header['seed'] == 3
    assert history.header['load_from'].startswith(str(folder))
    assert (work_dir / 'head_transfer.json').is_file()
    assert len(list((work_dir / 'snapshots').iterdir())) == 5  # 0, 5, 10, the source's view, the reference

    code, output = run(*arguments)
    assert (code, output.count('already done')) == (0, 2)
    assert read_history(work_dir) == history
