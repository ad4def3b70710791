import signal
from collections.abc import Iterator

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger


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


@pytest.fixture
def config(tiny_cityscapes, make_config, tmp_path) -> Config:
    """Of a tiny run, whose work_dir is ``tmp_path / 'work'``."""
    return make_config(tiny_cityscapes(), tmp_path / 'work')
