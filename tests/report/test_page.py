"""The page as a file: its numbers, its robustness, its bytes. test_browser.py opens it."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from mmseg.utils import get_classes
from PIL import Image

from mmseg_deeplab_study.report import film
from mmseg_deeplab_study.report.analysis_text import class_table, score_table
from mmseg_deeplab_study.report.confusions import right_answers
from mmseg_deeplab_study.report.page import page_content
from mmseg_deeplab_study.report.runs import read_runs
from mmseg_deeplab_study.runs.history import History
from mmseg_deeplab_study.runs.study_record import write_study_record
from mmseg_deeplab_study.tables import table_cells

CURVE = {0: 9.0, 5: 6.0, 10: 21.5, 15: 31.0}


@pytest.fixture
def content_of(read) -> Callable[..., dict]:
    """A function that gives what the page of work_dirs shows."""
    return lambda *folders, **options: page_content(read(*folders), **options)


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def cells(page: str, caption: str) -> list[list[str]]:
    table = re.search(rf'<caption>{caption}</caption>(.*?)</table>', page, re.S)[1]
    rows = re.findall(r'<tr>(.*?)</tr>', table, re.S)
    return [
        [re.sub('<[^>]*>', '', cell) for cell in re.findall(r'<t[hd].*?</t[hd]>', row, re.S)] for row in rows
    ]


def summary_of(content: dict) -> list[dict[str, tuple[str, bool]]]:
    """What each experiment shows, and whether it is the best, by the column's title."""
    found = [{} for _ in content['summary']['rows']]
    for part in ('summary', 'more', 'models'):
        for cells, row in zip(found, content[part]['rows'], strict=True):
            cells |= zip(content[part]['columns'], ((cell[:2]) for cell in row['cells']), strict=True)
    return found


def test_numbers_are_those_of_the_analysis(make_run, tmp_path, read, page_of):
    folder = make_run(tmp_path / 'run', CURVE)
    page, analysis = page_of(folder), read(folder)
    for caption, table in (
        ('Scores of run', score_table(analysis.groups[0])),
        ('Classes of run', class_table(analysis.groups[0], analysis)),
    ):
        columns, rows = table_cells(table)
        assert cells(page, caption) == [[name.replace("'", '&#39;') for name in columns], *map(list, rows)]
    # 7.25 - 6 = 1.25, of which Python shows the even digit
    assert cells(page, 'Scores of run')[1][:6] == ['mIoU', '7.2', '9.0', '6.0 (5)', '1.2', '3.0']


def test_summary_marks_the_best(make_run, tmp_path, content_of):
    model = {'parameters': 40_000_000, 'multiply_adds': 2_000_000_000}
    folders = [
        make_run(tmp_path / 'large', CURVE, model=model),
        make_run(tmp_path / 'small', {0: 12.0, 5: 13.0, 15: 14.0}, model={**model, 'parameters': 3_500_000}),
    ]
    large, small = summary_of(content_of(*folders))
    for column, (of_large, of_small) in {
        'parameters': (('40.00 M', False), ('3.50 M', True)),
        'multiply-adds an image': (('2.00 G', False), ('2.00 G', False)),
        # 0.25 s for 2 images
        'validation, ms an image': (('125', False), ('125', False)),
        'at iteration 0': (('9.0', False), ('12.0', True)),
        'dip from iteration 0': (('3.0', False), ('0.0', True)),
        # 7.25 - 6 and 7.25 - 12
        "drop from source's view": (('1.2', False), ('rise 4.8', True)),
        'recovered at': (('10', False), ('-', False)),
        'best (iteration)': (('31.0 (15)', True), ('14.0 (15)', False)),
    }.items():
        assert (large[column], small[column]) == (of_large, of_small), column


