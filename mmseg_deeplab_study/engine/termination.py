"""SIGTERM as a request to save a checkpoint and end."""

import multiprocessing.util
import os
import signal
import threading
import time
from types import FrameType

from mmengine.dist import get_world_size

# One request may come as two signals: `timeout` sends its command one, and its process group another.
_ONE_REQUEST = 1.0  # seconds


def obey_parent_alone() -> None:
    """In a forked child: let SIGTERM pass, unless the parent sends it, as to end a data loader's worker.

    What ends a whole process group, as `timeout` and SLURM do, would take the workers from a run that is to
    save a checkpoint first. Ctrl-C needs no such thing: a run ends by it without one.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


class TerminationRequest:
    """Whether SIGTERM has come, from ``expect`` to ``expect_no_more``; true or false.

    Only in the main thread of a run in one process. While this lives, forked children obey only
    their parent.
    """

    def __init__(self) -> None:
        self._came_at: float | None = None
        is_main_thread = threading.current_thread() is threading.main_thread()
        self._is_alone = get_world_size() == 1 and is_main_thread
        if self._is_alone and hasattr(signal, 'sigwaitinfo'):
            multiprocessing.util.register_after_fork(self, lambda request: obey_parent_alone())

    def __bool__(self) -> bool:
        return self._came_at is not None

    def expect(self) -> None:
        """Note SIGTERM instead of ending by it."""
        if self._is_alone:
            previous = signal.signal(signal.SIGTERM, self._note)
            if isinstance(owner := getattr(previous, '__self__', None), TerminationRequest):
                # Of a run in this process that ended with an error.
                previous = owner._previous
            self._previous = previous or signal.SIG_DFL

    def expect_no_more(self) -> None:
        """Have SIGTERM do again what it did before."""
        if signal.getsignal(signal.SIGTERM) == self._note:
            signal.signal(signal.SIGTERM, self._previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._came_at is None:
            self._came_at = now
        elif now - self._came_at > _ONE_REQUEST:
            # A second request ends at once, whatever training is waiting for.
            signal.signal(signal.SIGTERM, self._previous)
            signal.raise_signal(signal.SIGTERM)
