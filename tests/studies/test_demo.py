"""The parts of the demonstration."""

import pytest

from mmseg_deeplab_study.runs.history import History
from mmseg_deeplab_study.studies import demo


def test_table():
    scores = {'mIoU': (11.0, 6.04, 12.0), 'mIoU.seen': (30.0, 20.0, 25.0), 'mIoU.unseen': (1.0, 2.0, 3.0)}
    rows = [
        {'iter': 5 * k, 'kind': 'validation', 'subset': 'full', **{s: v[k] for s, v in scores.items()}}
        for k in range(3)
    ]
    table = demo.make_table({'ResNet-50': History({}, rows)})
    assert [list(column.cells) for column in table.columns] == [
        ['ResNet-50', '', ''],
        ['all', 'seen', 'unseen'],
        ['11.0', '30.0', '1.0'],
        ['6.0', '20.0', '1.0'],
        ['5', '5', '0'],  # the unseen classes never fell: the lowest is iteration 0
        ['10', 'not yet', '-'],
        ['12.0', '25.0', '3.0'],
        ['12.0', '30.0', '3.0'],
    ]


@pytest.mark.parametrize(
    ('arguments', 'gpu', 'jobs'),
    [
        ([], False, 2),
        (['--backbones', 'ResNet-50'], False, 1),
        (['--jobs', '3'], False, 3),
        (['--cluster', 'local'], False, None),
        ([], True, None),
    ],
)
def test_as_many_at_a_time_as_cores(load_tool, monkeypatch, arguments, gpu, jobs):
    monkeypatch.setattr(demo, 'usable_cores', lambda: 2)
    monkeypatch.setattr(demo.torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.setattr('sys.argv', ['demo.py', *arguments])
    assert demo.runs_at_a_time(load_tool('demo').parse_args()) == jobs
