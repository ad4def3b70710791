import multiprocessing
import signal
import subprocess

import pytest

from mmseg_deeplab_study.engine import termination
from mmseg_deeplab_study.engine.termination import TerminationRequest

pytestmark = pytest.mark.usefixtures('kept_sigterm_handler')


def test_a_second_request_ends_at_once_and_a_second_signal_of_one_does_not(monkeypatch):
    calls, times = [], iter((10.0, 11.0, 11.1))
    signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    monkeypatch.setattr(termination.time, 'monotonic', lambda: next(times))
    request = TerminationRequest()
    request.expect()
    assert not request
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert request and not calls
    signal.raise_signal(signal.SIGTERM)
    assert calls == [signal.SIGTERM]


def test_what_sigterm_did_before_is_not_what_a_failed_run_left():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    TerminationRequest().expect()
    request = TerminationRequest()
    request.expect()
    request.expect_no_more()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_a_worker_ends_by_its_parent_alone():
    request = TerminationRequest()  # noqa: F841 (for as long as it lives)
    fork = multiprocessing.get_context('fork')
    ready, done = fork.Event(), fork.Event()
    worker = fork.Process(target=lambda: (ready.set(), done.wait()), daemon=True)
    worker.start()
    assert ready.wait(20)
    subprocess.run(['sh', '-c', f'kill -TERM {worker.pid}'], check=True)
    worker.join(0.1)
    assert worker.is_alive()
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0
