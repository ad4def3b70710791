"""What a checkpoint holds, as tensors and plain data, which load without unpickling anything else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_BUFFER = '_history_buffer'


def to_plain(value: Any, warn: Callable[[str], None]) -> Any:
    """Copy nested data with numpy's values as Python's or as tensors, and history buffers as dicts.

    What cannot be put plainly becomes None, of which ``warn`` is told.
    """
    # By exact type: a subclass, such as np.float64 of float, would be pickled as itself.
    if value is None or type(value) in (bool, int, float, str, bytes) or isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy()) if value.dtype.kind in 'biuf' else value.tolist()
    if isinstance(value, HistoryBuffer):
        log, count = (torch.from_numpy(np.array(data, np.float64)) for data in value.data)
        return {_BUFFER: {'log': log, 'count': count, 'max_length': value.max_length}}
    if isinstance(value, dict):
        return {key: to_plain(item, warn) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [to_plain(item, warn) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    warn(f'left out of the checkpoint, because not plain data: {type(value)}')
    return None


def rebuild_buffers(value: Any) -> Any:
    """Undo what ``to_plain`` does to history buffers."""
    if isinstance(value, dict) and _BUFFER in value:
        data = value[_BUFFER]
        return HistoryBuffer(data['log'].tolist(), data['count'].tolist(), data['max_length'])
    if isinstance(value, dict):
        return {key: rebuild_buffers(item) for key, item in value.items()}
    return value
