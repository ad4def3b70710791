"""What training to an iteration has cost, by the header of its record."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple


class TrainingCost(NamedTuple):
    """Images seen, seconds of the machine and multiply-adds; None where a part is not known."""

    images: int | None
    seconds: float | None
    multiply_adds: int | None


def training_cost(
    header: Mapping[str, Any], iteration: int | None, iteration_seconds: float | None
) -> TrainingCost:
    """Compute what the iterations up to ``iteration`` have cost::

        images        = iterations x batch size x processes
        seconds       = iterations x mean seconds of an iteration
        multiply_adds = 3 x images x those of the forward pass of a training image

    Validations are not in it. A backward pass takes about two forward passes, less where weights are frozen.
    Source: Kaplan et al., Scaling Laws for Neural Language Models, 2020, section 2.1, arXiv 2001.08361.
    """
    batch_size = ((header.get('config') or {}).get('train_dataloader') or {}).get('batch_size')
    images = _product(iteration, batch_size, header.get('world_size'))
    forward = ((header.get('model') or {}).get('training') or {}).get('multiply_adds')
    return TrainingCost(images, _product(iteration, iteration_seconds), _product(3, images, forward))


def _product(*factors: float | None) -> float | None:
    return None if None in factors else math.prod(factors)
