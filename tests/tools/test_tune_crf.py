"""tools/tune_crf.py: what it prints and writes, that it goes on where it was, and what it refuses."""

import json
from functools import partial
from pathlib import Path

import pytest
from mmengine.config import Config

from mmseg_deeplab_study.inference import tune_crf


@pytest.fixture(scope='module')
def trained(make_tiny_cityscapes, make_config, write_trained, tmp_path_factory) -> tuple[str, str]:
    """Paths of a config and of a checkpoint of random weights."""
    folder = tmp_path_factory.mktemp('trained')
    cfg = make_config(make_tiny_cityscapes(folder, train=3), folder / 'work')
    cfg.test_dataloader = cfg.val_dataloader
    cfg.model.test_cfg.crf = dict(iterations=2)
    cfg.dump(folder / 'config.py')
    write_trained(cfg, folder / 'a.pth')
    return str(folder / 'config.py'), str(folder / 'a.pth')


@pytest.fixture
def run(run_tool, trained, tmp_path, monkeypatch):
    """A function that runs the tool in a folder of its own; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    # A console remembers the stream it was made with.
    monkeypatch.setattr(tune_crf, 'console', tune_crf.Console(highlight=False, markup=False, soft_wrap=True))
    return partial(run_tool, 'tune_crf', *trained)


def read_trials(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()][1:]


@pytest.mark.slow
def test_searches_and_writes_a_part_of_a_config(run, tmp_path):
    code, output, errors = run('--images', 2)
    assert (code, errors) == (0, '')
    folder = tmp_path / 'work_dirs/tune_crf/config'
    trials = read_trials(folder / 'trials.jsonl')
    assert trials[0]['setting'] is None and len(trials) > 17
    lines = output.splitlines()
    assert lines[0] == '2 images of the training split; 16 settings, then those around the best'
    assert lines[1].startswith('  0 without: mIoU ')
    assert lines[2].startswith('  1 bilateral_weight 3, bilateral_sigma_xy 30, bilateral_sigma_rgb 3: mIoU ')
    best = max(trials[1:], key=lambda trial: trial['scores']['mIoU'])
    cfg = Config.fromfile(folder / 'crf.py')
    assert cfg.model.test_cfg.crf == {'iterations': 2, **best['setting']}
    # The whole config, to be tested with.
    assert cfg.model.decode_head.num_classes == 19 and 'test_dataloader' in cfg
    verdict = f'mIoU {best["scores"]["mIoU"]:.2f} % with, {trials[0]["scores"]["mIoU"]:.2f} % without'
    assert verdict in output and verdict in (folder / 'crf.py').read_text()
    assert lines[-1] == 'Wrote work_dirs/tune_crf/config/crf.py'


def test_resumes_after_the_trials_that_are_there(run, monkeypatch, tmp_path):
    evaluate, asked = tune_crf.Trials.evaluate, []

    def interrupted(self, setting, tick):
        asked.append(setting)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return evaluate(self, setting, tick)

    monkeypatch.setattr(tune_crf.Trials, 'evaluate', interrupted)
    code, _, errors = run('--images', 1, '-o', 'out')
    assert code == 130
    assert errors == 'interrupted: the same command resumes after the trials in out/trials.jsonl\n'
    path = tmp_path / 'out/trials.jsonl'
    assert len(read_trials(path)) == 3
    # A kill cuts the last line short: that trial is made again.
    with path.open('a') as file:
        file.write('{"setting": ')
    code, output, _ = run('--images', 1, '-o', 'out')
    assert code == 0 and output.startswith('out/trials.jsonl: resuming after 3 trials\n')
    settings = [trial['setting'] for trial in read_trials(path)]
    assert asked[4:] == settings[3:]
    assert len({json.dumps(setting) for setting in settings}) == len(settings)


def test_looks_for_the_largest_of_another_score(run, tmp_path):
    code, output, _ = run('--images', 1, '-o', 'out', '--metric', 'trimap.4')
    assert code == 0
    trials = read_trials(tmp_path / 'out/trials.jsonl')
    best = max(trial['scores']['trimap.4'] for trial in trials[1:])
    assert f'trimap.4 {best:.2f} % with' in output


def test_says_when_none_is_better(run, monkeypatch):
    monkeypatch.setattr(
        tune_crf.Trials, 'evaluate', lambda self, setting, tick: {'mIoU': 30.0 if setting is None else 29.0}
    )
    code, output, _ = run('--images', 1)
    assert code == 0
    assert 'mIoU 29.00 % with, 30.00 % without, on 1 images: no setting is better than none' in output


@pytest.mark.slow
def test_refuses_the_trials_of_another_search(run):
    assert run('--images', 1, '-o', 'out')[0] == 0
    for other in (['--images', 2], ['--images', 1, '--cfg-options', 'model.data_preprocessor.std=[1,1,1]']):
        code, _, errors = run(*other, '-o', 'out')
        assert code == 1
        assert errors.startswith('error: out/trials.jsonl is of another search, ')
        assert errors.endswith('give another --out, or --overwrite\n')
    assert run('--images', 2, '-o', 'out', '--overwrite')[0] == 0
