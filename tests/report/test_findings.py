"""Sentences from figures, word for word."""

import json

import pytest

from mmseg_deeplab_study.evaluation.history import History
from mmseg_deeplab_study.evaluation.seeds import Estimate, estimate_over_seeds
from mmseg_deeplab_study.report.analysis import analyse
from mmseg_deeplab_study.report.findings import _lead, best_of, findings, source_view, taken_for
from mmseg_deeplab_study.report.runs import read_runs


def found_in(*folders) -> dict[str, list[str]]:
    return findings(analyse({name: run.history for name, run in read_runs(folders).items()}))


def sentences(*folders) -> list[str]:
    return [sentence for group in found_in(*folders).values() for sentence in group]


def test_a_dip_and_its_recovery(make_run, tmp_path):
    found = sentences(make_run(tmp_path / 'run', {0: 12.0, 5: 8.5, 10: 12.5, 15: 12.0}))
    assert found[:3] == [
        'Before any training mIoU is 12.0 %; the untouched source model, read by class name, 7.2 %.',
        'mIoU falls by 3.5 points, to 8.5 % at iteration 5, and is back at iteration 10.',
        'The best mIoU is 12.5 % at iteration 10, the last 12.0 %.',
    ]


@pytest.mark.parametrize(
    ('curve', 'expected'),
    [
        ({0: 9.0, 5: 9.0}, 'mIoU never falls below its start.'),
        ({0: 9.0, 5: 3.0}, 'mIoU falls by 6.0 points, to 3.0 % at iteration 5, and has not come back.'),
    ],
)
def test_no_dip_and_no_recovery(make_run, tmp_path, curve, expected):
    assert expected in sentences(make_run(tmp_path / 'run', curve))


def test_without_iteration_0_nothing_is_said_of_a_dip(make_run, tmp_path):
    found = sentences(make_run(tmp_path / 'run', {5: 9.0, 10: 8.0}, source=False))
    assert found[0] == 'The best mIoU is 9.0 % at iteration 5, the last 8.0 %.'
    assert not any('falls' in sentence or 'source model' in sentence for sentence in found)


def test_classes(make_run, tmp_path):
    # 32 columns: 11 road, 11 car, 10 traffic light; after k validations all is road but the last 2 k columns
    found = sentences(make_run(tmp_path / 'run', dict.fromkeys(range(0, 30, 5), 5.0)))
    # traffic light 2 k / 10, so half its best at k = 3; road 11 / (32 - 2 k), from 34 to 50 %
    assert 'First to half their best IoU come road (0), traffic light (15).' in found
    assert 'Never above 0: car.' in found
    assert (
        'The source model takes the pixels of unseen classes for background (90.0 %), car (10.0 %).' in found
    )


def test_classes_without_a_label(make_run, tmp_path):
    folder = make_run(tmp_path / 'run', {0: 5.0, 5: 5.0})
    path = folder / 'adaptation.jsonl'
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records[2:]:
        # 7 pixels of road are taken for car, and none is labelled so
        record['confusion'] = [[10, 7, 0], [0, 0, 0], [0, 0, 0]]
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    found = sentences(folder)
    assert not any(sentence.startswith('Never above 0') and 'car' in sentence for sentence in found)
    assert (
        'No pixel is labelled car: 0 in the means while one is predicted, and in none where it is not, so '
        'that the means move by that alone.' in found
    )


def test_a_run_that_goes_on(make_run, tmp_path):
    assert sentences(make_run(tmp_path / 'run', {0: 5.0}, max_iters=60))[0] == (
        'So far only: run is at iteration 0 of 60.'
    )


def test_one_of_two_has_several_seeds(make_run, tmp_path):
    seeds = [make_run(tmp_path / f's{i}', {0: 9.0, 5: 20.0 + i}, seed=i, config_digest='s') for i in range(2)]
    found = found_in(*seeds, make_run(tmp_path / 'b', {0: 9.0, 5: 18.0}))['Side by side']
    assert found[0] == (
        's0 and 1 more is 2.5 points above b at its best; with one seed of b nothing says whether another '
        'would agree.'
    )


def test_seen_against_unseen(make_run, tmp_path):
    curve = dict.fromkeys(range(0, 30, 5), 5.0)
    found = sentences(make_run(tmp_path / 'run', curve, classes=('road', 'traffic light', 'car')))
    # car at 15 as above; of the unseen road is always above half and traffic light never there
    assert 'The seen classes reach half their best 15 iterations after the unseen.' in found


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ([5, 10], 'reach half their best 7.5 iterations before the unseen, in the mean [5.0, 10.0].'),
        (
            [-5, 10],
            'reach half their best 2.5 iterations before the unseen, in the mean [-5.0, 10.0]: these seeds '
            'do not tell which come first.',
        ),
        ([0, 0], 'and the unseen reach half their best at the same time, in the mean [0.0, 0.0].'),
    ],
)
def test_lead_over_seeds(values, expected):
    assert list(_lead(estimate_over_seeds(values, [0, 1]))) == [f'The seen classes {expected}']


