"""The parts of the demonstration."""

import pytest

from mmseg_deeplab_study.studies import demo


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
