"""Sentences from figures, word for word."""

import pytest

from mmseg_deeplab_study.evaluation.seeds import estimate_over_seeds
from mmseg_deeplab_study.report.sentences import _lead, sentences, source_view, taken_for
from mmseg_deeplab_study.runs.history import History


@pytest.fixture
def found_in(read):
    """A function that gives the sentences of work_dirs by heading."""
    return lambda *folders: sentences(read(*folders))


@pytest.fixture
def found(found_in, make_run, tmp_path):
    """A function that gives the sentences of one run."""
    return lambda curve, **options: found_in(make_run(tmp_path / 'run', curve, **options))['run']


NEVER_BELOW_START = "mIoU never falls below iteration 0's."


@pytest.mark.parametrize(
    ('curve', 'expected'),
    [
        (
            {0: 12.0, 5: 8.5, 10: 12.5, 15: 12.0},
            [
                'Before any training mIoU is 12.0 %; the untouched source model, read by class name, 7.2 %.',
                "mIoU never falls below the source's view; its lowest is 8.5 % at iteration 5.",
                'From iteration 0 mIoU dips by 3.5 points, to 8.5 % at iteration 5, and is back at iteration '
                '10.',
                'The best mIoU is 12.5 % at iteration 10, the last 12.0 %.',
            ],
        ),
        ({0: 9.0, 5: 9.0}, [NEVER_BELOW_START]),
        (
            {0: 9.0, 5: 3.0},
            ['From iteration 0 mIoU dips by 6.0 points, to 3.0 % at iteration 5, and has not come back.'],
        ),
        # A drop that the head transfer made.
        (
            {0: 1.25, 5: 2.0, 10: 9.0},
            ["From the source's view mIoU drops by 6.0 points, to 1.2 % at iteration 0.", NEVER_BELOW_START],
        ),
    ],
)
def test_falls_and_recovery(found, curve, expected):
    assert [sentence for sentence in found(curve) if sentence in expected] == expected


def test_without_a_source_model_nothing_is_said_of_what_it_has_seen(found):
    lines = found(dict.fromkeys(range(0, 30, 5), 5.0), source=False, source_checkpoint=None)
    assert lines[0] == 'No source model: training began without a source checkpoint.'
    assert not any('seen' in sentence or 'The source model' in sentence for sentence in lines)


def test_without_iteration_0_nothing_is_said_of_a_dip(found):
    lines = found({5: 9.0, 10: 8.0}, source=False)
    assert lines[0] == 'The best mIoU is 9.0 % at iteration 5, the last 8.0 %.'
    assert not any('dips' in sentence or 'source' in sentence for sentence in lines)


def test_comparisons_come_first(make_run, tmp_path, found_in):
    a, b = (make_run(tmp_path / name, {0: 9.0, 5: 10.0 + len(name)}) for name in ('a', 'bb'))
    lines = found_in(a, b)
    assert list(lines) == ['Side by side', 'a', 'bb']
    assert lines['Side by side'][0] == 'mIoU (%) at its best: bb 12.0, a 11.0.'


def test_classes(found):
    # 32 columns: 11 road, 11 car, 10 traffic light; after k validations all is road but the last 2 k columns
    lines = found(dict.fromkeys(range(0, 30, 5), 5.0))
    # traffic light 2 k / 10, so half its best at k = 3; road 11 / (32 - 2 k), from 34 to 50 %
    assert 'First to reach half their best IoU: road (0), traffic light (15).' in lines
    assert 'Never above 0: car.' in lines
    assert (
        'The source model takes the pixels of unseen classes for background (90.0 %), car (10.0 %).' in lines
    )


def test_classes_without_a_label(make_run, tmp_path, lack_car, found_in):
    # 7 pixels of road are taken for car, and none is labelled so
    lines = found_in(lack_car(make_run(tmp_path / 'run', {0: 5.0, 5: 5.0})))['run']
    assert not any(sentence.startswith('Never above 0') and 'car' in sentence for sentence in lines)
    lacks = (
        'The validation set lacks classes: mIoU.labelled is the mean over those that have labelled pixels.'
    )
    assert lacks in lines
    assert (
        'No pixel is labelled car: in the other means such a class counts as 0 where one pixel is predicted '
        'as it, and not at all elsewhere, so they move by that alone.' in lines
    )


def test_a_class_that_never_gets_far_is_neither_early_nor_never_there(make_run, tmp_path, edit, found_in):
    # one validation more right: traffic light 2 / 10 at 5; car never, and at 2.9 % of its pixels in the end
    folder = make_run(tmp_path / 'run', {0: 5.0, 5: 5.0})
    lines = found_in(edit(folder, lambda header, rows: rows[-1]['class_iou'].update(car=2.9)))['run']
    assert 'First to reach half their best IoU: road (0), traffic light (5).' in lines
    assert 'Never at 10 %, so neither early nor late (best in brackets): car (2.9).' in lines
    assert not any(sentence.startswith('Never above 0') for sentence in lines)