def test_one_model_has_one_time(make_run, tmp_path, content_of):
    """Runs of equal models: what they differ in is the machine's, and none is the best."""
    small, large = ({'parameters': n, 'multiply_adds': 10 * n} for n in (10, 40))

    def times(*models: dict) -> list[tuple[str, bool]]:
        folders = []
        for i, (model, seconds) in enumerate(zip(models, (0.256, 0.282, 0.5), strict=False)):
            folder = make_run(tmp_path / f'{len(list(tmp_path.iterdir()))}-{i}', CURVE, model=model)
            path = folder / 'adaptation.jsonl'
            path.write_text(path.read_text().replace('"seconds": 0.25', f'"seconds": {seconds}'))
            folders.append(folder)
        return [row['validation, ms an image'] for row in summary_of(content_of(*folders))]

    assert times(small, small) == [('128', False), ('141', False)]
    assert times(small, large) == [('128', True), ('141', False)]
    # The two small ones are as good as each other.
    assert times(small, small, large) == [('128', True), ('141', True), ('250', False)]


def test_a_run_without_a_source_model(make_run, tmp_path, page_of):
    page = page_of(make_run(tmp_path / 'run', CURVE, source=False, source_checkpoint=None))
    assert 'no source model: training began without a source checkpoint' in page
    assert 'the source has seen' not in page and 'was seen by the source' not in page
    assert {found['seen'] for found in data_of(page)['runs'][0]['classes']} == {None}
    page = page_of(make_run(tmp_path / 'other', CURVE))
    assert 'no source model' not in page
    assert 'of which the source has seen car' in page and '● was seen by the source' in page


def test_summary_of_labelled_classes_where_the_set_lacks_some(
    make_run, lack_car, content_of, page_of, tmp_path
):
    folder = lack_car(make_run(tmp_path / 'run', CURVE))
    content = content_of(folder)
    assert summary_of(content)[0]['best (iteration)'][0] == '41.0 (15)'
    (strip,) = content['data']['film']['runs']
    assert strip['miou'] == [19.0, 16.0, 31.5, 41.0] and strip['marks'] == {10: 0, 20: 10, 30: 10, 40: 15}
    page = page_of(folder)
    assert 'The experiments side by side: mIoU.labelled (%)</caption>' in page
    assert [line[0] for line in cells(page, 'Scores of run')[1:3]] == ['mIoU.labelled', 'mIoU.seen.labelled']


def test_summary_of_edges_and_forgetting(make_run, tmp_path, content_of, edit):
    folders = [make_run(tmp_path / name, {0: 9.0, 5: 12.0}) for name in ('a', 'b')]
    assert not {'Boundary IoU, last', 'of that forgotten'} & set(content_of(*folders)['more']['columns'])
    forgetting = [{'iter': i, 'kind': 'forgetting', 'subset': 'full', 'mIoU': 30.0 - i} for i in (0, 5)]
    edit(folders[1], lambda header, rows: [*(row | {'BIoU': 5.5} for row in rows), *forgetting])
    a, b = summary_of(content_of(*folders))
    # Only one has them: none is the best.
    assert (a['Boundary IoU, last'], b['Boundary IoU, last']) == (('-', False), ('5.5', False))
    assert (a['of that forgotten'], b['of that forgotten']) == (('-', False), ('5.0', False))
    # Of 32 columns 11, 11 and 10 are of the three classes, and all are taken for road but the last 2: IoU of
    # road 11 / 30, of car 0, of traffic light 2 / 10.
    assert a['seen classes, last'] == ('0.0', False)
    assert a['unseen classes, last'] == ('28.3', False)


def test_new_classifier_or_features(make_run, tmp_path, read_through, content_of, page_of):
    folder = make_run(tmp_path / 'run', {0: 9.0, 5: 12.0})
    assert 'readout-score' not in re.sub('<script.*?</script>', '', page_of(folder), flags=re.S)
    read_through(folder, 40, (38, 30), (40, 39.5))
    curves = {'iterations': (0, 5), 'head': (38, 30), 'features': (40, 39.5), 'source': 40}
    content = content_of(folder)
    assert content['data']['runs'][0]['readout'] == {'seen': curves, 'IoU.car': curves}
    assert content['class_tables'][0]['rows'][-2:] == [
        ("mIoU.seen.labelled, source's classifier", '-', '40.0', '39.5'),
        ("car, source's classifier", '-', '40.0', '39.5'),
    ]
    assert 'id="readout-score"' in page_of(folder)


