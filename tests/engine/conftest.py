from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope='module')
def quick_start() -> Iterator[None]:
    """MMEngine has yapf format the config four times a run, and threads wait for one another, both of which
    cost more than a tiny run. For the module, because what has been trained once lives as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.config.FormatCode', lambda text, **_: (text, True))
        yield
    torch.set_num_threads(threads)
