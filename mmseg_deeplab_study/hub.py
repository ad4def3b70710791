"""The configs of this package by name, wherever it is installed."""

from difflib import get_close_matches
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

_MIM = Path(__file__).parent / '.mim'
CONFIGS = _MIM / 'configs'
TOOLS = _MIM / 'tools'


def config_path(name: str) -> str:
    """The file of a config: ``'deeplabv3/LEAF.py'``, a base as ``'_base_/adaptation.py'``, or a bare name.

    MMEngine evaluates what follows ``_base_ =``, so a config elsewhere can inherit from ours (docs/reuse.md):
    ``_base_ = __import__('mmseg_deeplab_study').config_path('_base_/adaptation.py')``. FileNotFoundError
    names the nearest.
    """
    path = CONFIGS / name
    if path.is_file():
        return str(path)
    names = {file.relative_to(CONFIGS).as_posix(): file for file in CONFIGS.rglob('*.py')}
    found = [file for file in names.values() if file.stem == name.removesuffix('.py')]
    if len(found) == 1:
        return str(found[0])
    near = get_close_matches(name, [*names, *(file.stem for file in names.values())], n=1, cutoff=0)
    raise FileNotFoundError(
        f'{name!r} is none of the {len(names)} configs of this package; the nearest is {near[0]!r}'
    )


def get_config(name: str) -> Config:
    """Read a config of this package; FileNotFoundError as ``config_path``."""
    return Config.fromfile(config_path(name))


def get_model(name: str, checkpoint: str, device: str | torch.device = 'cpu') -> nn.Module:
    """Build a config's model for inference, with a checkpoint of any format we read, whole or not at all.

    Raises as ``config_path`` and ``inference.trained_model.load_model``.
    """
    # Not needed to find a config, which is what most ask this module for.
    from .inference.trained_model import load_model

    return load_model(get_config(name), checkpoint).to(device)
