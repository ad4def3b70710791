"""tools/analyze.py: what it prints and writes of records short enough to work out by hand."""

import csv
import json
import re
from pathlib import Path

import pytest
from mmseg.utils import get_classes

from mmseg_deeplab_study.evaluation.seeds import Estimate
from mmseg_deeplab_study.report.analysis_text import fall

QUOTED = 'person\'s "bike", old'


def validation(iteration: int, miou: float | None, seen=None, unseen=None, **classes) -> dict:
    scores = {'mIoU': miou, 'mIoU.seen': seen, 'mIoU.unseen': unseen, 'class_iou': classes}
    return {'iter': iteration, 'kind': 'validation', 'subset': 'full', **scores}


# What tells one experiment from another.
DIGESTS = {key: {'digest': key} for key in ('source_checkpoint', 'validation', 'train')}
DIGESTS['config_digest'] = 'c'


def write_record(folder: Path, rows: list[dict], name: str = 'adaptation.jsonl', **header) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{'schema_version': 1, **header}, *rows]
    (folder / name).write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return folder


def write_run(folder: Path, seed: int = 0, more: float = 0.0, last: float = 24.0, **header) -> Path:
    """A run of three validations; ``more`` is added to the mIoU at iteration 0."""
    names = ('road', QUOTED, 'car')
    rows = [
        {'iter': 0, 'kind': 'source', 'subset': 'full', 'mIoU': 13.0, 'class_iou': {'car': 50.0}},
        validation(0, 10.0 + more, 18.0, 2.0, **{'road': 3.0, QUOTED: None, 'car': 40.0}),
        validation(10, 4.0, 5.0, 3.0, **{'road': 9.0, QUOTED: 0.0, 'car': 20.0}),
        validation(30, last, 28.0, 20.0, **{'road': 50.0, QUOTED: 12.5, 'car': 45.0}),
        {'iter': 0, 'kind': 'forgetting', 'subset': 'full', 'mIoU': 60.0},
        {'iter': 30, 'kind': 'forgetting', 'subset': 'full', 'mIoU': 48.5},
        {'iter': 10, 'kind': 'validation', 'subset': 'probe', 'mIoU': 5.5, 'interval': {'mIoU': [3.0, 6.0]}},
    ]
    header = {'target_classes': names, 'seen_classes': [QUOTED, 'car'], 'seed': seed, **DIGESTS, **header}
    return write_record(folder, rows, **header)


def strict_json(path: Path) -> dict:
    def refuse(constant: str):
        raise AssertionError(f'{path} holds {constant}')

    return json.loads(path.read_text(), parse_constant=refuse)


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def cells(output: str, *start: str) -> list[str]:
    """The cells of the first table line whose first cells are these."""
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in output.splitlines()]
    return next(line for line in lines if line[: len(start)] == list(start))


def test_tables_of_one_run(run_tool, tmp_path):
    code, output, errors = run_tool('analyze', write_run(tmp_path / 'r50'))
    assert (code, errors) == (0, '')
    assert output.startswith('r50\n')
    # drop 13 - 4; dip 10 - 4; area (10 * (10 + 4) / 2 + 20 * (4 + 24) / 2) / 30 = (70 + 280) / 30 = 11.67
    miou = ['mIoU', '13.0', '10.0', '4.0 (10)', '9.0', '6.0', '30', '24.0 (30)', '24.0', '11.7']
    assert cells(output, 'mIoU') == miou
    # never below 2.0; area (10 * 2.5 + 20 * 11.5) / 30 = 8.5
    unseen = ['mIoU.unseen', '-', '2.0', '2.0 (0)', '-', '0.0', '-', '20.0 (30)', '20.0', '8.5']
    assert cells(output, 'mIoU.unseen') == unseen
    # 50 - 20 and 40 - 20
    car = ['car', 'yes', '50.0', '40.0', '30.0', '20.0', '45.0 (30)', '45.0', '0', '0']
    assert cells(output, 'car') == car
    assert cells(output, 'road') == ['road', 'no', '-', '3.0', '-', '0.0', '50.0 (30)', '50.0', '30', '30']
    assert cells(output, QUOTED) == [QUOTED, 'yes', '-', '-', '-', '-', '12.5 (30)', '12.5', '-', '30']
    # half of 45 at 0; half of 50 and half of 12.5 at 30, these two as in the record
    assert output.index('| car') < output.index('| road') < output.index('| person')
    # half of 28 at 0, half of 20 at 30
    assert 'lead of the seen classes: 30 iterations (half their best at 0, the unseen at 30)' in output
    assert "forgetting: mIoU on the source's data 60.0 at 0, 48.5 (30) last, drop 11.5 points" in output
    assert (
        'probe: mIoU off by 1.5 points in the mean, 1.5 at most, over 1 validations; full mIoU inside its '
        'interval at 1 of 1'
    ) in output
    # half of 24 at 30; what an iteration costs is not in the record
    assert 'cost: 20 % mIoU after 30 iterations; half its best after 30 iterations\n' in output


