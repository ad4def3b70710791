"""The cost of training to an iteration, by hand."""

import pytest

from mmseg_deeplab_study.evaluation.costs import training_cost

HEADER = {
    'config': {'train_dataloader': {'batch_size': 4}},
    'world_size': 2,
    'model': {'multiply_adds': 7, 'training': {'input': [64, 64], 'multiply_adds': 1000}},
}


def test_cost():
    # 30 * 4 * 2 = 240 images; 30 * 0.5 s; 3 * 240 * 1000
    assert training_cost(HEADER, 30, 0.5) == (240, 15.0, 720_000)
    assert training_cost(HEADER, 0, 0.5) == (0, 0.0, 0)


@pytest.mark.parametrize(
    ('changes', 'iteration', 'seconds', 'expected'),
    [
        ({}, None, 0.5, (None, None, None)),  # never reached
        ({}, 30, None, (240, None, 720_000)),  # no logs
        ({'model': {'multiply_adds': 7}}, 30, 0.5, (240, 15.0, None)),  # an older record
        ({'model': {'training': {'multiply_adds': None}}}, 30, 0.5, (240, 15.0, None)),
        ({'model': None}, 30, 0.5, (240, 15.0, None)),
        ({'world_size': None}, 30, 0.5, (None, 15.0, None)),
        ({'config': None}, 30, 0.5, (None, 15.0, None)),
        # batches by a sampler of its own
        ({'config': {'train_dataloader': {'batch_sampler': {}}}}, 30, 0.5, (None, 15.0, None)),
    ],
)
def test_what_is_not_known(changes, iteration, seconds, expected):
    assert training_cost({**HEADER, **changes}, iteration, seconds) == expected
