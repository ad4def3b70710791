"""The demonstration: a run of a few iterations from data to figure."""

import re

import pytest
from PIL import Image

from mmseg_deeplab_study.runs.history import read_history


@pytest.fixture
def run(run_tool, tmp_path, monkeypatch):
    """A function that runs the demonstration in tmp_path and returns its exit code and its output."""

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')  # the tests share their machine
    return lambda *arguments: run_tool('demo', *arguments)[:2]


@pytest.mark.slow
def test_quick_run_and_its_repetition(run, tmp_path):
    names = ('MobileNetV2', 'SegFormer-B0')
    arguments = ('--quick', '--work-dir', 'the runs', '--backbones', *names, '--seed', 3)
    code, output = run(*arguments)
    assert code == 0, output
    folder = tmp_path / 'the runs' / 'quick'
    assert 'not photographs' in output
    assert 'Using env variable' not in output
    assert 'Study demo: 4 runs, 0 done or running' in output
    for name in names:
        assert f'{name}/seed3: done, iteration 10/10, mIoU' in output
        assert re.search(rf'^{name}\n.*\n.* recovered at ', output, re.MULTILINE), output
    for question in (r'mIoU(\.labelled)? \(%\) at its best', r'Boundary IoU \(%\) at the end'):
        assert re.search(rf'^{question}: ', output, re.MULTILINE), output
    assert output.count('One seed says nothing about variance') == 1
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
    assert 'Study demo: 4 runs, 4 done or running' in output
    assert [read_history(folder / name / 'seed3') for name in names] == histories


def test_a_dry_run_draws_the_data_and_trains_nothing(load_tool, run, tmp_path):
    code, output = run('--quick', '--work-dir', tmp_path, '--seeds', 0, 1, '--dry-run')
    assert code == 0, output
    for name in load_tool('demo').BACKBONES[:2]:
        for part in ('source', 'seed0', 'seed1'):
            assert f'\n{name}/{part}: ' in output
    assert 'SegFormer' not in output  # only on request
    assert [path.name for path in tmp_path.iterdir()] == ['data-quick']
