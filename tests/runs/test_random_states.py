"""The states of random generators, there and back again."""

import random
from pathlib import Path

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
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.standard_normal(),
        torch.rand(1).item(),
        torch.randn(1).item(),
    ]


def through_a_file(states: dict, path: Path) -> dict:
    torch.save({'random_states': [states]}, path)
    return torch.load(path, weights_only=True)['random_states'][0]


@pytest.mark.parametrize('drawn_before', [0, 1, 2, 700])
def test_states_come_back_from_a_file_of_plain_data(tmp_path, drawn_before):
    for _ in range(drawn_before):
        draw()
    states = through_a_file(random_states(), tmp_path / 'states.pth')
    # An odd number of normal draws leaves one cached.
    assert states['numpy'][3] == drawn_before % 2
    expected = [draw() for _ in range(700)]
    restore_random_states(states)
    assert [draw() for _ in range(700)] == expected


def test_cached_normal_draws_come_back_although_they_are_used_up_by_then():
    random.gauss(0, 1)
    np.random.standard_normal()
    states = random_states()
    expected = random.gauss(0, 1), np.random.standard_normal()
    restore_random_states(states)
    assert (random.gauss(0, 1), np.random.standard_normal()) == expected


def test_states_are_not_changed_by_drawing_or_restoring():
    states = random_states()
    expected = draw()
    for _ in range(2):
        restore_random_states(states)
        assert draw() == expected


def test_taking_them_draws_nothing():
    expected = draw()
    seed()
    random_states()
    assert draw() == expected


def test_states_are_those_of_the_generators_that_the_seed_sets():
    states = random_states()
    assert states['python'] == random.Random(1).getstate()
    assert states['torch'].equal(torch.Generator().manual_seed(3).get_state())
    keys = np.random.RandomState(2).get_state()[1]
    np.testing.assert_array_equal(states['numpy'][1].numpy(), keys)


def test_whatever_is_drawn_inside_is_undone():
    expected = draw()
    seed()
    with kept_random_states():
        assert draw() == expected
        seed(97, 98, 99)
    assert draw() == expected


def test_an_exception_inside_undoes_it_too_and_goes_on():
    states = random_states()
    expected = draw()
    restore_random_states(states)
    with pytest.raises(KeyError, match='inside'), kept_random_states():
        draw()
        raise KeyError('inside')
    assert draw() == expected
