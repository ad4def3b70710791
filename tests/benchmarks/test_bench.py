"""The benchmarks measure what they say, on pictures too small for the times to mean anything."""

import copy
import json
import os
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmseg.utils import register_all_modules

from benchmarks import setups, tables, training, validation
from benchmarks.measure import alternate, in_own_process, machine, peak_growth

pytestmark = pytest.mark.slow


@cache
def read(path: Path) -> Config:
    cfg = Config.fromfile(path)
    # Workers take longer to end than anything here takes.
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    # Serialised, a dataset collects all of Python's garbage first.
    for dataset in (cfg.train_dataloader.dataset.dataset, cfg.val_dataloader.dataset):
        dataset.serialize_data = False
    return cfg


@pytest.fixture(scope='module', autouse=True)
def read_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setups, 'Config', SimpleNamespace(fromfile=lambda path: copy.deepcopy(read(path))))
        yield


@pytest.fixture(scope='module')
def streets(shared: Path, tmp_path_factory) -> Path:
    register_all_modules()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('CAMVID_ROOT', str(shared / 'data/camvid_cityscapes'))
        yield setups.make_streets(tmp_path_factory.mktemp('streets'), 2, 64)


@pytest.fixture(scope='module')
def results(streets: Path, tmp_path_factory) -> dict:
    folder, network = tmp_path_factory.mktemp('bench'), 'MobileNetV2'
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv('MALLOC_ARENA_MAX', raising=False)
        patch.setattr('mmengine.config.config.FormatCode', lambda text, **_: (text, True), raising=False)
        ours, weights = setups.config(network, 'float32', streets, folder, crop=64), folder / 'trained.pth'
        yield {
            'machines': {'training': machine()},
            'dtypes': setups.DTYPES,
            'training': {network: training.steps(network, streets, folder, 2, 64, weights)},
            'validation': {f'{network}, 64x128': validation.passes(network, streets, folder, 1, weights)},
            # Ours alone: three runs would take as long as a tenth of the suite.
            'rounds': {network: dict.fromkeys(setups.VARIANTS, training.run_rounds(ours, 2))},
        }
    torch.set_num_threads(threads)


def test_what_is_measured(results):
    passes = results['validation']['MobileNetV2, 64x128']
    assert tuple(passes['seconds']) == setups.VARIANTS
    assert passes['difference']['stock']['labels'] == 100
    assert passes['difference']['float32']['labels'] > 99.9
    tracked = results['rounds']['MobileNetV2']['float32']
    assert 0 < tracked['tracker'] < tracked['validation'] < tracked['round']


def test_stock_is_without_ours(streets, tmp_path):
    cfg = setups.config('ResNet-50', setups.STOCK, streets, tmp_path)
    assert cfg.model.type == 'EncoderDecoder' and cfg.val_evaluator.type == 'IoUMetric'
    assert 'decoded_cache' not in cfg.default_hooks and not cfg.custom_hooks


def test_tables_and_picture(results, tmp_path):
    # Through JSON, as they are kept.
    results = json.loads(json.dumps(results))
    results['memory'] = {
        'a network': dict(
            peak_mb=dict(stock=200, float32=50, bfloat16=20), folded_mb=dict(float32=8, bfloat16=4)
        )
    }
    page = tmp_path / 'speed.md'
    page.write_text(f'# Speed\n\n{tables.BEGIN}\nold\n{tables.END}\n\nbelow\n')
    text = tables.write(results, tmp_path)
    assert page.read_text() == f'# Speed\n\n{tables.BEGIN}\n{text}\n{tables.END}\n\nbelow\n'
    stock = results['validation']['MobileNetV2, 64x128']['seconds']['stock']
    assert f'| MobileNetV2, 64x128 | {tables._seconds(stock)} |' in text
    shown = dict(float32=('50 (0.25)', '8'), bfloat16=('20 (0.10)', '4'))
    peaks, folded = zip(*(shown[name] for name in setups.DTYPES), strict=True)
    assert f'| {" | ".join(["a network", "200", *peaks, *folded])} |' in text
    assert (tmp_path / 'speed.png').stat().st_size > 10_000


def test_sections_that_take_long():
    """Their tables, of made-up figures."""
    variants = ('stock', 'float32')
    curves = {'stock': ([2.0] * 20, 9.0), 'float32': ([1.5] * 20, 9.25)}
    results = {
        'machines': {'growth': 'a machine'},
        'training': {'a': {key: dict.fromkeys(variants, 2.0) for key in ('seconds', 'seconds_kept')}},
        'rounding': {'a': {'steps': 20, 'first update, float64': 3e-9, 'float32': 0.5, 'nudged': 0.25}},
        'adapted': {
            'CamVid': {name: dict(loss=c, miou=[m] * 7, labelled=[m] * 7) for name, (c, m) in curves.items()}
        },
        'growth': {
            'b': {
                'height': {'256': dict.fromkeys(variants, 0.5)},
                'classes': {'19': {'stock': 3, 'float32': 1.5, 'stock MB': 90.4, 'float32 MB': 30}},
                'images': {'4': dict.fromkeys(variants, 2)},
            }
        },
    }
    lines = list(tables._lines(results, ['float32']))
    assert lines[0] == 'Measured on a machine.'
    for row in (
        '| a | kept | 2.00 | 2.00 (1.0x) |',
        '| a | 3e-09 | 0.500 | 0.250 |',
        '| loss of the first 20 iterations, relative, at most | 2.5e-01 |',
        '| mIoU, points apart: the best of all | 0.250 |',
        '| 256x512 | 0.500 | 0.500 |',
        '| 19 | 3.00 | 1.50 | 90 | 30 |',
        '| 4 | 2.00 | 2.00 |',
    ):
        assert row in lines


def test_growth_with_classes(streets, tmp_path, monkeypatch):
    monkeypatch.setattr(setups, 'make_streets', lambda folder, number, height: streets)
    cells = validation._by_classes(5, tmp_path, 1)
    assert set(cells) == {'stock', 'float32', 'stock MB', 'float32 MB'}


def test_alternate_takes_turns_and_leaves_the_first_out():
    calls = []
    seconds = alternate({'a': lambda: calls.append('a'), 'b': lambda: calls.append('b')}, 2, 'test')
    assert calls == ['a', 'b'] * 3
    assert set(seconds) == {'a', 'b'}


def test_peak_growth():
    assert peak_growth(lambda: bytearray(b'x') * (64 << 20)) == pytest.approx(64, abs=8)


def test_in_own_process():
    assert in_own_process(os.getpid) != os.getpid()
    with pytest.raises(FileNotFoundError, match='nowhere'):
        in_own_process(os.stat, 'nowhere')


def test_no_photographs(tmp_path, monkeypatch):
    monkeypatch.setenv('CAMVID_ROOT', str(tmp_path))
    with pytest.raises(FileNotFoundError, match='no CamVid in the Cityscapes layout.*set CAMVID_ROOT'):
        setups.camvid()
