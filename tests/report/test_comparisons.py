"""Experiments side by side, word for word."""

from collections.abc import Mapping

import pytest

from mmseg_deeplab_study.evaluation.history import History
from mmseg_deeplab_study.evaluation.seeds import Estimate
from mmseg_deeplab_study.report.analysis import analyse
from mmseg_deeplab_study.report.comparisons import best_of, compare

ONE_SEED = 'with one seed nothing says whether another would agree.'
TOO_NARROW = '(of so few seeds, 2, they are too narrow)'


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
            history.header.update(seed=seed, config_digest=name)
            histories[f'{name}{seed}' if isinstance(found, list) else name] = history
    return compare(analyse(histories).groups)


def test_nothing_is_said_of_one():
    assert compared(a=record({0: 9.0})) == []


def test_of_one_seed_each():
    found = compared(
        a=record({0: 9.0, 5: 20.0, 10: 19.0}),
        b=record({0: 9.5, 5: 18.0, 10: 19.04}),
        c=record({0: 9.5, 5: 30.0, 10: 19.0}),
    )
    # 0.04 points at the end are none
    assert found == [
        f'mIoU (%) at iteration 0: b 9.5, c 9.5, a 9.0; {ONE_SEED}',
        f'mIoU (%) at its best: c 30.0, a 20.0, b 19.0; {ONE_SEED}',
    ]


def test_what_backbones_may_differ_in():
    found = compared(
        a=record({0: 8.0, 5: 10.0, 10: 12.0}, scores={'mIoU.seen': 2, 'mIoU.unseen': 0.5, 'BIoU': 0.75}),
        b=record({0: 8.0, 5: 10.0, 10: 12.0}, scores={'mIoU.seen': 1.5, 'mIoU.unseen': 1, 'BIoU': 0.5}),
    )
    assert found == [
        f'mIoU (%) of the seen classes at the end: a 24.0, b 18.0; {ONE_SEED}',
        f'mIoU (%) of the unseen classes at the end: b 12.0, a 6.0; {ONE_SEED}',
        f'Boundary IoU (%) at the end: a 9.0, b 6.0; {ONE_SEED}',
    ]
    # The unseen classes of one are at half their best with the second validation.
    late = record({0: 8.0, 5: 10.0})
    for row, unseen in zip(late.validations, (0.0, 4.0), strict=True):
        row.update({'mIoU.seen': 8.0, 'mIoU.unseen': unseen})
    even = record({0: 8.0, 5: 10.0}, scores={'mIoU.seen': 0.8, 'mIoU.unseen': 0.4})
    lead = 'Iterations by which the seen classes are at half their best before the unseen'
    assert compared(even=even, late=late) == [f'{lead}: late 5, even 0; {ONE_SEED}']


def test_forgetting():
    curve = {0: 8.0, 5: 10.0}
    found = compared(
        a=record(curve, forgetting={0: 30.0, 5: 20.0}),
        b=record(curve, forgetting={0: 20.0, 5: 17.5}),
        untracked=record(curve),
    )
    assert found == [f"Points of mIoU lost on the source's data at the end: b 2.5, a 10.0; {ONE_SEED}"]


def test_recovery():
    found = compared(
        late=record({0: 9.0, 5: 8.0, 10: 8.5, 15: 9.0}),
        never=record({0: 9.0, 5: 8.0, 10: 8.5, 15: 8.5}),
        above=record({0: 9.0, 5: 9.0, 10: 9.0, 15: 9.0}),
        soon=record({0: 9.0, 5: 8.0, 10: 9.0, 15: 9.0}),
    )
    assert found[-1] == (
        'mIoU is back at its start at iteration: soon 10, late 15; not back: never (1 of 1 that fell); never '
        f'below it: above; {ONE_SEED}'
    )
    # Of a record without iteration 0 nothing is said, nor where all come back at once.
    late, whole = record({5: 8.0, 10: 8.0, 15: 9.0}), record({0: 9.0, 5: 8.0, 10: 8.5, 15: 9.0})
    assert compared(a=late, b=whole, c=record({0: 9.0, 5: 7.0, 10: 8.5, 15: 9.0})) == []
    assert compared(a=record({0: 9.0, 5: 9.0}), b=record({0: 9.0, 5: 9.0})) == []


def test_recovery_of_seeds():
    back, away, above = {0: 9.0, 5: 8.0, 10: 9.0}, {0: 9.0, 5: 8.0, 10: 8.0}, {0: 9.0, 5: 9.0, 10: 9.0}
    found = compared(a=[record(back), record(away), record(above)], b=[record(above), record(above)])
    assert found[-1] == (
        'mIoU is back at its start at iteration: a0 and 2 more 10.0 (1 of 3); not back: a0 and 2 more (1 of '
        '2 that fell); never below it: b0 and 1 more.'
    )
    # What cannot be seen on the page is no fall.
    found = compared(a=[record(back), record({0: 9.0, 5: 8.99, 10: 8.99})], b=[record(above), record(above)])
    assert found[-1] == (
        'mIoU is back at its start at iteration: a0 and 1 more 10.0 (1 of 2); never below it: b0 and 1 more.'
    )


