"""Ids of classes as metrics get them, and which of them are refused."""

import numpy as np
import torch
from torch import Tensor

IDS = 256  # of uint8, as MMSeg reads label maps


def check_ids(num_classes: int, ignore_index: int) -> None:
    """Refuse what 8-bit labels cannot hold.

    Raises:
        ValueError: more than 256 classes, or an ``ignore_index`` of more than 8 bits.
    """
    if num_classes > IDS:
        raise ValueError(f'can count at most {IDS} classes, but got {num_classes}')
    if not 0 <= ignore_index < IDS:
        raise ValueError(f'ignore_index must be in [0, {IDS - 1}], an 8-bit label, but got {ignore_index}')


def to_uint8(ids: Tensor, name: str, num_classes: int, ignore_index: int) -> np.ndarray:
    """Ids as a uint8 array of the same shape; uint8 on the CPU is not copied.

    Raises:
        ValueError: an id of more than 8 bits; ``name`` says what the ids are.
    """
    if ids.dtype != torch.uint8:
        low, high = (int(ids.min()), int(ids.max())) if ids.numel() else (0, 0)
        if not 0 <= low <= high < IDS:
            raise ValueError(outside(name, num_classes, ignore_index, low, high))
    return ids.to('cpu', torch.uint8).numpy()


def outside(name: str, num_classes: int, ignore_index: int, low: int, high: int) -> str:
    """What an error says of ids outside their label space."""
    return f'{name} ids must be in [0, {num_classes - 1}] or {ignore_index}, but got {low} to {high}'
