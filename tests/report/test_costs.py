"""What experiments cost, and the Pareto front, on numbers worked out by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mmseg_deeplab_study.report.analysis_text import lines, prefixed
from mmseg_deeplab_study.report.costs import ModelCost, common_times, cost_table, pareto_front, trade_offs

PARTS = ('iterations', 'images', 'training time', 'multiply-adds')
SMALL, LARGE = ((2_000_000, 3 * 10**9), (40_000_000, 60 * 10**9))


@pytest.fixture
def make_costly(make_run, tmp_path) -> Callable[..., Path]:
    """A function that writes a run of a model: parameters and multiply-adds, these the same in training."""

    def make(name: str, model: tuple[int, int], *last: float, seconds: float | None = None, **more) -> Path:
        parameters, operations = model
        described = {'parameters': parameters, 'multiply_adds': operations}
        described['training'] = {'input': [24, 32], 'multiply_adds': operations}
        header = {'model': described, 'world_size': 1, 'config': {'train_dataloader': {'batch_size': 4}}}
        miou = {10 * k: value for k, value in enumerate((9.0, *last))}
        folder = make_run(tmp_path / name, miou, images=(), **{**header, **more})
        if seconds is not None:
            log = folder / '20260101_000000/vis_data/scalars.json'
            log.parent.mkdir(parents=True)
            log.write_text(json.dumps({'lr': 0.1, 'time': seconds, 'step': 10}) + '\n')
        return folder

    return make


@pytest.mark.parametrize(
    ('costs', 'scores', 'front'),
    [
        ([3, 1, 2], [30, 10, 20], [1, 2, 0]),  # each dearer one is better: all, cheapest first
        ([1, 2, 3], [30, 20, 30.5], [0, 2]),  # the second is dearer and worse than the first
        ([1, 2], [30, 10], [0]),
        ([1, 1, 2], [10, 20, 20], [1]),  # as cheap and better; as good and cheaper
        ([1, 1, 2], [20, 20, 30], [0, 1, 2]),  # equal in both: both
        ([2, 1, None, 0], [20, 10, 50, None], [1, 0]),  # one part is not known
        ([5], [1], [0]),
        ([], [], []),
    ],
)
def test_pareto_front(costs, scores, front):
    assert pareto_front(costs, scores) == front


def test_common_times_are_by_model():
    costs = [ModelCost(1, 2, 10.0), ModelCost(1, 2, 14.0), ModelCost(1, 3, 9.0), ModelCost(1, 3, None)]
    assert common_times(costs) == [12.0, 12.0, 9.0, None]


def test_prefixes():
    values = [0, 3.5e6, 999.4e6, 1.2e9, 27e12, 3.456e15, 2e18]
    expected = ['0.00 M', '3.50 M', '999.40 M', '1.20 G', '27.00 T', '3.46 P', '2000.00 P']
    assert [prefixed(value) for value in values] == expected


def test_table_and_line(make_costly, read):
    analysis = read(
        make_costly('small', SMALL, 21.0, 30.0, seconds=0.5), make_costly('large', LARGE, 14.0, 19.0)
    )
    columns, rows = cost_table(analysis)
    # 10 iterations of 4 images; 3 * 40 * 3 G = 360 G, 3 * 40 * 60 G = 7.2 T; half of 19 at 10
    first = ['10', '40', '0:05 min', '360.00 G']
    assert columns[:5] == ['experiment', *(f'{part}, to 20 %' for part in PARTS)]
    assert rows[0] == ('small', *first, *first, '20', '80', '0:10 min', '720.00 G')
    assert rows[1] == ('large', *'----', '10', '40', '-', '7.20 T', '20', '80', '-', '14.40 T')
    small, large = (lines(group, analysis)[-1] for group in analysis.groups)
    spent = '10 iterations, 40 images, 0:05 min, 360.00 G multiply-adds'
    assert small == f'cost: 20 % mIoU after {spent}; half its best after {spent}'
    assert large == (
        'cost: 20 % mIoU after -; half its best after 10 iterations, 40 images, 7.20 T multiply-adds'
    )
    figures = analysis.runs[0].figures
    assert figures['cost'] == {'iterations': 20, 'images': 80, 'seconds': 10.0, 'multiply_adds': 720 * 10**9}
    assert figures['mIoU']['images_to_20_percent'] == figures['mIoU']['images_to_0.5_of_best'] == 40
    assert figures['mIoU']['seconds_to_20_percent'] == 5.0
    assert figures['mIoU']['multiply_adds_to_20_percent'] == 360 * 10**9
    assert 'images_to_20_percent' not in figures['mIoU.seen']


def test_columns_that_no_record_knows_are_left_out(make_costly, read, edit):
    folder = edit(make_costly('old', SMALL, 21.0), lambda header, rows: header.pop('config') and None)
    columns, (row,) = cost_table(read(folder))
    assert columns == [
        'experiment',
        'iterations, to 20 %',
        'iterations, to half the best',
        'iterations, in all',
    ]
    assert row == ('old', '10', '10', '10')


def test_means_over_seeds(make_costly, read):
    # 20 % at 10 and at 20
    folders = [
        make_costly(f's{seed}', SMALL, *last, seed=seed, seconds=seconds, config_digest='one')
        for seed, last, seconds in ((0, (21.0, 30.0), 0.5), (1, (9.0, 22.0), 1.5))
    ]
    analysis = read(*folders)
    (group,) = analysis.groups
    assert group.figures['mIoU']['images_to_20_percent'][:2] == (
        60.0,
        pytest.approx(60 - 20 * 12.7062, abs=1e-2),
    )
    # 5 s and 30 s; s / sqrt(2) of 10 and 20 is 5, times t(0.975, 1) = 12.706
    _, (row,) = cost_table(analysis)
    assert row[1:5] == ('15.0 [-48.5, 78.5]', '60', '0:18 min', '540.00 G')
    assert row[9:] == ('20.0', '80', '0:20 min', '720.00 G')


def test_trade_offs(make_costly, read):
    middle = (4_000_000, 50 * 10**9)
    analysis = read(
        make_costly('large', LARGE, 40.0),
        make_costly('small', SMALL, 30.0),
        make_costly('middle', middle, 29.0),
    )
    operations, parameters, spent = trade_offs(analysis.groups)  # milliseconds do not differ
    assert (operations.front, parameters.front, spent.front) == ([1, 0], [1, 0], [1, 0])
    assert operations.sentence == (
        'On the Pareto front by multiply-adds of a validation image: small (3.00 G, 30.0 %), '
        'large (60.00 G, 40.0 %).'
    )
    assert parameters.costs == [40e6, 2e6, 4e6] and parameters.shown == ['40.00 M', '2.00 M', '4.00 M']
    # 20 times
    assert parameters.log is operations.log is True
    assert spent.title == 'multiply-adds of all training'
    assert spent.shown == ['7.20 T', '360.00 G', '6.00 T']


def test_a_factor_of_ten_is_drawn_evenly(make_costly, read):
    a, b = make_costly('a', (10, 30), 30.0), make_costly('b', (100, 30), 40.0)
    (parameters,) = trade_offs(read(a, b).groups)
    assert parameters.title == 'parameters' and parameters.log is False


def test_what_cannot_be_seen_is_no_better(make_costly, read):
    a, b = make_costly('a', SMALL, 30.01), make_costly('b', LARGE, 30.04)
    assert [off.front for off in trade_offs(read(a, b).groups)] == [[0]] * 3


def test_milliseconds_on_one_machine_alone(make_costly, read, edit):
    def slower(header: dict, rows: list[dict]) -> None:
        for row in rows:
            row['seconds'] *= 3

    a, b = make_costly('a', SMALL, 30.0), edit(make_costly('b', LARGE, 40.0), slower)
    found = trade_offs(read(a, b).groups)[-1]
    # 0.25 s for 2 images
    assert found.shown == ['125 ms', '375 ms'] and found.front == [0, 1]
    edit(b, lambda header, rows: header.update(hardware='another'))
    assert not any(off.title.startswith('milli') for off in trade_offs(read(a, b).groups))


def test_only_like_is_compared(make_costly, read):
    a = make_costly('a', SMALL, 30.0)
    assert trade_offs(read(a).groups) == []
    assert trade_offs(read(a, make_costly('same', SMALL, 40.0)).groups) == []
    assert trade_offs(read(a, make_costly('task', LARGE, 40.0, validation={'digest': 'w'})).groups) == []
    # One that is longer has cost more training; its model is not to be judged by that.
    (spent,) = trade_offs(read(a, make_costly('longer', LARGE, 40.0, 41.0)).groups)
    assert spent.title == 'multiply-adds of all training' and spent.shown == ['360.00 G', '14.40 T']


def test_a_last_validation_without_a_score(make_costly, read, edit):
    a, b, c = (make_costly(name, (n, n), 30.0 + n) for n, name in enumerate('abc', 1))
    edit(b, lambda header, rows: rows[-1].update(mIoU=None))
    found = trade_offs(read(a, b, c).groups)[0]
    assert found.costs == [1.0, None, 3.0] and found.shown[1] == '-' and found.front == [0, 2]