def test_thresholds(run_tool, tmp_path):
    output = run_tool('analyze', write_run(tmp_path / 'r50'), '--iou', '9', '--share', '0.1')[1]
    assert 'iterations to 9 % ' in output and 'to 10 % of best' in output
    assert cells(output, 'road')[-2:] == ['10', '10']  # 9.0 >= 9; 3.0 < 5 <= 9.0
    assert cells(output, QUOTED)[-2:] == ['30', '30']
    figures = strict_json(tmp_path / 'r50' / 'analysis.json')['runs'][0]['figures']['IoU.road']
    assert figures['iterations_to_9_percent'] == figures['iterations_to_0.1_of_best'] == 10
    assert figures['iterations_to_0.5_of_best'] == 30
    assert 'cost: 9 % mIoU after 0 iterations; half its best' in output


def test_json_and_csv_of_one_run(run_tool, tmp_path):
    output = run_tool('analyze', write_run(tmp_path / 'r50', seed=7, experiment='e'))[1]
    path = tmp_path / 'r50' / 'analysis.json'
    assert f'Wrote {path}\n' in output and f'Wrote {path.with_suffix(".csv")}\n' in output
    content = strict_json(path)
    assert (content['iou'], content['share'], content['groups']) == (20, 0.5, [])
    (found,) = content['runs']
    assert (found['name'], found['seed'], found['experiment']) == ('r50', 7, 'e')
    assert found['curves']['mIoU.unseen'] == [[0, 2.0], [10, 3.0], [30, 20.0]]
    assert found['classes_early_to_late'][0] == {'name': 'car', 'seen': True, 'half_iter': 0}
    figures = found['figures']
    assert figures['mIoU']['area'] == pytest.approx(350 / 30, rel=1e-15)
    assert (figures['mIoU']['gap'], figures['mIoU']['recovery_iter']) == (3.0, 30)
    assert (figures[f'IoU.{QUOTED}']['start'], figures['mIoU']['source_drop']) == (None, 9.0)
    assert figures['seen_lead'] == {'iterations': 30, 'seen_iter': 0, 'unseen_iter': 30}
    assert figures['forgetting'] == {'start': 60.0, 'last': 48.5, 'last_iter': 30, 'drop': 11.5}
    assert figures['probe'] == {'points': 1, 'largest': 1.5, 'mean': 1.5, 'intervals': 1, 'inside': 1}

    rows = csv_rows(path.with_suffix('.csv'))
    assert list(rows[0]) == ['run', 'seed', 'subject', 'measure', 'value', 'low', 'high', 'n']
    of_seeds = {(row['run'], row['seed'], row['low'], row['high'], row['n']) for row in rows}
    assert of_seeds == {('r50', '7', '', '', '')}
    written = {(row['subject'], row['measure']): row['value'] for row in rows}
    assert len(written) == len(rows)
    seen = {subject: written.pop((subject, 'seen')) for subject in ('IoU.road', f'IoU.{QUOTED}', 'IoU.car')}
    assert list(seen.values()) == ['0', '1', '1']
    numbers = {key: None if value == '' else float(value) for key, value in written.items()}
    assert numbers == {(s, m): v for s, measures in figures.items() for m, v in measures.items()}