def test_a_run_that_goes_on(found):
    assert found({0: 5.0}, max_iters=60)[0] == 'Not finished: run at iteration 0 of 60.'


def test_seen_against_unseen(found):
    lines = found(dict.fromkeys(range(0, 30, 5), 5.0), classes=('road', 'traffic light', 'car'))
    # car at 15 as above; of the unseen road is always above half and traffic light never there
    assert 'The seen classes reach half their best 15 iterations after the unseen.' in lines


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


RISES = {0: 9.0, 5: 9.0, 10: 9.5}


@pytest.mark.parametrize(
    ('curves', 'expected'),
    [
        ([RISES, RISES], "mIoU dips below iteration 0's in none of 2 runs."),
        (
            [RISES, {0: 9.0, 5: 8.0, 10: 9.0}, {0: 9.0, 5: 7.0, 10: 8.0}],
            "mIoU dips below iteration 0's in 2 of 3 runs, by 1.5 points on average; 1 of these come back, "
            'at iteration 10.0 on average.',
        ),
        (
            [RISES, {0: 9.0, 5: 8.0}],
            "mIoU dips below iteration 0's in 1 of 2 runs, by 1.0 points on average; 0 of these come back.",
        ),
    ],
)
def test_dips_of_seeds(make_run, tmp_path, found_in, curves, expected):
    folders = (tmp_path / str(seed) for seed in range(len(curves)))
    runs = [
        make_run(folder, curve, seed=int(folder.name), config_digest='one')
        for folder, curve in zip(folders, curves, strict=True)
    ]
    (lines,) = found_in(*runs).values()
    assert expected in lines


DROPS = (
    "At iteration 5, the new classifier's lowest, the seen classes are {} points below the source's view; "
    "read through the source's own classifier the same features are {} it: {}."
)
ENDS = "Read through the source's own classifier the seen classes are last at {} %, {} the source's view."


@pytest.mark.parametrize(
    ('head', 'features', 'expected'),
    [
        # 40 - 32.5; 40 - 39.75 is seen, 40 - 39.96 is not
        (
            (39, 32.5, 45),
            (40, 39.75, 44),
            DROPS.format('7.5', '0.2 points below', "the drop is mostly the new classifier's"),
        ),
        (
            (39, 32.5, 45),
            (40, 39.96, 44),
            DROPS.format('7.5', '0.0 points below', "the drop is the new classifier's"),
        ),
        (
            (39, 32.5, 45),
            (40, 41, 44),
            DROPS.format('7.5', '1.0 points above', "the drop is the new classifier's"),
        ),
        # half of 7.5
        (
            (39, 32.5, 45),
            (40, 36.25, 44),
            DROPS.format('7.5', '3.8 points below', "the drop is mostly the features'"),
        ),
        ((39, 32.5, 45), (40, 30, 44), DROPS.format('7.5', '10.0 points below', "the drop is the features'")),
        (
            (41, 39.96, 45),
            (40, 30, 44),
            DROPS.format('0.0', '10.0 points below', 'no drop'),
        ),
    ],
)
def test_new_classifier_or_features(make_run, tmp_path, read_through, found_in, head, features, expected):
    run = make_run(tmp_path / 'run', {0: 5.0, 5: 5.0, 10: 5.0})
    lines = found_in(read_through(run, 40, head, features))['run']
    assert [line for line in lines if 'classifier' in line] == [
        expected,
        ENDS.format('44.0', '4.0 points above'),
    ]


@pytest.mark.parametrize(
    ('lowest', 'drop', 'whose'),
    [
        # 10 and 9: s / sqrt(2) = 0.5, times t(0.975, 1) = 12.7062
        ((30, 31), '9.5 [3.1, 15.9]', "the drop is mostly the new classifier's"),
        # 10 and 8
        ((30, 32), '9.0 [-3.7, 21.7]', 'these seeds do not tell whether there is a drop'),
    ],
)
def test_new_classifier_or_features_over_seeds(
    make_run, tmp_path, read_through, found_in, lowest, drop, whose
):
    runs = [make_run(tmp_path / str(s), {0: 5.0, 5: 5.0}, seed=s, config_digest='one') for s in range(2)]
    for run, score in zip(runs, lowest, strict=True):
        read_through(run, 40, (40, score), (40, 39))
    (lines,) = found_in(*runs).values()
    found = DROPS.replace('iteration 5', 'iteration 5.0 [5.0, 5.0]')
    assert found.format(drop, '1.0 [1.0, 1.0] points below', whose) in lines
    assert ENDS.format('39.0 [39.0, 39.0]', '1.0 [1.0, 1.0] points below') in lines


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
