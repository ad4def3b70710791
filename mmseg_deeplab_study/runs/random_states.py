"""The states of every random generator that training draws from, as plain data."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """States of Python's, NumPy's and torch's generators, and of the current CUDA device's if there is one.

    Tensors, numbers and tuples only, so that a checkpoint with them loads with ``weights_only=True``.
    """
    name, keys, position, has_gauss, cached = np.random.get_state()
    states = {
        'python': random.getstate(),
        'numpy': (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        'torch': torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states['cuda'] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Set the generators to what ``random_states`` returned."""
    version, internal, gauss = states['python']
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = states['numpy']
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    # Loading a checkpoint moves its tensors to the training device.
    torch.set_rng_state(states['torch'].cpu())
    if 'cuda' in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'].cpu())


@contextlib.contextmanager
def kept_random_states() -> Iterator[None]:
    """Leave the generators as they were, whatever is drawn inside."""
    states = random_states()
    try:
        yield
    finally:
        restore_random_states(states)