def test_new_classifier_or_features(run_tool, tmp_path):
    def seen(iteration: int, kind: str, score: float) -> dict:
        return validation(iteration, 5.0, score, 2.0, car=score) | {'kind': kind}

    def rows(lowest: float) -> list[dict]:
        head = [seen(i, 'validation', score) for i, score in {0: 31.0, 5: lowest, 10: 34.0}.items()]
        through = [seen(i, 'source_classifier', score) for i, score in {0: 32, 5: 31.5, 10: 36}.items()]
        return [seen(0, 'source', 32.0), *head, *through]

    folders = [write_record(tmp_path / f'{s}', rows(25.0 - s), seed=s, **DIGESTS) for s in range(2)]
    assert (
        "source's classifier: at 5, the lowest of the seen classes, new classifier 25.0, source's on the "
        "same features 31.5, source's view 32.0 (the drop is mostly the new classifier's); last through the "
        "source's 36.0\n"
    ) in run_tool('analyze', folders[0])[1]
    run_tool('analyze', *folders)
    content = strict_json(tmp_path / 'analysis.json')
    assert content['runs'][0]['figures']['source_classifier'] == {
        **{'iteration': 5, 'source': 32.0, 'head': 25.0, 'features': 31.5},
        **{'head_drop': 7.0, 'features_drop': 0.5},
        **{'start': 32, 'lowest': 31.5, 'lowest_iter': 5, 'last': 36, 'last_drop': -4.0},
    }
    assert content['runs'][0]['source_classifier_curves']['mIoU.seen'] == [[0, 32], [5, 31.5], [10, 36]]
    # 7 and 8
    assert content['groups'][0]['figures']['source_classifier']['head_drop']['mean'] == 7.5


def test_seeds_of_one_experiment(run_tool, tmp_path):
    folders = [write_run(tmp_path / f'new-head/seed{s}', seed=s, more=4.0 * s) for s in range(2)]
    code, output, _ = run_tool('analyze', *folders, '-o', tmp_path)
    assert code == 0
    assert output.startswith('mean of new-head [95 % interval of the mean, n = 2]\n')
    assert cells(output, 'mIoU', 'seed1')[3:7] == ['14.0', '4.0 (10)', '9.0', '10.0']
    mean = cells(output, 'mIoU', 'mean')
    # at 0: 10 and 14, dip: 6 and 10; s / sqrt(2) = 2 for both, times t(0.975, 1) = 12.7062
    assert (mean[3], mean[6]) == ('12.0 [-13.4, 37.4]', '8.0 [-17.4, 33.4]')
    assert cells(output, 'car')[3] == '40.0'  # both agree
    assert cells(output, 'car')[6] == '45.0 (30.0)'
    assert 'lead of the seen classes: 30.0 iterations' in output
    content = strict_json(tmp_path / 'analysis.json')
    (group,) = content['groups']
    assert (group['runs'], group['seeds']) == (['seed0', 'seed1'], [0, 1])
    start = group['figures']['mIoU']['start']
    half = pytest.approx(25.4124, abs=1e-4)
    assert (start['mean'] - start['low'], start['high'] - start['mean']) == (half, half)
    assert (start['mean'], start['count'], start['seeds']) == (12.0, 2, 2)
    assert [found['figures']['mIoU']['start'] for found in content['runs']] == [10.0, 14.0]
    means = [row for row in csv_rows(tmp_path / 'analysis.csv') if row['run'] == 'mean of new-head']
    (row,) = [row for row in means if (row['subject'], row['measure']) == ('mIoU', 'start')]
    assert (row['seed'], row['value'], row['n']) == ('', '12.0', '2')
    assert (float(row['low']), float(row['high'])) == (start['low'], start['high'])


