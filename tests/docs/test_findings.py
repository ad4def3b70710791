"""docs/findings.md says what the kept records say."""

import importlib.util
import re
from pathlib import Path

import pytest

from mmseg_deeplab_study.datasets.fetch import DOWNLOADS

pytestmark = pytest.mark.slow  # reads all records

REPO = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location('render', REPO / 'docs/findings/render.py')
render = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(render)
ALL, SEEN, UNSEEN = render.LABELLED
PASCAL = list(render.BACKBONES)[:3]
HEADS = ('new-head', 'copy-zero')


@pytest.fixture(scope='module')
def findings() -> 'render.Findings':
    return render.Findings()


def test_every_number_of_the_page_is_that_of_the_records(findings):
    assert render.render(findings) == render.PAGE.read_text(), 'run docs/findings/render.py'


def test_readme_has_the_table_of_the_page():
    table = re.search('<!-- headline -->\n(.*?)<!-- /headline -->', render.PAGE.read_text(), re.DOTALL)[1]
    assert table in (REPO / 'README.md').read_text()


def test_each_experiment_has_five_seeds_of_one_recipe(findings):
    heads = [f'{name}/{head}' for name in list(render.BACKBONES)[:2] for head in render.HEADS if head]
    rates = [f'{name}/{rate}' for name in list(render.BACKBONES)[:2] for rate in render.RATES if rate]
    assert sorted(findings.experiments) == sorted([*render.BACKBONES, *heads, *rates])
    for name in findings.experiments:
        assert findings.seeds(name) == [0, 1, 2, 3, 4]
        headers = [run.history.header for run in findings.experiments[name]]
        assert len({header['config_digest'] for header in headers}) == 1
        assert {header['max_iters'] for header in headers} == {100}
        assert [run.last for run in findings.experiments[name]] == [100] * 5


def test_the_sources_are_those_that_can_be_fetched(findings):
    digests = {file.digest for file in DOWNLOADS.values()}
    for name, runs in findings.experiments.items():
        checkpoints = {(run.history.header['source_checkpoint'] or {}).get('digest') for run in runs}
        assert checkpoints <= ({None} if name in ('x1-os16-imagenet', 'x1-os16-backbone') else digests)


def test_counts_of_photographs_are_those_of_the_last_validation(findings):
    for run in findings.analysis.runs:
        hits, labelled, predicted = zip(*findings.counts[run.name], strict=True)
        last = run.history.validations[-1]['confusion']
        assert len(hits) == 26
        assert [sum(column) for column in zip(*hits, strict=True)] == [last[i][i] for i in range(19)]
        assert [sum(column) for column in zip(*labelled, strict=True)] == [sum(row) for row in last]
        assert [sum(column) for column in zip(*predicted, strict=True)] == [
            sum(column) for column in zip(*last, strict=True)
        ]


def test_sentences_about_the_drop_hold(findings):
    for name in ('x1-os16', 'x0p5-os16'):
        new, zero = (findings.mean(f'{name}/{head}', 'source_classifier', 'head') for head in HEADS)
        source = findings.mean(name, 'source_classifier', 'source').mean
        assert max(new.high, 0) < 0.1
        assert findings.mean(f'{name}/new-head', 'source_classifier', 'features').low > source - 1
        assert zero.mean < source / 2
        assert not any(findings.back_at(f'{name}/{head}').count for head in HEADS)
        assert findings.mean(f'{name}/copy-zero', 'source_classifier', 'last').high < 0.1
    for name in PASCAL:
        # Above the source's view, and hardly ever below iteration 0.
        assert findings.mean(name, 'source_classifier', 'last_drop').high < 0
        assert float(findings.largest_dip()) < 0.5


def test_sentences_about_early_and_late_classes_hold(findings):
    half = 'iterations_to_0.5_of_best'
    for name in PASCAL:
        assert findings.mean(name, 'IoU.car', half).high == findings.mean(name, 'IoU.person', half).high == 0
        bests = {title: findings.mean(name, f'IoU.{title}', 'last').mean for title in findings.labelled}
        assert [title for title, best in bests.items() if best > 30] == ['road', 'building', 'sky', 'car']
        assert (
            findings.mean(name, 'IoU.vegetation', 'best').high
            < 10
            > findings.mean(name, 'IoU.sidewalk', 'best').high
        )
    imagenet = {n: findings.mean('x1-os16-imagenet', f'IoU.{n}', 'last') for n in ('vegetation', 'sidewalk')}
    assert all(value.low > 10 for value in imagenet.values())
    assert findings.mean('x1-os16/new-head', 'seen_lead', 'iterations').high < 0
    assert findings.never() == ['fence', 'pole', 'traffic sign']


def test_sentences_about_backbones_hold(findings):
    for first, second in (('x1-os16', 'x0p5-os16'), ('x1-os16', 'x0p5-os8'), ('x0p5-os8', 'x0p5-os16')):
        assert findings.less(first, second, ALL, 'last').low > 0
        assert findings.photographs(first, second)[0] > 0
    stride, width = (findings.less(n, 'x0p5-os16', ALL, 'last').mean for n in ('x0p5-os8', 'x1-os16'))
    assert 2 * stride < width
    assert findings.step('x0p5-os8') > findings.step('x1-os16')
    assert 0.6 < findings.step('x0p5-os16') / findings.step('x1-os16') < 0.7
    operations = [findings.model(name)['multiply_adds'] for name in ('x0p5-os16', 'x1-os16')]
    assert 0.3 < operations[0] / operations[1] < 0.37


def test_sentences_about_imagenet_and_rates_hold(findings):
    for name in ('x1-os16-imagenet', 'x1-os16-backbone'):
        assert findings.less(name, 'x1-os16', ALL, 'last').low > 0
        assert (
            findings.less(name, 'x1-os16', UNSEEN, 'last').low
            > 0
            > findings.less(name, 'x1-os16', SEEN, 'last').high
        )
    for title in ('person', 'bicycle'):
        assert findings.mean('x1-os16-imagenet', f'IoU.{title}', 'last').high < 1
    for name in ('x1-os16', 'x0p5-os16'):
        assert findings.less(f'{name}/same', name, ALL, 'last').low > 0
        assert findings.less(f'{name}/same', name, 'IoU.car', 'last').high < 0
        assert abs(findings.less(f'{name}/frozen', name, ALL, 'last').mean) < 1
        assert findings.mean(f'{name}/same', 'IoU.vegetation', 'last').low > 1
        assert findings.mean(f'{name}/same', 'IoU.sidewalk', 'last').high < 10
        # Head transfer's gain is in the seen classes.
        assert findings.less(f'{name}/new-head', name, SEEN, 'last').high < -5
        assert abs(findings.less(f'{name}/new-head', name, UNSEEN, 'last').mean) < 1
        assert findings.less(f'{name}/copy-zero', f'{name}/new-head', ALL, 'last').low < 0