def test_dips_of_seeds(make_run, tmp_path):
    def dips(*curves) -> str:
        name = f'{len(list(tmp_path.iterdir()))}-'
        runs = [
            make_run(tmp_path / f'{name}{seed}', curve, seed=seed, config_digest=name)
            for seed, curve in enumerate(curves)
        ]
        return next(sentence for sentence in sentences(*runs) if 'below its start' in sentence)

    rises = {0: 9.0, 5: 9.0, 10: 9.5}
    assert dips(rises, rises) == 'mIoU falls below its start in none of 2 runs.'
    assert dips(rises, {0: 9.0, 5: 8.0, 10: 9.0}, {0: 9.0, 5: 7.0, 10: 8.0}) == (
        'mIoU falls below its start in 2 of 3 runs, by 1.5 points in the mean of these; 1 of them come back, '
        'at iteration 10.0 in the mean.'
    )
    assert dips(rises, {0: 9.0, 5: 8.0}).endswith('0 of them come back.')


def test_one_seed_each_is_hedged(make_run, tmp_path):
    a = make_run(tmp_path / 'a', {0: 9.0, 5: 20.0, 10: 19.0})
    b = make_run(tmp_path / 'b', {0: 9.5, 5: 18.0, 10: 19.04})
    assert list(found_in(a, b)) == ['Side by side', 'a', 'b']
    hedge = 'with one seed nothing says whether another would agree.'
    # 0.04 points at the end are none
    assert found_in(a, b)['Side by side'] == [
        f'b is 0.5 points above a at iteration 0; {hedge}',
        f'a is 1.0 points above b at its best; {hedge}',
    ]


def test_intervals(make_run, tmp_path):
    def runs(name: str, lasts: list[float]) -> list:
        return [
            make_run(tmp_path / f'{name}{seed}', {0: 9.0, 5: last}, seed=seed, config_digest=name)
            for seed, last in enumerate(lasts)
        ]

    found = sentences(*runs('a', [20.0, 22.0]), *runs('b', [17.0, 18.0, 17.5]))
    assert (
        'a0 and 1 more is 3.5 points above b0 and 2 more at the end; the 95 % intervals of the means do not '
        'overlap (of so few seeds, 2 and 3, they are too narrow).' in found
    )
    found = sentences(*runs('c', [20.0, 22.0] * 3), *runs('d', [17.0, 21.5] * 3))
    assert (
        'c0 and 5 more is 1.8 points above d0 and 5 more at the end, but the 95 % intervals of the means '
        'overlap: these seeds do not tell them apart.' in found
    )


def test_only_like_is_compared(make_run, tmp_path):
    a, b = (make_run(tmp_path / name, {0: 9.0, last: 20.0 + last}) for name, last in (('a', 5), ('b', 10)))
    found = found_in(a, b)['Side by side']
    assert found[-1] == 'a and b are not compared at the end: they are not equally far, or not equally long.'
    assert [sentence[:30] for sentence in found[:-1]] == ['b is 5.0 points above a at its']
    others = (
        make_run(tmp_path / 'c', {0: 1.0, 5: 2.0}, classes=('sea', 'car', 'ship')),
        make_run(tmp_path / 'd', {0: 1.0, 5: 2.0}, validation={'digest': 'other'}),
    )
    for other in others:
        assert found_in(a, other)['Side by side'] == [
            f'a and {other.name} are not compared: they have other classes or other validation images.'
        ]


def test_taken_for():
    header = {'target_classes': ['road', 'car', 'rider'], 'source_classes': ['background', 'person']}
    row = {'kind': 'source', 'subset': 'full', 'iter': 0, 'confusion': [[3, 1], [0, 0], [1, 1]]}
    # a tie goes to the first; nothing is labelled car
    expected = [('road', 'background', 75.0), ('rider', 'background', 50.0)]
    assert taken_for(source_view(History(header, [row]))) == expected


@pytest.mark.parametrize('lacks', ['row', 'confusion', 'source_classes', 'target_classes', 'shape'])
def test_no_view_of_the_source(lacks):
    header = {'target_classes': ['road', 'car'], 'source_classes': ['background', 'person', 'car']}
    row = {'kind': 'source', 'subset': 'full', 'iter': 0, 'confusion': [[3, 1, 0], [0, 0, 1]]}
    for record in (header, row):
        record.pop(lacks, None)
    if lacks == 'shape':
        row['confusion'] = [[1, 2], [3, 4]]
    assert source_view(History(header, [] if lacks == 'row' else [row])) is None


def test_best_of():
    assert best_of([1.0, None, 3.0, 3.0], largest=True) == [False, False, True, True]
    assert best_of([Estimate(2.0, 1.0, 3.0, 2, 2), 2.5], largest=False) == [True, False]
    assert best_of([None, 1.0], largest=True) == best_of([2.0, 2.0], largest=True) == [False, False]
    assert best_of([None], largest=True) == [False]