def test_classes_of_several_seeds_stand_by_their_mean(run_tool, tmp_path):
    # half its best: x at 10 and 30, mean 20; y at 20 and 0, mean 10, though later than x under seed 0
    curves = [{'x': (0, 18, 18, 18), 'y': (0, 0, 18, 18)}, {'x': (0, 0, 0, 18), 'y': (18, 18, 18, 18)}]
    folders = []
    for seed, classes in enumerate(curves):
        rows = [validation(10 * k, 1.0, **{n: c[k] for n, c in classes.items()}) for k in range(4)]
        folders.append(write_record(tmp_path / f'seed{seed}', rows, seed=seed, **DIGESTS))
    output = run_tool('analyze', *folders)[1]
    # s / sqrt(2) = 10, times 12.7062
    assert cells(output, 'x')[-1] == '20.0 [-107.1, 147.1]'
    assert cells(output, 'y')[-1] == '10.0 [-117.1, 137.1]'
    assert output.index('| y ') < output.index('| x ')


def test_a_figure_that_some_seeds_do_not_have(run_tool, tmp_path):
    # both start at 10 and fall to 4; a is back at 24, b ends at 9
    folders = [write_run(tmp_path / 'a', seed=0), write_run(tmp_path / 'b', seed=1, last=9.0)]
    output = run_tool('analyze', *folders)[1]
    assert cells(output, 'mIoU', 'mean')[7] == '30.0 (1 of 2)'
    (group,) = strict_json(tmp_path / 'analysis.json')['groups']
    recovery = group['figures']['mIoU']['recovery_iter']
    assert recovery == {'mean': 30.0, 'low': None, 'high': None, 'count': 1, 'seeds': 2}


def test_runs_of_two_experiments(run_tool, tmp_path):
    folders = [write_run(tmp_path / 'r50'), write_run(tmp_path / 'm2', config_digest='other', last=30.0)]
    output = run_tool('analyze', *folders)[1]
    assert output.index('r50\n') < output.index('m2\n') and 'mean of' not in output
    assert '\nSide by side\nmIoU (%) at its best: m2 30.0, r50 24.0.\n' in output
    assert output.count('One seed says nothing about variance') == 1
    assert 'Side by side' not in run_tool('analyze', folders[0])[1]
    content = strict_json(tmp_path / 'analysis.json')
    assert [found['name'] for found in content['runs']] == ['r50', 'm2'] and content['groups'] == []


def test_a_record_that_knows_little(run_tool, tmp_path):
    """One validation at iteration 5, with an mIoU and nothing else, and a header without a class."""
    rows = [{'iter': 5, 'kind': 'validation', 'subset': 'full', 'mIoU': 7.25}]
    folder = write_record(tmp_path / 'old', rows)
    code, output, _ = run_tool('analyze', folder)
    assert code == 0
    assert cells(output, 'mIoU') == ['mIoU', '-', '-', '7.2 (5)', '-', '-', '-', '7.2 (5)', '7.2', '7.2']
    assert cells(output, 'mIoU.seen') == ['mIoU.seen', *'---------']
    assert 'lead of the seen classes: - iterations' in output
    assert 'forgetting: -\nprobe: -\n' in output
    assert strict_json(folder / 'analysis.json')['runs'][0]['seed'] is None
    lines = (folder / 'analysis.csv').read_text().splitlines()
    assert 'old,,mIoU,dip,,,,' in lines


def test_nulls_everywhere(run_tool, tmp_path):
    nulls = {'aAcc': None, 'mIoU.seen': None, 'class_iou': None, 'interval': None}
    kinds = [('source', 'full'), ('forgetting', 'full'), ('validation', 'full'), ('validation', 'probe')]
    rows = [{'iter': 0, 'kind': kind, 'subset': subset, 'mIoU': None, **nulls} for kind, subset in kinds]
    rows += [validation(5, 3.0, road=None), {**rows[-1], 'iter': 5, 'mIoU': 4.0}]
    header = dict.fromkeys(('target_classes', 'seen_classes', 'validation', 'source_checkpoint', 'seed'))
    code, output, _ = run_tool('analyze', write_record(tmp_path / 'r', rows, **header))
    assert code == 0
    assert cells(output, 'road') == ['road', *'---------']
    assert 'probe: mIoU off by 1.0 points' in output and 'at 0 of 0' in output


def test_record_files(run_tool, tmp_path):
    folder = write_run(tmp_path / 'r50')
    write_record(folder, [validation(5, 3.0)], name='study.jsonl')
    # The first and last are one.
    assert run_tool('analyze', folder / 'adaptation.jsonl', folder / 'study.jsonl', folder)[0] == 0
    content = strict_json(folder / 'analysis.json')
    assert [found['name'] for found in content['runs']] == ['r50', 'study.jsonl']


