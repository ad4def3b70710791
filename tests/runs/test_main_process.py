"""What the main process finds, in one process and as seen from another."""

import pytest

from mmseg_deeplab_study.runs import main_process
from mmseg_deeplab_study.runs.main_process import from_main_process


def refuse() -> None:
    raise FileNotFoundError('no such file')


def test_alone_it_is_a_call():
    assert from_main_process(lambda: [1, 2]) == [1, 2]
    with pytest.raises(FileNotFoundError, match='^no such file$'):
        from_main_process(refuse)


@pytest.mark.parametrize('sent', [[[1, 2], None], [None, 'FileNotFoundError: no such file']])
def test_another_process_gets_what_was_sent(monkeypatch, sent):
    def receive(found: list) -> None:
        found[:] = sent

    monkeypatch.setattr(main_process, 'is_main_process', lambda: False)
    monkeypatch.setattr(main_process, 'broadcast_object_list', receive)
    if sent[1] is None:
        assert from_main_process(refuse) == [1, 2]
        return
    with pytest.raises(RuntimeError, match='^the main process has stopped: FileNotFoundError: no such file$'):
        from_main_process(refuse)