def test_cost(make_run, tmp_path, page_of):
    models = [{'parameters': n, 'multiply_adds': 10 * n} for n in (10, 40)]
    one = make_run(tmp_path / 'one', CURVE, model=models[0])
    page = page_of(one)
    # Older records know only the iterations, and one experiment is no choice.
    table = [['experiment', *(f'iterations, {end}' for end in ('to 20 %', 'to half the best', 'in all'))]]
    assert cells(page, 'What it costs to get there: mIoU') == [*table, ['one', '10', '10', '15']]
    assert 'id="cost-chart"' not in page
    assert data_of(page)['costs'] == {'last': [[31.0, None, None]], 'axes': []}
    other = make_run(tmp_path / 'other', {0: 9.0, 15: 40.0}, model=models[1])
    page = page_of(one, other)
    assert 'On the Pareto front by multiply-adds of a validation image: one (0.00 M, 31.0 %), other' in page
    assert [axis['title'] for axis in data_of(page)['costs']['axes']] == [
        'multiply-adds of a validation image',
        'parameters',
    ]


def test_film(make_run, tmp_path, content_of):
    data = content_of(make_run(tmp_path / 'run', CURVE))['data']['film']
    assert [image['name'] for image in data['images']] == ['first', 'second']
    (run,) = data['runs']
    assert run['iterations'] == [0, 5, 10, 15]
    assert run['miou'] == [9.0, 6.0, 21.5, 31.0]
    assert run['marks'] == {10: 10, 20: 10, 30: 15}
    assert run['source_miou'] == 7.25
    assert run['legend'] == [('road', '#804080'), ('car', '#00008e'), ('traffic light', '#faaa1e')]
    assert run['source_legend'] == [('background', '#000000'), ('car', '#808080')]
    assert set(run['images']) == {'first', 'second'}
    # after k validations 2 k of the 10 columns of traffic light are right, all else is road, which 11 are
    for k, (frame, miou) in enumerate(
        zip(*(run['images']['first'][key] for key in ('frames', 'miou')), strict=True)
    ):
        picture = np.asarray(Image.open(BytesIO(base64.b64decode(frame.partition('base64,')[2]))))
        assert (picture == 2).sum() == 24 * 2 * k
        assert miou == pytest.approx(100 * (11 / (32 - 2 * k) + 2 * k / 10) / 3, abs=1e-3)


def test_thinning_is_said(make_run, tmp_path, monkeypatch, content_of):
    folder = make_run(tmp_path / 'run', {i: float(i) for i in range(0, 100, 5)})
    content = content_of(folder, frames=8)
    # first, last (best), 10, 20, 30, 40 and two between
    assert len(content['data']['film']['runs'][0]['iterations']) == 8
    assert content['notes'] == [
        'Film strip: 8 of the 20 iterations that run has pictures of (first, last, best, lowest, those at '
        '0.1 to 0.4 mIoU, others evenly spaced).'
    ]
    assert content_of(folder)['notes'] == []
    frame = len(content['data']['film']['runs'][0]['images']['first']['frames'][0])
    # two images; the source's own view and what is shown beside count too
    monkeypatch.setattr(film, 'PICTURE_CHARACTERS', 2 * 15 * frame)
    assert len(content_of(folder)['data']['film']['runs'][0]['iterations']) <= 12


def test_confusion_counts(make_run, tmp_path, content_of):
    (entry,) = content_of(make_run(tmp_path / 'run', CURVE))['data']['confusions']
    counts = np.frombuffer(base64.b64decode(entry['counts']), '<f8').reshape(4, 3, 3)
    # of 24 rows and 11, 11 and 10 columns: at first all is taken for road; in the end 6 of the 10 columns of
    # traffic light are right
    assert counts[0].tolist() == [[264, 0, 0], [264, 0, 0], [240, 0, 0]]
    assert counts[3].tolist() == [[264, 0, 0], [264, 0, 0], [96, 0, 144]]
    assert entry['iterations'] == [0, 5, 10, 15] and entry['source_classes'] == ['background', 'car']
    source = np.frombuffer(base64.b64decode(entry['source']), '<f8')
    assert source.reshape(3, 2).tolist() == [[90, 10]] * 3
    assert entry['right'] == [None, 1, None]


