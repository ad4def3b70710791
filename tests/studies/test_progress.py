"""How long a study still takes."""

import time

from mmseg_deeplab_study.studies.progress import TimeLeft, follow
from mmseg_deeplab_study.studies.state import RunState


def test_the_time_left_is_by_iterations_of_runs_that_go_on(monkeypatch):
    moments = iter([100, 110, 120, 130])
    monkeypatch.setattr(time, 'monotonic', lambda: next(moments))
    left = TimeLeft()
    waiting, failed = RunState('waiting', max_iters=60), RunState('failed', 5, 100)
    assert left.text({'a': RunState('running', 10, 60), 'b': waiting, 'c': failed}) == ''
    assert left.text({'a': RunState('running', 10, 60), 'b': waiting}) == ''
    # 20 iterations in 20 s; 90 of 120 are left
    assert left.text({'a': RunState('running', 30, 60), 'b': waiting}) == ', about 1:30 min left'
    assert left.text({'a': RunState('done', None, 60), 'b': RunState('done', 60, 60)}) == ''


def test_a_line_says_how_many_runs_are_done(capsys):
    states = {'a': RunState('done', 60, 60, 12.3), 'b': RunState('waiting', max_iters=60)}
    follow([states], 'study')
    assert capsys.readouterr().out == 'a: done, iteration 60/60, mIoU 12.3\n1 of 2 runs done\n'
