"""Sentences from figures, word for word."""

import pytest

from mmseg_deeplab_study.evaluation.seeds import estimate_over_seeds
from mmseg_deeplab_study.report.analysis import leading
from mmseg_deeplab_study.report.sentences import (
    _lead,
    result,
    sentences,
    source_view,
    taken_for,
    what_means_cover,
)
from mmseg_deeplab_study.runs.history import History


@pytest.fixture
def found_in(read):
    """A function that gives the result and the sentences of work_dirs by experiment."""

    def find(*folders):
        analysis = read(*folders)
        score, more = leading(analysis.groups)[0], sentences(analysis)
        return {group.label: [result(group, score), *more[group.label]] for group in analysis.groups}

    return find


@pytest.fixture
def found(found_in, make_run, tmp_path):
    """A function that gives the sentences of one run."""
    return lambda curve, **options: found_in(make_run(tmp_path / 'run', curve, **options))['run']


@pytest.mark.parametrize(
    ('curve', 'expected', 'drop'),
    [
        (
            {0: 12.0, 5: 8.5, 10: 12.5, 15: 12.0},
            "mIoU is 7.2 % in the source's view, 12.0 % at iteration 0, 12.0 % at iteration 15; it dips by "
            '3.5 points, to 8.5 % at iteration 5, and is back at iteration 10.',
            "mIoU never falls below the source's view; its lowest is 8.5 % at iteration 5.",
        ),
        (
            {0: 9.0, 5: 9.0},
            "mIoU is 7.2 % in the source's view, 9.0 % at iteration 0, 9.0 % at iteration 5; it never falls "
            "below iteration 0's.",
            "mIoU never falls below the source's view; its lowest is 9.0 % at iteration 0.",
        ),
        (
            {0: 9.0, 5: 3.0},
            "mIoU is 7.2 % in the source's view, 9.0 % at iteration 0, 3.0 % at iteration 5; it dips by 6.0 "
            'points, to 3.0 % at iteration 5, and has not come back.',
            "From the source's view mIoU drops by 4.2 points, to 3.0 % at iteration 5.",
        ),
        # A drop that the head transfer made.
        (
            {0: 1.25, 5: 2.0, 10: 9.0},
            "mIoU is 7.2 % in the source's view, 1.2 % at iteration 0, 9.0 % at iteration 10; it never falls "
            "below iteration 0's.",
            "From the source's view mIoU drops by 6.0 points, to 1.2 % at iteration 0.",
        ),
    ],
)
def test_falls_and_recovery(found, curve, expected, drop):
    first, second, *_ = found(curve)
    assert (first, second) == (expected, drop)


def test_without_a_source_model_nothing_is_said_of_what_it_has_seen(found):
    lines = found(dict.fromkeys(range(0, 30, 5), 5.0), source=False, source_checkpoint=None)
    assert lines[0] == (
        "mIoU is 5.0 % at iteration 0, 5.0 % at iteration 25; it never falls below iteration 0's."
    )
    assert not any('seen' in sentence or 'The source model' in sentence for sentence in lines)


def test_without_iteration_0_nothing_is_said_of_a_dip(found):
    lines = found({5: 9.0, 10: 8.0}, source=False)
    assert lines[:2] == ['mIoU is 8.0 % at iteration 10.', 'The best mIoU is 9.0 % at iteration 5.']
    assert not any('dips' in sentence or 'source' in sentence for sentence in lines)


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
    assert 'Predicted, but labelled nowhere: car.' in lines
    assert lines[0].startswith("mIoU.labelled is 17.2 % in the source's view, 15.0 % at iteration 0, ")


def test_what_the_means_are_over():
    assert what_means_cover('mIoU') == ''
    assert what_means_cover('mIoU.labelled').startswith(
        'The validation set lacks classes: mIoU.labelled is the mean over those that have labelled pixels.'
    )


def test_a_class_that_never_gets_far_is_neither_early_nor_never_there(make_run, tmp_path, edit, found_in):
    # one validation more right: traffic light 2 / 10 at 5; car never, and at 2.9 % of its pixels in the end
    folder = make_run(tmp_path / 'run', {0: 5.0, 5: 5.0})
    lines = found_in(edit(folder, lambda header, rows: rows[-1]['class_iou'].update(car=2.9)))['run']
    assert 'First to reach half their best IoU: road (0), traffic light (5).' in lines
    assert 'Never at 10 %, so neither early nor late (best in brackets): car (2.9).' in lines
    assert not any(sentence.startswith('Never above 0') for sentence in lines)