@pytest.mark.parametrize(
    ('matches', 'expected'),
    [
        # By name and alias, as older records do not say more.
        (None, [None, 2, None, 3]),
        # As the record says: rider is read from person; truck shares bus, which is read as bus.
        ({'rider': 'person', 'truck': 'bus', 'bus': 'bus'}, [1, None, None, 3]),
        ({}, [None] * 4),
    ],
)
def test_the_right_answer_of_the_source(matches, expected):
    header = {
        'source_classes': ['background', 'person', 'motorbike', 'bus'],
        'target_classes': ['rider', 'motorcycle', 'truck', 'bus'],
    }
    if matches is not None:
        header['matches'] = {
            name: {'source': source, 'kind': 'exact' if name == source else 'class_map'}
            for name, source in matches.items()
        }
    assert right_answers(History(header, [])) == expected


def test_seeds_are_one_experiment(make_run, tmp_path, content_of, page_of):
    folders = [make_run(tmp_path / f's{seed}', CURVE, seed=seed, config_digest='one') for seed in range(2)]
    found = content_of(*folders)
    assert [(group['name'], group['runs']) for group in found['data']['groups']] == [
        ('s0 and 1 more', [0, 1])
    ]
    page = page_of(*folders)
    assert page.count('Of several seeds, the mean; in brackets its 95 % interval, by Student&#39;s t.') == 1
    assert 'n = 2 seeds' in page
    assert 'Of several seeds, the mean;' not in page_of(folders[0])


def test_provenance_and_differences(make_run, tmp_path, content_of):
    a = make_run(tmp_path / 'a', CURVE, config={'lr': 0.1, 'hooks': [{'type': 'A'}]}, hardware='a processor')
    b = make_run(
        tmp_path / 'b', CURVE, config={'lr': 0.2, 'hooks': [{'type': 'A'}], 'amp': True}, max_iters=20
    )
    record = {'heads': ['decode_head'], 'rows': [dict(target='road', source=None, rule='random')]}
    for folder in (a, b):
        (folder / 'head_transfer.json').write_text(json.dumps(record))
    found = content_of(a, b)
    assert found['differences'] == (['key', 'a', 'b'], [['lr', '0.1', '0.2'], ['amp', '-', 'true']])
    facts = {key: values for key, *values in found['provenance'][1]}
    assert facts['iterations'] == ['15 of 15, finished', '15 of 20, still training, or ended early']
    assert facts['hardware'] == ['a processor', '-']
    # 0.5 s for the source's row and four times 0.25
    assert facts['time evaluating'] == ['0:02 min', '0:02 min']
    assert found['transfers'] == [
        {'names': ['a', 'b'], 'heads': ['decode_head'], 'rows': [('road', '-', 'random')]}
    ]
    assert found['results'][1][2].endswith('; not finished: b at iteration 15 of 20.')


def test_one_row_no_picture_and_a_note(make_run, tmp_path, page_of):
    page = page_of(make_run(tmp_path / 'run', {0: 9.0}, images=()), notes=['Drawn data.'])
    data = data_of(page)
    assert data['runs'][0]['iterations'] == [0] and data['film']['images'] == []
    assert page.index('Drawn data.') < page.index('<h2 id="result-title">')


def test_what_is_broken_or_null_is_left_out(make_run, tmp_path, page_of, edit):
    folder = make_run(tmp_path / 'run', CURVE)
    (folder / 'snapshots/000005/first.png').write_bytes(b'\x89PNG')
    (folder / 'snapshots/000010/second.png').unlink()
    (folder / 'snapshots/reference/first.png').unlink()
    edit(folder, lambda header, rows: rows[2].update(mIoU=None))
    data = data_of(page_of(folder))
    assert data['runs'][0]['iterations'] == [0, 10, 15]
    strip = data['film']['runs'][0]['images']
    assert [frame is None for frame in strip['first']['frames']] == [False, True, False, False]
    assert [value is None for value in strip['second']['miou']] == [False, False, True, False]
    assert [image['image'] is None for image in data['film']['images']] == [True, False]


