"""configs/*/README.md say what configs, models and kept records say."""

import re
from pathlib import Path

import pytest

from benchmarks import config_tables
from benchmarks.config_tables import (
    MARKS,
    REPO,
    Leaf,
    command,
    folders,
    kept_runs,
    leaves,
    measure,
    result,
    source,
    table,
    three_digits,
    written_sizes,
)

RUN = 'run python -m benchmarks.config_tables'
each_folder = pytest.mark.parametrize('folder', folders(), ids=lambda folder: folder.name)


def named(name: str) -> Leaf:
    (leaf,) = [leaf for folder in folders() for leaf in leaves(folder) if leaf.path.stem == name]
    return leaf


def written(folder: Path) -> str:
    begin, end = MARKS
    return (folder / 'README.md').read_text().partition(f'{begin}\n')[2].partition(f'\n{end}')[0]


@pytest.mark.slow
@each_folder
def test_the_page_is_what_the_configs_and_records_say(folder):
    assert written(folder) == table(folder, written_sizes(folder)), RUN


@each_folder
def test_the_page_names_every_leaf_and_its_command(folder):
    stems = [path.stem for path in sorted(folder.glob('*.py'))]
    assert stems and sorted(written_sizes(folder)) == stems, RUN
    assert all(f'tools/train.py configs/{folder.name}/{stem}.py' in written(folder) for stem in stems)


@pytest.mark.slow
@each_folder
def test_sizes_are_those_of_the_model(folder):
    # One of each network; a minute for all.
    first = leaves(folder)[0]
    assert written_sizes(folder)[first.path.stem] == measure(first), f'{RUN} --measure'


def test_multiply_adds_are_those_of_the_records():
    sizes = written_sizes(REPO / 'configs/camvid')
    counted = {name: header['model'] for name, header, _ in kept_runs()}
    assert len(counted) == 4
    for name, model in counted.items():
        assert sizes[name].parameters == f'{three_digits(model["parameters"], 1e6)} M'
        assert sizes[name].multiply_adds == f'{three_digits(model["training"]["multiply_adds"], 1e9)} G'


@pytest.mark.slow
def test_results_are_those_of_the_findings():
    headline = re.search(
        '<!-- headline -->\n(.*?)<!-- /headline -->', (REPO / 'docs/findings.md').read_text(), re.DOTALL
    )[1]
    results = [result(leaf) for leaf in leaves(REPO / 'configs/camvid')]
    found = [text.partition(' (')[0] for text in results if text != '-']
    assert len(found) == 4 and all(f'| {text} |' in headline for text in found)
    # x1-os16-backbone trains the leaf of ImageNet's weights from others: it is none of its results.
    assert all(text.endswith('(100, 5)') for text in results if text != '-')


def test_runs_of_two_lengths_are_no_result(monkeypatch):
    leaf = named('deeplabv3_mobilenet-v2-os16_1xb4-200_voc2camvid')
    (name, header, last), *_ = [run for run in kept_runs() if run[0] == leaf.path.stem]
    monkeypatch.setattr(
        config_tables, 'kept_runs', lambda: [(name, header, last), (name, header, {**last, 'iter': 50})]
    )
    with pytest.raises(ValueError, match=r'voc2camvid.py: kept runs end at iterations \[50, 100\]; expected'):
        result(leaf)


@pytest.mark.parametrize(
    ('name', 'says'),
    [
        ('unet-s5-d16_1xb16-30k_voc12aug-512x512', 'random weights'),
        (
            'unet-s5-d16_1xb4-200_voc2cityscapes-768x768',
            '[its source stage](unet-s5-d16_1xb16-30k_voc12aug-512x512.py)',
        ),
        (
            'deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid',
            '`tflite://checkpoints/deeplabv3_257_mv_gpu.tflite`',
        ),
        (
            'pspnet_r50-os16_1xb16-30k_voc12aug-512x512',
            '[`resnet50_8xb32_in1k_20210831-ea4938fc.pth`](https://download.openmmlab.com/mmclassification/v0/'
            'resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth)',
        ),
    ],
)
def test_source(name, says):
    assert source(named(name)) == says


def test_command():
    stem = 'segformer_mit-b0_1xb4-200_voc2cityscapes-768x768'
    # As docs/transformers.md has it.
    assert command(named(stem)) in (REPO / 'docs/transformers.md').read_text()
    alone = 'segformer_mit-b0_1xb16-30k_voc12aug-512x512'
    assert command(named(alone)) == f'python tools/train.py configs/segformer/{alone}.py'


@pytest.mark.parametrize(
    ('value', 'text'),
    [(720_277_696, '0.720'), (1_745_257_280, '1.75'), (93_940_000_000, '93.9'), (1_234_000_000_000, '1234')],
)
def test_three_digits(value, text):
    assert three_digits(value, 1e9) == text


def test_what_cannot_be_counted_has_no_number():
    assert three_digits(None, 1e9) == '-'
