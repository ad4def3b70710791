"""Sentences from figures, word for word."""

import json

import pytest

from mmseg_deeplab_study.evaluation.history import History
from mmseg_deeplab_study.evaluation.seeds import estimate_over_seeds
from mmseg_deeplab_study.report.analysis import analyse
from mmseg_deeplab_study.report.runs import read_runs
from mmseg_deeplab_study.report.sentences import _lead, source_view, taken_for
from mmseg_deeplab_study.report.sentences import sentences as sentences_of


def found_in(*folders) -> dict[str, list[str]]:
    return sentences_of(analyse({name: run.history for name, run in read_runs(folders).items()}))


def sentences(*folders) -> list[str]:
    return [sentence for group in found_in(*folders).values() for sentence in group]


def test_a_dip_and_its_recovery(make_run, tmp_path):
    found = sentences(make_run(tmp_path / 'run', {0: 12.0, 5: 8.5, 10: 12.5, 15: 12.0}))
    assert found[:4] == [
        'Before any training mIoU is 12.0 %; the untouched source model, read by class name, 7.2 %.',
        "mIoU never falls below the source's view; its lowest is 8.5 % at iteration 5.",
        'From iteration 0 mIoU dips by 3.5 points, to 8.5 % at iteration 5, and is back at iteration 10.',
        'The best mIoU is 12.5 % at iteration 10, the last 12.0 %.',
    ]


@pytest.mark.parametrize(
    ('curve', 'expected'),
    [
        ({0: 9.0, 5: 9.0}, "mIoU never falls below iteration 0's."),
        (
            {0: 9.0, 5: 3.0},
            'From iteration 0 mIoU dips by 6.0 points, to 3.0 % at iteration 5, and has not come back.',
        ),
    ],
)
def test_no_dip_and_no_recovery(make_run, tmp_path, curve, expected):
    assert expected in sentences(make_run(tmp_path / 'run', curve))


def test_a_drop_that_the_head_transfer_made(make_run, tmp_path):
    found = sentences(make_run(tmp_path / 'run', {0: 1.25, 5: 2.0, 10: 9.0}))
    assert found[1:3] == [
        "From the source's view mIoU drops by 6.0 points, to 1.2 % at iteration 0.",
        "mIoU never falls below iteration 0's.",
    ]


def test_without_a_source_model_nothing_is_said_of_what_it_has_seen(make_run, tmp_path):
    curve = dict.fromkeys(range(0, 30, 5), 5.0)
    folder = make_run(tmp_path / 'run', curve, source=False, source_checkpoint=None)
    found = sentences(folder)
    assert found[0] == 'No source model: training began without a source checkpoint.'
    assert not any('seen' in sentence or 'The source model' in sentence for sentence in found)


def test_without_iteration_0_nothing_is_said_of_a_dip(make_run, tmp_path):
    found = sentences(make_run(tmp_path / 'run', {5: 9.0, 10: 8.0}, source=False))
    assert found[0] == 'The best mIoU is 9.0 % at iteration 5, the last 8.0 %.'
    assert not any('dips' in sentence or 'source' in sentence for sentence in found)


def test_comparisons_come_first(make_run, tmp_path):
    a, b = (make_run(tmp_path / name, {0: 9.0, 5: 10.0 + len(name)}) for name in ('a', 'bb'))
    found = found_in(a, b)
    assert list(found) == ['Side by side', 'a', 'bb']
    assert found['Side by side'][0] == 'mIoU (%) at its best: bb 12.0, a 11.0.'


def test_classes(make_run, tmp_path):
    # 32 columns: 11 road, 11 car, 10 traffic light; after k validations all is road but the last 2 k columns
    found = sentences(make_run(tmp_path / 'run', dict.fromkeys(range(0, 30, 5), 5.0)))
    # traffic light 2 k / 10, so half its best at k = 3; road 11 / (32 - 2 k), from 34 to 50 %
    assert 'First to reach half their best IoU: road (0), traffic light (15).' in found
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
        'The validation set lacks classes: mIoU.labelled is the mean over those that have labelled pixels.'
        in found
    )
    assert (
        'No pixel is labelled car: in the other means such a class counts as 0 where one pixel is predicted '
        'as it, and not at all elsewhere, so they move by that alone.' in found
    )


def test_a_class_that_never_gets_far_is_neither_early_nor_never_there(make_run, tmp_path):
    # one validation more right: traffic light 2 / 10 at 5; car never, and at 2.9 % of its pixels in the end
    folder = make_run(tmp_path / 'run', {0: 5.0, 5: 5.0})
    path = folder / 'adaptation.jsonl'
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records[-1]['class_iou']['car'] = 2.9
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    found = sentences(folder)
    assert 'First to reach half their best IoU: road (0), traffic light (5).' in found
    assert 'Never at 10 %, so neither early nor late (best in brackets): car (2.9).' in found
    assert not any(sentence.startswith('Never above 0') for sentence in found)


def test_a_run_that_goes_on(make_run, tmp_path):
    assert sentences(make_run(tmp_path / 'run', {0: 5.0}, max_iters=60))[0] == (
        'Not finished: run at iteration 0 of 60.'
    )


def test_seen_against_unseen(make_run, tmp_path):
    curve = dict.fromkeys(range(0, 30, 5), 5.0)
    found = sentences(make_run(tmp_path / 'run', curve, classes=('road', 'traffic light', 'car')))
    # car at 15 as above; of the unseen road is always above half and traffic light never there
    assert 'The seen classes reach half their best 15 iterations after the unseen.' in found


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        # s / sqrt(3) = 1.4434, times t(0.975, 2) = 4.3027
        (
            [5, 7.5, 10],
            'reach half their best 7.5 iterations before the unseen, on average over n = 3 seeds '
            '[1.3, 13.7].',
        ),
        (
            # s / sqrt(2) = 7.5, times t(0.975, 1) = 12.7062
            [-5, 10],
            'reach half their best 2.5 iterations before the unseen, on average over n = 2 seeds '
            '[-92.8, 97.8]: these seeds do not tell which are first.',
        ),
        (
            [0, 0],
            'and the unseen reach half their best at the same time, on average over n = 2 seeds [0.0, 0.0].',
        ),
    ],
)
def test_lead_over_seeds(values, expected):
    assert list(_lead(estimate_over_seeds(values, range(len(values))))) == [f'The seen classes {expected}']


def test_dips_of_seeds(make_run, tmp_path):
    def dips(*curves) -> str:
        name = f'{len(list(tmp_path.iterdir()))}-'
        runs = [
            make_run(tmp_path / f'{name}{seed}', curve, seed=seed, config_digest=name)
            for seed, curve in enumerate(curves)
        ]
        return next(sentence for sentence in sentences(*runs) if 'dips below' in sentence)

    rises = {0: 9.0, 5: 9.0, 10: 9.5}
    assert dips(rises, rises) == "mIoU dips below iteration 0's in none of 2 runs."
    assert dips(rises, {0: 9.0, 5: 8.0, 10: 9.0}, {0: 9.0, 5: 7.0, 10: 8.0}) == (
        "mIoU dips below iteration 0's in 2 of 3 runs, by 1.5 points on average; 1 of these come "
        'back, at iteration 10.0 on average.'
    )
    assert dips(rises, {0: 9.0, 5: 8.0}).endswith('0 of these come back.')


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