def test_intervals():
    def seeds(*lasts: float) -> list[History]:
        return [record({0: 9.0, 5: last}) for last in lasts]

    assert compared(a=seeds(20.0, 22.0), b=seeds(17.0, 18.0))[0] == (
        'mIoU (%) at its best: a0 and 1 more 21.0 [20.0, 22.0], b0 and 1 more 17.5 [17.0, 18.0]; the 95 % '
        f'interval of the first mean overlaps with no other {TOO_NARROW}.'
    )
    found = compared(a=seeds(20.0, 22.0), b=seeds(17.0, 21.5), c=seeds(1.0, 2.0))[0]
    assert found.endswith(
        f'; the 95 % intervals of the means of a0 and 1 more and b0 and 1 more overlap {TOO_NARROW}.'
    )
    # Five seeds are not few.
    found = compared(a=seeds(20.0, 22.0), b=seeds(*[17.0, 18.0] * 3))[0]
    assert found.endswith(f'; the 95 % interval of the first mean overlaps with no other {TOO_NARROW}.')
    found = compared(a=seeds(*[20.0, 22.0] * 3), b=seeds(*[17.0, 18.0] * 3))[0]
    assert found.endswith('; the 95 % interval of the first mean overlaps with no other.')


def test_one_of_two_has_several_seeds():
    found = compared(a=[record({0: 9.0, 5: 20.0}), record({0: 9.0, 5: 21.0})], b=record({0: 9.0, 5: 18.0}))
    hedge = "; of b one seed's value is known, and nothing says whether another would agree."
    assert found[0].endswith(hedge)


def test_how_many_seeds_fell():
    stays, falls = {0: 9.0, 5: 9.0, 10: 9.0}, {0: 9.0, 5: 8.0, 10: 9.0}
    rare, often = ([record(miou) for miou in runs] for runs in ((falls, stays, stays), (falls, falls, falls)))
    (found,) = [line for line in compared(a=rare, b=often) if line.startswith('mIoU is')]
    # Three seeds were run, but of a only one fell.
    assert found == (
        'mIoU is back at its start at iteration: a0 and 2 more 10.0 (1 of 3), b0 and 2 more 10.0 '
        '[10.0, 10.0]; '
        "of a0 and 2 more one seed's value is known, and nothing says whether another would agree."
    )
    assert [line for line in compared(a=rare, b=rare) if line.startswith('mIoU is')] == []


def test_one_value_of_several_seeds_is_not_one_seed():
    stays = {0: 9.0, 5: 9.0, 10: 9.0}
    early, late = ({0: 9.0, 5: 8.0, 10: 9.0 + back, 15: 9.0} for back in (0, -1))
    stays[15] = 9.0
    a, b = ([record(miou), record(stays)] for miou in (early, late))
    (found,) = [line for line in compared(a=a, b=b) if line.startswith('mIoU is')]
    assert found.endswith(
        "; of a0 and 1 more, b0 and 1 more one seed's value is known, and nothing says whether another "
        'would agree.'
    )


NO_FURTHER = 'Compared no further, for they are not equally far or not equally long: a, b.'


def test_runs_of_other_lengths():
    start = f'mIoU (%) at iteration 0: b 9.5, a 9.0; {ONE_SEED}'
    assert compared(a=record({0: 9.0, 5: 20.0}), b=record({0: 9.5, 10: 30.0})) == [start, NO_FURTHER]
    # One is at its end, the other halfway.
    short, long = (record({0: 9.0, 5: 20.0 + n}, max_iters=n) for n in (5, 10))
    assert compared(a=short, b=long) == [NO_FURTHER]


def test_runs_that_go_on():
    a, b = (record({0: 9.0, 5: last}, max_iters=10) for last in (20.0, 30.0))
    assert compared(a=a, b=b)[1] == f'mIoU (%) at iteration 5 of 10: b 30.0, a 20.0; {ONE_SEED}'


@pytest.mark.parametrize('other', [{'source_classes': ['cat']}, {'images': 7}])
def test_what_is_forgotten_of_other_data(other):
    images = other.pop('images', 9)
    a, b = record({0: 9.0}, {0: 30.0}), record({0: 9.0}, {0: 20.0}, **other)
    for history, number in ((a, 9), (b, images)):
        history.select('forgetting')[0]['images'] = number
    assert compared(a=a, b=b) == [
        "Not compared in what they forget, for they were not measured on the same data of the source's."
    ]


@pytest.mark.parametrize('other', [{'target_classes': ['sea']}, {'validation': {'digest': 'other'}}])
def test_only_like_is_compared(other):
    a, b, c = ({0: 9.0, 5: 20.0 + i} for i in range(3))
    assert compared(a=record(a), b=record(b, **other), c=record(c)) == [
        'Not compared, for their classes or validation images differ or are unknown: a, c / b.',
        f'mIoU (%) at its best: c 22.0, a 20.0; {ONE_SEED}',
        f'mIoU (%) at the end: c 22.0, a 20.0; {ONE_SEED}',
    ]


def test_best_of():
    assert best_of([1.0, None, 3.0, 3.0], largest=True) == [False, False, True, True]
    assert best_of([Estimate(2.0, 1.0, 3.0, 2, 2), 2.5], largest=False) == [True, False]
    assert best_of([None, 1.0], largest=True) == best_of([2.0, 2.0], largest=True) == [False, False]
    assert best_of([None], largest=True) == [False]
    # Less than 0.05 points apart is as good.
    assert best_of([0.17, 0.21], largest=True) == [False, False]
    assert best_of([0.17, 9.0, 9.04], largest=True) == [False, True, True]