def test_out_replaces_what_is_there(run_tool, tmp_path):
    folder, out = write_run(tmp_path / 'r50'), tmp_path / 'new' / 'folder'
    before = sorted(folder.iterdir())
    for _ in range(2):
        assert run_tool('analyze', folder, '--out', out)[0] == 0
        assert sorted(path.name for path in out.iterdir()) == ['analysis.csv', 'analysis.json']
        assert strict_json(out / 'analysis.json')['runs'] and sorted(folder.iterdir()) == before
        (out / 'analysis.json').write_text('old')


def test_the_study_s_pickle_beside_a_run(run_tool, tmp_path):
    """Out by --export, in as a run of its own, with the run it came from in one figure."""
    work_dir, old, figure = write_run(tmp_path / 'r50'), tmp_path / 'snapshot.pickle', tmp_path / 'both.png'
    classes = list(get_classes('cityscapes'))
    scores = ((0, 7.0), (5, 10.0), (10, 12.5))
    rows = [{**validation(i, m, **dict.fromkeys(classes, m)), 'aAcc': 2 * m} for i, m in scores]
    new = write_record(tmp_path / 'new', rows, target_classes=classes, seen_classes=['car'])
    code, out, _ = run_tool('analyze', new, '--export', old, '--out', tmp_path)
    assert code == 0 and f'Wrote {old}' in out
    # The layout has no iteration 0.
    code, out, _ = run_tool('analyze', old, work_dir, '--figure', figure, '--out', tmp_path)
    assert code == 0 and f'Wrote {figure}' in out and figure.stat().st_size > 0
    found = json.loads((tmp_path / 'analysis.json').read_text())
    assert {'snapshot.pickle', 'r50'} <= {entry['name'] for entry in found['runs']}
    assert re.search(r'mIoU +\| +- \| +- \| +10\.0 \(5\) .* 12\.5 \(10\)', out), out


def test_the_probe_shows_a_dip_between_two_validations_of_the_whole_set(run_tool, tmp_path):
    rows = [validation(0, 9.0), validation(50, 20.0)]
    probed = ((0, 9.0), (15, 5.0), (30, 9.5), (50, 21.0))
    rows += [{**validation(i, m), 'subset': 'probe'} for i, m in probed]
    output = run_tool('analyze', write_record(tmp_path / 'run', rows))[1]
    # 9 - 5 at 15, back at 30; the whole set was not looked at then
    assert cells(output, 'probe/mIoU')[1:8] == ['-', '9.0', '5.0 (15)', '-', '4.0', '30', '21.0 (50)']
    assert 'probe/mIoU' in strict_json(tmp_path / 'run/analysis.json')['runs'][0]['figures']


BEGUN = '{"schema_version": 1}\n'
SCORED = '{"iter": 0, "kind": "validation", "subset": "full", "mIoU": 3.0}\n'


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'bad/adaptation.jsonl: no record of adaptation; expected the work_dir of a run with Adapt'),
        (f'{BEGUN}nonsense\n', 'adaptation.jsonl, line 2: not a JSON object'),
        (BEGUN + SCORED.replace('3.0', '1e999'), 'Out of range float values are not JSON compliant'),
        (BEGUN, 'bad: expected a validation with an mIoU, but none of 0 has one'),
        (BEGUN + 2 * SCORED, r'bad: mIoU: iterations must ascend, but got \[0, 0\]'),
    ],
)
def test_records_that_cannot_be_read(run_tool, tmp_path, content, message):
    write_run(tmp_path / 'good')
    (tmp_path / 'bad').mkdir()
    if content is not None:
        (tmp_path / 'bad' / 'adaptation.jsonl').write_text(content)
    code, output, errors = run_tool('analyze', tmp_path / 'good', tmp_path / 'bad')
    assert (code, output, errors.count('\n')) == (1, '', 1)
    assert re.search(f'^error: .*{message}', errors)
    assert not list(tmp_path.glob('**/analysis.*'))


