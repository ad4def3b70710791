"""The states of random generators, there and back again."""

import contextlib
import random

import numpy as np
import pytest
import torch

from mmseg_deeplab_study.runs.random_states import kept_random_states, random_states, restore_random_states


def seed(python: int = 1, numpy: int = 2, pytorch: int = 3) -> None:
    random.seed(python)
    np.random.seed(numpy)
    torch.manual_seed(pytorch)


@pytest.fixture(autouse=True)
def seeded() -> None:
    seed()


def draw() -> list[float]:
    """From every generator; gauss and normal keep the second number of a pair for the next call."""
    numpy, pytorch = [np.random.rand(), np.random.standard_normal()], [torch.rand(1), torch.randn(1)]
    return [random.random(), random.gauss(0, 1), *numpy, *(value.item() for value in pytorch)]


@pytest.mark.parametrize('drawn_before', [0, 1, 700])
def test_states_come_back_from_a_file_of_plain_data(tmp_path, drawn_before):
    for _ in range(drawn_before):
        draw()
    torch.save(random_states(), tmp_path / 'states.pth')
    states = torch.load(tmp_path / 'states.pth', weights_only=True)
    # An odd number of normal draws leaves one cached.
    assert states['numpy'][3] == drawn_before % 2
    expected = [draw() for _ in range(700)]
    for _ in range(2):
        restore_random_states(states)
        assert [draw() for _ in range(700)] == expected


@pytest.mark.parametrize('error', [None, KeyError])
def test_whatever_is_drawn_inside_is_undone_and_an_exception_goes_on(error):
    expected = draw()
    seed()
    with pytest.raises(error) if error else contextlib.nullcontext(), kept_random_states():
        assert draw() == expected
        seed(97, 98, 99)
        if error:
            raise error
    assert draw() == expected
