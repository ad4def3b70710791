"""What experiments are called."""

from pathlib import Path

import pytest

from mmseg_deeplab_study.report.analysis import analyse
from mmseg_deeplab_study.report.runs import RunFolder, name_runs
from mmseg_deeplab_study.runs.history import History


def called(experiments: dict[str, str]) -> list[tuple[str, str]]:
    """Label and name of the groups of runs, given the folder of each run and its experiment."""
    runs = {}
    for name, path in zip(name_runs(list(map(Path, experiments))), experiments, strict=True):
        digests = dict.fromkeys(('source_checkpoint', 'validation', 'train'), {'digest': 'd'})
        header = {
            'config_digest': experiments[path],
            'seed': len(runs),
            'target_classes': ['road'],
            **digests,
        }
        row = {'iter': 0, 'kind': 'validation', 'subset': 'full', 'mIoU': 9.0}
        runs[name] = RunFolder(Path(path), History(header, [row]))
    return [(group.label, group.name) for group in analyse(runs).groups]


@pytest.mark.parametrize(
    ('experiments', 'expected'),
    [
        (
            {'/s/x1/new/seed0': 'a', '/s/x1/old/seed0': 'b', '/s/x1/new/seed1': 'a', '/s/x1/old/seed1': 'b'},
            [('new', 'mean of new'), ('old', 'mean of old')],
        ),
        (
            {'/s/x1/new/seed0': 'a', '/s/x2/new/seed0': 'b', '/s/x2/new/seed12': 'b'},
            [('x1/new', 'x1/new'), ('x2/new', 'mean of x2/new')],
        ),
        ({'/s/x1/seed0': 'a', '/s/x1/seed1': 'a'}, [('x1', 'mean of x1')]),
        # Of no study, of two folders, of one folder with two experiments: as the runs are called.
        ({'/s/first': 'a', '/s/seed1': 'a'}, [('first and 1 more', 'mean of first, seed1')]),
        (
            {'/s/x1/seed0': 'a', '/s/x2/seed0': 'a'},
            [('x1/seed0 and 1 more', 'mean of x1/seed0, x2/seed0')],
        ),
        (
            {'/s/x1/seed0': 'a', '/t/x1/seed0': 'b', '/s/x1/seed1': 'c'},
            [('s/x1/seed0', 's/x1/seed0'), ('x1', 'x1'), ('seed1', 'seed1')],
        ),
        ({'/s/seed0': 'a'}, [('seed0', 'seed0')]),
    ],
)
def test_an_experiment_is_called_as_in_its_study(experiments, expected):
    assert called(experiments) == expected