def lacking(iteration: int, car: float, person: float, bus: float | None) -> dict:
    """A row as an older version wrote it: no pixel is labelled bus, which is predicted or not."""
    known = [score for score in (car, person, bus) if score is not None]
    scores = {'mIoU': sum([*known, 60.0]) / (len(known) + 1), 'mIoU.seen': sum(known) / len(known)}
    classes = {'road': 60.0, 'person': person, 'car': car, 'bus': bus}
    counts = [[5, 1, 1, bus == 0.0], [1, 5, 0, 0], [0, 1, 5, 0], [0, 0, 0, 0]]
    row = validation(iteration, unseen=60.0, miou=None, **classes) | scores
    return row | {'confusion': [list(map(int, counted)) for counted in counts]}


def test_means_over_the_labelled_classes_come_first_where_the_set_lacks_some(run_tool, tmp_path):
    rows = [lacking(0, 40.0, 20.0, 0.0), lacking(5, 36.0, 24.0, 0.0), lacking(10, 38.0, 22.0, None)]
    names = ['road', 'person', 'car', 'bus']
    folder = write_record(tmp_path / 'run', rows, target_classes=names, seen_classes=names[1:])
    code, output, _ = run_tool('analyze', folder)
    assert code == 0
    # of car and person 30 at all three; with bus 20, 20 and then 30: a rise that is none
    seen = ['-', '30.0', '30.0 (0)', '-', '0.0', '-', '30.0 (0)', '30.0', '30.0']
    assert cells(output, 'mIoU.seen.labelled')[1:] == seen
    assert cells(output, 'mIoU.seen')[2:4] == ['20.0', '20.0 (0)']
    assert cells(output, 'mIoU.labelled')[2] == '40.0'  # (60 + 40 + 20) / 3, and with bus 30
    assert output.index('| mIoU.unseen.labelled') < output.index('| mIoU ')
    assert cells(output, 'bus')[-3] == '-'  # null at the last
    figures = strict_json(folder / 'analysis.json')['runs'][0]['figures']
    assert figures['mIoU.labelled']['last'] == 40.0 and figures['IoU.bus']['last'] is None
    # Where all classes are labelled, they are not shown.
    assert '.labelled' not in run_tool('analyze', write_run(tmp_path / 'whole'))[1]


def test_a_run_without_a_source_model(run_tool, tmp_path):
    folder = write_run(tmp_path / 'r50', source_checkpoint=None)
    record = folder / 'adaptation.jsonl'
    lines = record.read_text().splitlines(keepends=True)
    record.write_text(''.join(line for line in lines if '"source"' not in line))
    output = run_tool('analyze', folder)[1]
    assert output.startswith('r50\nno source model: training began without a source checkpoint\n')
    assert 'lead of the seen classes' not in output
    assert cells(output, 'car')[1] == cells(output, 'road')[1] == '-'
    (found,) = strict_json(folder / 'analysis.json')['runs']
    assert found['no_source'] is True
    assert {timing['seen'] for timing in found['classes_early_to_late']} == {None}
    assert found['figures']['seen_lead'] == dict.fromkeys(('iterations', 'seen_iter', 'unseen_iter'))


def test_half_of_a_small_best_is_no_event(run_tool, tmp_path):
    rows = [validation(5 * k, 30.0, 9.0, 20.0, person=2.9 - k, car=50.0) for k in range(2)]
    output = run_tool('analyze', write_record(tmp_path / 'run', rows, target_classes=['person', 'car']))[1]
    assert cells(output, 'person')[-1] == '-' and cells(output, 'car')[-1] == '0'
    assert 'lead of the seen classes: - iterations (half their best at -, the unseen at 0)' in output


def test_a_negative_drop_is_a_rise():
    assert [fall(value) for value in (3.04, 0.0, -0.04, -3.0, None)] == ['3.0', '0.0', '0.0', 'rise 3.0', '-']
    assert fall(Estimate(-2.0, -5.0, 1.0, 2, 2)) == 'rise 2.0 [-1.0, 5.0]'
    assert fall(Estimate(-2.0, None, None, 1, 2)) == 'rise 2.0 (1 of 2)'
