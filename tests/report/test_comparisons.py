"""Experiments side by side, word for word."""

from collections.abc import Mapping

import pytest

from mmseg_deeplab_study.evaluation.history import History
from mmseg_deeplab_study.evaluation.seeds import Estimate
from mmseg_deeplab_study.report.analysis import analyse
from mmseg_deeplab_study.report.comparisons import best_of, compare

ONE_SEED = 'with one seed nothing says whether another would agree.'


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
    for row, unseen in zip(late.validations, (0.0, 12.0), strict=True):
        row.update({'mIoU.seen': 24.0, 'mIoU.unseen': unseen})
    even = record({0: 8.0, 5: 10.0}, scores={'mIoU.seen': 2.4, 'mIoU.unseen': 1.2})
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


def seeds(*lasts: float) -> list[History]:
    return [record({0: 9.0, 5: last}) for last in lasts]


def test_experiments_that_share_seeds_are_compared_in_pairs():
    # a: mean 21, s / sqrt(2) = 1, t(0.975, 1) = 12.706; b: mean 17.5, s / sqrt(2) = 0.5, times t = 6.353
    # differences 3 and 4: mean 3.5, s / sqrt(2) = 0.5
    assert compared(a=seeds(20.0, 22.0), b=seeds(17.0, 18.0))[0] == (
        'mIoU (%) at its best: a0 and 1 more 21.0 [8.3, 33.7], b0 and 1 more 17.5 [11.1, 23.9]; '
        'a0 and 1 more less b0 and 1 more, paired by n = 2 seeds: 3.50 [-2.85, 9.85], with 0 in it, so '
        'no order.'
    )
    # 19, 21, 23 and 18, 20.1, 21.9: as far apart as seeds are, and yet each seed's first is higher by 1, 0.9
    # and 1.1; s / sqrt(3) = 0.0577, times t(0.975, 2) = 4.3027 is 0.248
    found = compared(a=seeds(19.0, 21.0, 23.0), b=seeds(18.0, 20.1, 21.9))[0]
    assert found.endswith(
        '; a0 and 2 more less b0 and 2 more, paired by n = 3 seeds: 1.00 [0.75, 1.25], without 0 in it.'
    )


def test_each_is_compared_with_the_first():
    found = compared(a=seeds(20.0, 22.0), b=seeds(17.0, 19.0), c=seeds(10.0, 12.0))[0]
    assert found.endswith(
        '; a0 and 1 more less b0 and 1 more, paired by n = 2 seeds: 3.00 in each of them, which has no '
        'interval; a0 and 1 more less c0 and 1 more, paired by n = 2 seeds: 10.00 in each of them, which has '
        'no interval.'
    )


def test_experiments_of_other_seeds_are_compared_by_their_intervals():
    def last(a: list[History], b: list[History]) -> str:
        for seed, history in enumerate(b, 7):
            history.header['seed'] = seed
        histories = {f'{name}{i}': run for name, runs in (('a', a), ('b', b)) for i, run in enumerate(runs)}
        for name, history in histories.items():
            history.header.update(config_digest=name[0])
            history.header.setdefault('seed', int(name[1]))
        return compare(analyse(histories).groups)[0]

    # 21 -+ 12.7 and 17.5 -+ 6.4
    assert last(seeds(20.0, 22.0), seeds(17.0, 18.0)).endswith(
        '; the 95 % intervals of the means of a0 and 1 more and b0 and 1 more overlap (n = 2, 2, not '
        'paired by seeds).'
    )
    # 20.3 -+ 1.4 and 3.1 -+ 0.6
    assert last(seeds(20.0, 20.0, 21.0), seeds(3.0, 3.1, 3.2)).endswith(
        '; the 95 % interval of the mean of a0 and 2 more does not overlap with b0 and 2 more (n = 3, 3, '
        'not paired by seeds).'
    )


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


def test_the_drop_from_the_source_s_view():
    def seen_by_source(miou: float, curve: dict[int, float]) -> History:
        history = record(curve)
        history.rows.append({'iter': 0, 'kind': 'source', 'subset': 'full', 'mIoU': miou})
        return history

    # 7.3 - 1.2 at once, as with a new head; 7.3 - 9
    found = compared(new=seen_by_source(7.3, {0: 1.2, 5: 20.0}), old=seen_by_source(7.3, {0: 9.0, 5: 20.0}))
    assert (
        found[1] == f"Points of mIoU from the source's view down to the lowest: old -1.7, new 6.1; {ONE_SEED}"
    )


def test_means_are_over_the_labelled_classes_where_the_set_lacks_some():
    def lacking(miou: dict[int, float]) -> History:
        history = record(
            miou, scores={'mIoU.labelled': 2, 'mIoU.seen.labelled': 3}, target_classes=['a', 'b']
        )
        for row in history.validations:
            row['confusion'] = [[1, 1], [0, 0]]
        return history

    start = 'mIoU (%) at iteration 0, over the labelled classes'
    curves = {0: 8.0, 5: 7.0, 10: 9.0}, {0: 9.0, 5: 10.0, 10: 11.0}
    a, b = map(lacking, curves)
    assert compared(a=a, b=b) == [
        f'{start}: b 18.0, a 16.0; {ONE_SEED}',
        f'mIoU (%) at its best, over the labelled classes: b 22.0, a 18.0; {ONE_SEED}',
        f'mIoU (%) at the end, over the labelled classes: b 22.0, a 18.0; {ONE_SEED}',
        f'mIoU (%) of the seen classes at the end, over the labelled classes: b 33.0, a 27.0; {ONE_SEED}',
        'mIoU over the labelled classes is back at its start at iteration: a 10; never below it: b.',
    ]
    # Not all of them know it.
    a, b = map(lacking, curves)
    for row in a.validations:
        row.update({'mIoU.labelled': None})
    assert compared(a=a, b=b)[0] == f'mIoU (%) at iteration 0: b 9.0, a 8.0; {ONE_SEED}'