def test_a_run_that_goes_on(found):
    assert found({0: 5.0}, max_iters=60)[0].endswith('; not finished: run at iteration 0 of 60.')


def test_seen_against_unseen(found):
    lines = found(dict.fromkeys(range(0, 30, 5), 5.0), classes=('road', 'traffic light', 'car'))
    # car at 15 as above; of the unseen road is always above half and traffic light never there
    assert lines[0].endswith('; the seen classes reach half their best 15 iterations after the unseen.')


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        # s / sqrt(3) = 1.4434, times t(0.975, 2) = 4.3027
        (
            [5, 7.5, 10],
            'reach half their best 7.5 [1.3, 13.7] iterations before the unseen',
        ),
        (
            # s / sqrt(2) = 7.5, times t(0.975, 1) = 12.7062
            [-5, 10],
            'reach half their best 2.5 [-92.8, 97.8] iterations before the unseen: these seeds do not tell '
            'which are first',
        ),
        (
            # The interval has the other sign too.
            [-5, -7.5, -10],
            'reach half their best 7.5 [1.3, 13.7] iterations after the unseen',
        ),
        ([0, 0], 'and the unseen reach half their best at the same time'),
        (
            [-5, 5],
            'and the unseen reach half their best at the same time: these seeds do not tell which are first',
        ),
        ([5, 5], 'reach half their best 5.0 iterations before the unseen'),
    ],
)
def test_lead_over_seeds(values, expected):
    assert list(_lead(estimate_over_seeds(values, range(len(values))))) == [f'the seen classes {expected}']


RISES = {0: 9.0, 5: 9.0, 10: 9.5}


@pytest.mark.parametrize(
    ('curves', 'expected'),
    [
        ([RISES, RISES], "it never falls below iteration 0's"),
        (
            [RISES, {0: 9.0, 5: 8.0, 10: 9.0}, {0: 9.0, 5: 7.0, 10: 8.0}],
            "it dips below iteration 0's in 2 of 3 runs, by 1.5 points on average, and 1 of these come back "
            'at iteration 10.0 on average',
        ),
        (
            [RISES, {0: 9.0, 5: 8.0}],
            "it dips below iteration 0's in 1 of 2 runs, by 1.0 points on average, and 0 of these come back",
        ),
    ],
)
def test_dips_of_seeds(make_run, tmp_path, found_in, curves, expected):
    folders = (tmp_path / str(seed) for seed in range(len(curves)))
    runs = [
        make_run(folder, curve, seed=int(folder.name), config_digest='one')
        for folder, curve in zip(folders, curves, strict=True)
    ]
    ((first, *more),) = found_in(*runs).values()
    assert first.split('; ')[1].rstrip('.') == expected
    # What is of the first run alone says so once.
    assert [line for line in more if line.startswith('Classes of 0. First to reach half')] != []
    assert sum('Classes of' in line for line in more) == 1


@pytest.mark.parametrize(
    ('runs', 'expected'),
    [
        (1, 'it dips by 8.0 points, to 5.5 % at iteration 5, and is back at iteration 10'),
        (
            2,
            "it dips below iteration 0's in 2 of 2 runs, by 8.0 points on average, and 2 of these come back "
            'at iteration 10.0 on average',
        ),
    ],
)
def test_a_fall_of_the_seen_classes_that_new_ones_hide(make_run, edit, tmp_path, found_in, runs, expected):
    seen = {0: 13.5, 5: 5.5, 10: 14.0}

    def change(header: dict, rows: list[dict]) -> None:
        for row in rows:
            if row['kind'] == 'validation':
                row['mIoU.seen'] = seen[row['iter']]

    folders = [
        edit(make_run(tmp_path / str(seed), RISES, seed=seed, config_digest='one'), change)
        for seed in range(runs)
    ]
    ((first, *_),) = found_in(*folders).values()
    assert first.rstrip('.').split('; ')[1:3] == [
        "it never falls below iteration 0's",
        f'over the seen classes alone {expected}',
    ]


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
    found = DROPS.replace('iteration 5', 'iteration 5.0')
    assert found.format(drop, '1.0 points below', whose) in lines
    assert ENDS.format('39.0', '1.0 points below') in lines


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
