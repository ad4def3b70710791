import signal
from collections.abc import Iterator

import pytest
import torch
from mmengine.logging import MMLogger


@pytest.fixture(autouse=True, scope='module')
def quick_start() -> Iterator[None]:
    """Threads wait for one another, which costs more than a tiny run. For the module, because what has been
    trained once lives as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def kept_sigterm_handler() -> Iterator[None]:
    """A run that ends by SIGTERM leaves its handler, because its process ends with it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    """What any run's logger warns of."""
    messages, handle = [], MMLogger.handle

    def keep(self, record) -> None:
        if record.levelname == 'WARNING':
            messages.append(record.getMessage())
        handle(self, record)

    monkeypatch.setattr(MMLogger, 'handle', keep)
    return messages
