"""What a runner is asked about its resume is what MMEngine sets."""

from mmengine.runner import Runner

from mmseg_deeplab_study.runs.resuming import is_resumed, is_resuming, loaded_from, resume_from


def test_resume_from_another_checkpoint_than_load_from(make_config, tiny_cityscapes, tmp_path):
    cfg = make_config(tiny_cityscapes(), tmp_path / 'work')
    cfg.load_from = 'source.pth'
    runner = Runner.from_cfg(cfg)
    assert (is_resuming(runner), is_resumed(runner), loaded_from(runner)) == (False, False, 'source.pth')
    resume_from(runner, tmp_path / 'iter_5.pth')
    assert (is_resuming(runner), loaded_from(runner)) == (True, str(tmp_path / 'iter_5.pth'))
    assert not is_resumed(runner)  # nothing is loaded yet
    assert runner.cfg.load_from == 'source.pth'