def test_an_image_of_two_data_sets(make_run, tmp_path, content_of):
    one = make_run(tmp_path / 'one', CURVE)
    other = make_run(tmp_path / 'other', CURVE, classes=('sea', 'ship'))
    strip = content_of(one, other)['data']['film']
    assert [image['name'] for image in strip['images']] == ['first', 'second']
    first, second = (run['images']['first']['truth'] for run in strip['runs'])
    # the first run's is the one that is shown beside the photograph
    assert first is None and second.startswith('data:image/png') and second != strip['images'][0]['truth']


def test_a_probes_score_is_not_the_whole_sets(make_run, tmp_path, content_of, edit):
    folder = make_run(tmp_path / 'run', CURVE)
    edit(folder, lambda header, rows: rows[3].update(subset='probe'))
    (run,) = content_of(folder)['data']['film']['runs']
    assert run['miou'] == [9.0, 6.0, None, 31.0] and run['probe'] == [None, None, 21.5, None]


def test_snapshots_that_were_deleted(make_run, tmp_path, content_of, page_of):
    folder = make_run(tmp_path / 'run', CURVE)
    shutil.rmtree(folder / 'snapshots/000010')
    (run,) = content_of(folder)['data']['film']['runs']
    # reached, although there is no picture of it
    assert run['iterations'] == [0, 5, 15] and run['marks'] == {10: 10, 20: 10, 30: 15}
    for name in ('000000', '000005', '000015', 'source'):
        shutil.rmtree(folder / 'snapshots' / name)
    page = page_of(folder)
    assert 'These runs kept no snapshots.' in page and data_of(page)['film']['runs'] == []


@pytest.mark.parametrize(
    'lacks', ['class_iou', 'confusion', 'images', 'seconds', 'source_classes', 'seen_classes', 'model']
)
def test_an_older_record(make_run, tmp_path, lacks, content_of, edit):
    folder = make_run(tmp_path / 'run', CURVE, model={'parameters': 5_000_000})

    def change(header: dict, rows: list[dict]) -> None:
        assert any(lacks in record for record in (header, *rows))
        for record in (header, *rows):
            record.pop(lacks, None)

    edit(folder, change)
    found = content_of(folder)
    assert len(found['data']['runs'][0]['iterations']) == 4
    assert (['time evaluating', '-'] in found['provenance'][1]) == (lacks == 'seconds')
    assert any('pixels of unseen classes' in s for s in found['sentences']['run']) == (
        lacks not in ('confusion', 'source_classes', 'seen_classes')
    )


def test_the_original_studys_record(tmp_path, make_run, page_of):
    folder = make_run(tmp_path / 'run', {5 * k: 10.0 for k in range(5)}, images=())
    classes = get_classes('cityscapes')
    history = read_runs([folder])['run'].history
    for row in history.rows:
        row['class_iou'] = dict.fromkeys(classes, 10.0)
    history.header['target_classes'] = classes
    write_study_record(history, tmp_path / 'snapshot.pickle')
    data = data_of(page_of(tmp_path / 'snapshot.pickle'))
    assert data['runs'][0]['iterations'] == [5, 10, 15, 20] and data['confusions'] == []


def test_markup_is_shown_and_not_run(make_run, tmp_path, page_of):
    evil = '</script><script>alert("x")</script>\'"&<img src=x onerror=alert(1)>'
    folder = make_run(
        tmp_path / '<b>bold"',
        CURVE,
        images=('<i>first', "a'b"),
        classes=('road', 'car', evil),
        experiment=evil,
    )
    page = page_of(folder)
    assert evil not in page and '<img src=x' not in page and '<b>bold' not in page
    assert page.count('<script') == 3 and "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page.partition('<script>')[0])
    assert evil in [found['name'] for found in data_of(page)['runs'][0]['classes']]


def test_same_bytes_in_another_process(make_run, tmp_path, page_of):
    folders = [make_run(tmp_path / name, CURVE) for name in 'ab']
    script = Path(__file__).resolve().parents[2] / 'tools' / 'report.py'
    out = tmp_path / 'page.html'
    environment = {**os.environ, 'PYTHONHASHSEED': '7', 'OMP_NUM_THREADS': '1'}
    subprocess.run([sys.executable, script, *folders, '-o', out], check=True, env=environment)
    assert out.read_text() == page_of(*folders) and str(tmp_path) not in page_of(*folders)


