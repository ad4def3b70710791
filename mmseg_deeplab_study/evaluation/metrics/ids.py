"""Ids of classes as metrics get them, and what is refused of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

IDS = 256  # of uint8, as MMSeg reads label maps


def check_ids(num_classes: int, ignore_index: int) -> None:
    """Refuse what labels of 8 bits cannot hold.

    Raises:
        ValueError: more than 256 classes, or an ``ignore_index`` that is not of 8 bits.
    """
    if num_classes > IDS:
        raise ValueError(f'can count at most {IDS} classes, but got {num_classes}')
    if not 0 <= ignore_index < IDS:
        raise ValueError(f'ignore_index must be in [0, {IDS - 1}], an 8-bit label, but got {ignore_index}')


def to_uint8(ids: Tensor, name: str, num_classes: int, ignore_index: int) -> np.ndarray:
    """Ids as an array in uint8 and of the same shape; uint8 on the CPU without a copy.

    Raises:
        ValueError: an id is not of 8 bits; ``name`` says what they are.
    """
    if ids.dtype != torch.uint8:
        low, high = (int(ids.min()), int(ids.max())) if ids.numel() else (0, 0)
        if not 0 <= low <= high < IDS:
            raise ValueError(outside(name, num_classes, ignore_index, low, high))
    return ids.to('cpu', torch.uint8).numpy()


def outside(name: str, num_classes: int, ignore_index: int, low: int, high: int) -> str:
    """What an error says of ids outside of their label space."""
    return f'{name} ids must be in [0, {num_classes - 1}] or {ignore_index}, but got {low} to {high}'


def maps_of(sample: Mapping[str, Any], predictions: str) -> tuple[Tensor, Tensor]:
    """Prediction and label (H, W) of a data sample as an Evaluator hands it to a metric.

    Raises:
        ValueError: it has no such predictions, or no label.
    """
    for name, hint in (
        (
            predictions,
            'the model has no test_cfg.crf' if predictions != 'pred_sem_seg' else 'nothing predicted',
        ),
        ('gt_sem_seg', 'the pipeline has no LoadAnnotations, or the images no labels'),
    ):
        if name not in sample:
            raise ValueError(f'{sample.get("img_path")}: no {name} to count: {hint}')
    return tuple(sample[name]['data'].squeeze(0) for name in (predictions, 'gt_sem_seg'))
