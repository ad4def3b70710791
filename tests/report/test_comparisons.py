"""Experiments side by side, word for word."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from mmseg_deeplab_study.evaluation.seeds import Estimate
from mmseg_deeplab_study.report.analysis import analyse
from mmseg_deeplab_study.report.comparisons import best_of, compare
from mmseg_deeplab_study.report.runs import RunFolder
from mmseg_deeplab_study.runs.history import History

ONE_SEED = 'One seed says nothing about variance: another may order the experiments differently.'


def record(
    miou: Mapping[int, float],
    forgetting: Mapping[int, float] | None = None,
    scores: Mapping[str, float] | None = None,
    **header,
) -> History:
    """A record of ``miou`` by iteration; ``scores`` are factors of it."""
    known = {'target_classes': ['road'], 'validation': {'digest': 'v'}}
    known |= {'source_checkpoint': {'digest': 's'}, 'train': {'digest': 't'}}
    rows = [
        {'iter': i, 'kind': 'validation', 'subset': 'full', 'mIoU': value}
        | {score: factor * value for score, factor in (scores or {}).items()}
        for i, value in miou.items()
    ]
    rows += [
        {'iter': i, 'kind': 'forgetting', 'subset': 'full', 'mIoU': v} for i, v in (forgetting or {}).items()
    ]
    return History({**known, **header}, rows)


def compared(**records: History | list[History]) -> list[str]:
    """The sentences on records, those of a list being seeds of one experiment."""
    histories = {}
    for name, found in records.items():
        for seed, history in enumerate(found if isinstance(found, list) else [found]):
            history.header['config_digest'] = name
            history.header.setdefault('seed', seed)
            histories[f'{name}{seed}' if isinstance(found, list) else name] = history
    return compare(analyse({name: RunFolder(Path(name), one) for name, one in histories.items()}).groups)


def test_of_one_seed_each():
    found = compared(
        a=record({0: 9.0, 5: 20.0, 10: 19.0}),
        b=record({0: 9.5, 5: 18.0, 10: 19.04}),
        c=record({0: 9.5, 5: 30.0, 10: 19.0}),
    )
    # 0.04 points at the end are none
    assert found == [
        'mIoU (%) at iteration 0: b 9.5, c 9.5, a 9.0.',
        'mIoU (%) at its best: c 30.0, a 20.0, b 19.0.',
        ONE_SEED,
    ]
    assert compared(a=record({0: 9.0})) == []


def test_what_backbones_may_differ_in():
    found = compared(
        a=record({0: 8.0, 5: 10.0, 10: 12.0}, scores={'mIoU.seen': 2, 'mIoU.unseen': 0.5, 'BIoU': 0.75}),
        b=record({0: 8.0, 5: 10.0, 10: 12.0}, scores={'mIoU.seen': 1.5, 'mIoU.unseen': 1, 'BIoU': 0.5}),
    )
    assert found == [
        'mIoU.seen (%) at the end: a 24.0, b 18.0.',
        'mIoU.unseen (%) at the end: b 12.0, a 6.0.',
        'Boundary IoU (%) at the end: a 9.0, b 6.0.',
        ONE_SEED,
    ]
    # The unseen classes of one are at half their best with the second validation.
    late = record({0: 8.0, 5: 10.0})
    for row, unseen in zip(late.validations, (0.0, 12.0), strict=True):
        row.update({'mIoU.seen': 24.0, 'mIoU.unseen': unseen})
    even = record({0: 8.0, 5: 10.0}, scores={'mIoU.seen': 2.4, 'mIoU.unseen': 1.2})
    lead = 'Iterations by which the seen classes are at half their best before the unseen'
    assert compared(even=even, late=late) == [f'{lead}: late 5, even 0.', ONE_SEED]


def test_forgetting():
    curve = {0: 8.0, 5: 10.0}
    found = compared(
        a=record(curve, forgetting={0: 30.0, 5: 20.0}),
        b=record(curve, forgetting={0: 20.0, 5: 17.5}),
        untracked=record(curve),
    )
    assert found == ["Points of mIoU lost on the source's data at the end: b 2.5, a 10.0.", ONE_SEED]
    rises = record(curve, forgetting={0: 20.0, 5: 22.0})
    assert compared(a=record(curve, forgetting={0: 30.0, 5: 20.0}), b=rises)[0] == (
        "Points of mIoU lost on the source's data at the end (below 0: a rise): b -2.0, a 10.0."
    )


def test_the_drop_from_the_source_s_view():
    source = {'iter': 0, 'kind': 'source', 'subset': 'full', 'mIoU': 7.3}
    new, old = (record({0: start, 5: 20.0}) for start in (1.2, 9.0))
    for history in (new, old):
        history.rows.append(source)
    # 7.3 - 1.2 at once, as with a new head; 7.3 - 9
    found = compared(new=new, old=old)
    start = "Points of mIoU from the source's view down to the lowest (below 0: a rise): "
    assert found[1] == f'{start}old -1.7, new 6.1.'


def test_recovery():
    found = compared(
        late=record({0: 9.0, 5: 8.0, 10: 8.5, 15: 9.0}),
        never=record({0: 9.0, 5: 8.0, 10: 8.5, 15: 8.5}),
        above=record({0: 9.0, 5: 9.0, 10: 9.0, 15: 9.0}),
        soon=record({0: 9.0, 5: 8.0, 10: 9.0, 15: 9.0}),
    )
    assert found[-2:] == [
        'mIoU is back at its start at iteration: soon 10, late 15; not back: never (1 of 1 that fell); never '
        'below it: above.',
        ONE_SEED,
    ]
    # Of a record without iteration 0 nothing is said, nor where all come back at once.
    late, whole = record({5: 8.0, 10: 8.0, 15: 9.0}), record({0: 9.0, 5: 8.0, 10: 8.5, 15: 9.0})
    assert compared(a=late, b=whole, c=record({0: 9.0, 5: 7.0, 10: 8.5, 15: 9.0})) == []


BACK, AWAY, ABOVE = {0: 9.0, 5: 8.0, 10: 9.0}, {0: 9.0, 5: 8.0, 10: 8.0}, {0: 9.0, 5: 9.0, 10: 9.0}


@pytest.mark.parametrize(
    ('first', 'second', 'expected'),
    [
        (
            [BACK, AWAY, ABOVE],
            [ABOVE, ABOVE],
            'a0 and 2 more 10.0 (1 of 3); not back: a0 and 2 more (1 of 2 that fell); never below it: b0 '
            'and 1 more.',
        ),
        # What cannot be seen on the page is no fall.
        (
            [BACK, {0: 9.0, 5: 8.99, 10: 8.99}],
            [ABOVE, ABOVE],
            'a0 and 1 more 10.0 (1 of 2); never below it: b0 and 1 more.',
        ),
        # Three seeds were run, but of the first only one fell.
        (
            [BACK, ABOVE, ABOVE],
            [BACK, BACK, BACK],
            'a0 and 2 more 10.0 (1 of 3), b0 and 2 more 10.0.',
        ),
        ([BACK, ABOVE], [BACK, ABOVE], None),
    ],
)
def test_recovery_of_seeds(first, second, expected):
    found = compared(a=[record(miou) for miou in first], b=[record(miou) for miou in second])
    start = 'mIoU is back at its start at iteration: '
    lines = [line.removeprefix(start) for line in found if line.startswith(start)]
    assert lines == ([] if expected is None else [expected])
    # Of two that came back, one by one seed.
    assert (ONE_SEED in found) == (len(first) == 3 and second[0] == BACK)


def seeds(*lasts: float, first: int = 0) -> list[History]:
    return [record({0: 9.0, 5: last}, seed=seed) for seed, last in enumerate(lasts, first)]


@pytest.mark.parametrize(
    ('records', 'expected'),
    [
        # a: mean 21, s / sqrt(2) = 1, t(0.975, 1) = 12.706; b: mean 17.5, s / sqrt(2) = 0.5, times t = 6.353
        # differences 3 and 4: mean 3.5, s / sqrt(2) = 0.5
        (
            dict(a=seeds(20.0, 22.0), b=seeds(17.0, 18.0)),
            'a0 and 1 more 21.0 [8.3, 33.7], b0 and 1 more 17.5 [11.1, 23.9]; paired by n = 2 seeds, a0 and '
            '1 more less b0 and 1 more 3.50 [-2.85, 9.85] (no order).',
        ),
        # As far apart as seeds are, and yet each seed's first is higher by 1, 0.9 and 1.1; s / sqrt(3) =
        # 0.0577, times t(0.975, 2) = 4.3027 is 0.248
        (
            dict(a=seeds(19.0, 21.0, 23.0), b=seeds(18.0, 20.1, 21.9)),
            '; paired by n = 3 seeds, a0 and 2 more less b0 and 2 more 1.00 [0.75, 1.25].',
        ),
        # Each is compared with the first.
        (
            dict(a=seeds(20.0, 22.0), b=seeds(17.0, 19.0), c=seeds(10.0, 12.0)),
            '; paired by n = 2 seeds, a0 and 1 more less b0 and 1 more 3.00 in each, less c0 and 1 more '
            '10.00 in each.',
        ),
        # Other seeds: 21 -+ 12.7 and 17.5 -+ 6.4
        (
            dict(a=seeds(20.0, 22.0), b=seeds(17.0, 18.0, first=7)),
            '; the 95 % intervals of the means of a0 and 1 more and b0 and 1 more overlap (n = 2, 2, not '
            'paired by seeds).',
        ),
        # 20.3 -+ 1.4 and 3.1 -+ 0.6
        (
            dict(a=seeds(20.0, 20.0, 21.0), b=seeds(3.0, 3.1, 3.2, first=7)),
            '; the 95 % interval of the mean of a0 and 2 more does not overlap with b0 and 2 more (n = 3, 3, '
            'not paired by seeds).',
        ),
    ],
)
def test_what_seeds_say(records, expected):
    found = compared(**records)
    assert found[0].startswith('mIoU (%) at its best: a0') and found[0].endswith(expected)
    assert ONE_SEED not in found
    # Explained once, where it is said.
    explained = 'No order: the 95 % interval of the difference has 0 in it.'
    assert found.count(explained) == any('(no order)' in sentence for sentence in found)


def test_the_first_of_a_pair_may_be_the_smaller():
    a, b = (
        [record({0: 9.0}, {0: 30.0, 5: 30.0 - drop}) for drop in drops] for drops in ((1.0, 1.1), (5.0, 5.2))
    )
    # differences -4 and -4.1: s / sqrt(2) = 0.05, times t(0.975, 1) = 12.706 is 0.64
    assert compared(a=a, b=b)[0].endswith(' less b0 and 1 more -4.05 [-4.69, -3.41].')


def test_one_of_two_has_several_seeds():
    found = compared(a=seeds(20.0, 20.0), b=record({0: 9.0, 5: 18.0}))
    assert found[0] == 'mIoU (%) at its best: a0 and 1 more 20.0, b 18.0.'
    assert found.count(ONE_SEED) == 1 and found[-1] == ONE_SEED


NO_FURTHER = 'Not compared further, because their lengths or last iterations differ: a, b.'


def test_runs_of_other_lengths():
    start = 'mIoU (%) at iteration 0: b 9.5, a 9.0.'
    a, b = record({0: 9.0, 5: 20.0}), record({0: 9.5, 10: 30.0})
    assert compared(a=a, b=b) == [start, NO_FURTHER, ONE_SEED]
    # One is at its end, the other halfway.
    short, long = (record({0: 9.0, 5: 20.0 + n}, max_iters=n) for n in (5, 10))
    assert compared(a=short, b=long) == [NO_FURTHER]


def test_runs_that_go_on():
    a, b = (record({0: 9.0, 5: last}, max_iters=10) for last in (20.0, 30.0))
    assert compared(a=a, b=b)[1] == 'mIoU (%) at iteration 5 of 10: b 30.0, a 20.0.'


@pytest.mark.parametrize('other', [{'source_classes': ['cat']}, {'images': 7}])
def test_what_is_forgotten_of_other_data(other):
    images = other.get('images', 9)
    a, b = record({0: 9.0}, {0: 30.0}), record({0: 9.0}, {0: 20.0}, **other)
    for history, number in ((a, 9), (b, images)):
        history.select('forgetting')[0]['images'] = number
    assert compared(a=a, b=b) == [
        'What they forget is not compared, because it was measured on different data.'
    ]


@pytest.mark.parametrize('other', [{'target_classes': ['sea']}, {'validation': {'digest': 'other'}}])
def test_only_like_is_compared(other):
    a, b, c = ({0: 9.0, 5: 20.0 + i} for i in range(3))
    assert compared(a=record(a), b=record(b, **other), c=record(c)) == [
        'Not compared, because classes or validation images differ or are unknown: a, c / b.',
        'mIoU (%) at its best: c 22.0, a 20.0.',
        'mIoU (%) at the end: c 22.0, a 20.0.',
        ONE_SEED,
    ]


@pytest.mark.parametrize(
    ('values', 'largest', 'expected'),
    [
        ([1.0, None, 3.0, 3.0], True, [False, False, True, True]),
        ([Estimate(2.0, 1.0, 3.0, 2, 2), 2.5], False, [True, False]),
        ([None, 1.0], True, [False, False]),
        ([None], True, [False]),
        # Less than 0.05 points apart is as good.
        ([0.17, 0.21], True, [False, False]),
        ([0.17, 9.0, 9.04], True, [False, True, True]),
    ],
)
def test_best_of(values, largest, expected):
    assert best_of(values, largest) == expected


def test_means_are_over_the_labelled_classes_where_the_set_lacks_some():
    def lacking(miou: dict[int, float]) -> History:
        scores = {'mIoU.labelled': 2, 'mIoU.seen.labelled': 3}
        history = record(miou, scores=scores, target_classes=['a', 'b'])
        for row in history.validations:
            row['confusion'] = [[1, 1], [0, 0]]
        return history

    curves = {0: 8.0, 5: 7.0, 10: 9.0}, {0: 9.0, 5: 10.0, 10: 11.0}
    a, b = map(lacking, curves)
    assert compared(a=a, b=b) == [
        'mIoU.labelled (%) at iteration 0: b 18.0, a 16.0.',
        'mIoU.labelled (%) at its best: b 22.0, a 18.0.',
        'mIoU.labelled (%) at the end: b 22.0, a 18.0.',
        'mIoU.seen.labelled (%) at the end: b 33.0, a 27.0.',
        'mIoU.labelled is back at its start at iteration: a 10; never below it: b.',
        ONE_SEED,
    ]
    # Not all of them know it.
    a, b = map(lacking, curves)
    for row in a.validations:
        row.update({'mIoU.labelled': None})
    assert compared(a=a, b=b)[0] == 'mIoU (%) at iteration 0: b 9.0, a 8.0.'