def test_first_what_it_shows_then_tables(make_run, tmp_path, page_of):
    page = page_of(*(make_run(tmp_path / name, CURVE) for name in 'ab'))
    order = ['result', 'curves', 'film', 'classes', 'summary', 'cost', 'confusion', 'transfer', 'provenance']
    assert re.findall('<section id="(.*?)"', page) == re.findall('<li><a href="#(.*?)">', page) == order


def test_what_all_share_is_said_once(make_run, tmp_path, page_of, lack_car):
    low, high = CURVE, {**CURVE, 15: 40.0}
    folders = [make_run(tmp_path / name, curve) for name, curve in (('low', low), ('high', high))]
    page = page_of(*map(lack_car, folders))
    for said in (
        'One seed says nothing about variance',
        'The validation set lacks classes',
        'so they move by',
    ):
        assert page.count(said) == 1, said
    assert (
        page.index('<b>high</b>: mIoU.labelled is ') < page.index('One seed says') < page.index('id="curves"')
    )
    assert page.index('<h3>Side by side</h3>') > page.index('id="summary"')


def absent_from(folder: Path, name: str, edit: Callable) -> Path:
    """The record without any label or prediction of a class."""

    def change(header: dict, rows: list[dict]) -> None:
        for row in rows:
            row['class_iou'][name] = None

    return edit(folder, change)


def test_absent_classes(make_run, tmp_path, content_of, page_of, edit):
    lacks, has = (make_run(tmp_path / name, CURVE) for name in ('lacks', 'has'))
    assert content_of(has)['absent'] == [] and '<details id="absent">' not in page_of(has)
    absent_from(lacks, 'car', edit)
    found = content_of(lacks, has)
    assert found['absent'] == [(['lacks'], ['car'])]
    named = [[row[0] for row in group['classes'][1]] for group in found['groups']]
    assert named == [['road', 'traffic light'], ['road', 'traffic light', 'car']]
    assert [('car' in [row[0] for row in table['rows']]) for table in found['class_tables']] == [False, True]
    drawn = [[c['name'] for c in run['classes']] for run in found['data']['runs']]
    assert drawn == named and [run['absent'] for run in found['data']['runs']] == [1, 0]
    page = page_of(lacks)
    folded = re.search('<details id="absent">(.*?)</details>', page, re.S)[1]
    assert '<li>car</li>' in folded
    # Predicted once, at 10, it is there.
    edit(lacks, lambda header, rows: rows[3]['class_iou'].update(car=0.0))
    assert content_of(lacks)['absent'] == []


def test_bars_of_cost_beside_accuracy(make_run, tmp_path, content_of, page_of):
    models = [{'parameters': n, 'multiply_adds': 10 * n} for n in (10**7, 4 * 10**7)]
    one = make_run(tmp_path / 'one', CURVE, model=models[0])
    other = make_run(tmp_path / 'other', {0: 9.0, 15: 40.0}, model=models[1])
    table = content_of(one, other)['models']
    assert table['columns'][:2] == ['last mIoU (%)', 'parameters']
    # 31 / 40, and 10 M / 40 M
    bars = [[(cell.shown, cell.bar) for cell in row['cells'][:2]] for row in table['rows']]
    assert bars == [[('31.0', 77.5), ('10.00 M', 25.0)], [('40.0', 100.0), ('40.00 M', 100.0)]]
    assert '<span class="bar" style="width: 77.5%"></span>' in page_of(one, other)
    # One alone has nothing to be compared with.
    assert '<span class="bar"' not in page_of(one)


def test_the_strip_has_a_few_iterations(make_run, tmp_path, content_of):
    def strip(folder: Path) -> list[int]:
        (run,) = content_of(folder)['data']['film']['runs']
        return [run['iterations'][place] for place in run['strip']]

    assert strip(make_run(tmp_path / 'long', {i: float(i) for i in range(0, 65, 5)})) == [0, 15, 30, 45, 60]
    assert strip(make_run(tmp_path / 'short', {0: 9.0, 5: 10.0})) == [0, 5]
