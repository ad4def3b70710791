"""Checkpoints of tensors and plain data, which load without unpickling anything else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import Runner
from mmseg.registry import HOOKS

_BUFFER = '_history_buffer'


def to_plain(value: Any, drop: Callable[[Any], None]) -> Any:
    """Copy nested data with numpy's values as Python's or as tensors, and history buffers as dicts.

    What cannot be put plainly becomes None, and ``drop`` is told of it.
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
        return {key: to_plain(item, drop) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [to_plain(item, drop) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    drop(value)
    return None


def rebuild_buffers(value: Any) -> Any:
    """Undo what ``to_plain`` does to history buffers."""
    if isinstance(value, dict) and _BUFFER in value:
        data = value[_BUFFER]
        return HistoryBuffer(data['log'].tolist(), data['count'].tolist(), data['max_length'])
    if isinstance(value, dict):
        return {key: rebuild_buffers(item) for key, item in value.items()}
    return value


def keep_to_own_folder(hook: CheckpointHook, hub: MessageHub) -> None:
    """Have a resumed run's ``CheckpointHook`` replace checkpoints in the folder it saves to, and in no other.

    MMEngine 0.10.7 restores whole paths, the best checkpoint's among them, which it deletes once there is a
    better one: in a copied run that of the original.
    """

    def own(path: str) -> str:
        return hook.file_backend.join_path(hook.out_dir, Path(path).name)

    for key, path in list(hub.runtime_info.items()):
        if path and (key == 'last_ckpt' or key.startswith('best_ckpt')):
            hub.update_info(key, own(path))
    # It has one or the other, by how many scores it looks at.
    if path := getattr(hook, 'best_ckpt_path', None):
        hook.best_ckpt_path = own(path)
    for key, path in getattr(hook, 'best_ckpt_path_dict', {}).items():
        hook.best_ckpt_path_dict[key] = path and own(path)


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Keep checkpoints free of what torch, since 2.6, refuses to load.

    MMEngine 0.10.7 puts history buffers and numpy scalars into a checkpoint, and cannot load it again
    (open-mmlab/mmengine issue 1655), neither to resume nor as another run's ``load_from``. This hook turns
    them into tensors and numbers when saving and rebuilds the buffers when loading; and it has a copied run
    keep to its own folder, whatever paths its checkpoints have. It can go when MMEngine saves plain data, and
    names without folders, itself.
    """

    priority = 'LOWEST'  # what other hooks add is made plain too

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        def drop(value: Any) -> None:
            runner.logger.warning(f'left out of the checkpoint, because not plain data: {type(value)}')

        for key in checkpoint:
            if key != 'state_dict':
                checkpoint[key] = to_plain(checkpoint[key], drop)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if 'message_hub' in checkpoint:
            checkpoint['message_hub'] = rebuild_buffers(checkpoint['message_hub'])

    def before_train(self, runner: Runner) -> None:
        # After CheckpointHook's own, which has read the paths.
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                keep_to_own_folder(hook, runner.message_hub)
