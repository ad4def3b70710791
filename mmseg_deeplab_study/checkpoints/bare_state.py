"""The state dict inside what a training script saves."""

import re
from collections.abc import Mapping
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from .safe_loading import load_plain

# Keys that scripts save a state dict under: VainF's, PyTorch's tutorials', MMEngine's, torchvision's.
WRAPPERS = ('model_state', 'model_state_dict', 'state_dict', 'model')
# Modules that torch puts around a model or parts of it: torch.compile, FSDP, activation checkpointing.
_WRAPPED = re.compile(r'(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')
# DataParallel and AveragedModel wrap the whole model: a part of it may be called `module`.
_LEADING = re.compile(r'^(?:module\.)+')
# What AveragedModel and MMEngine's averages count beside the weights.
_COUNTERS = ('n_averaged', 'steps')


def bare_name(name: str) -> str:
    """A weight's name in the model itself, without wrappers in any order."""
    return _LEADING.sub('', _WRAPPED.sub('', name))


def bare_state(checkpoint: Any) -> dict[str, Any]:
    """The state dict of a checkpoint, under the model's own names; ValueError without one."""
    state = checkpoint
    while isinstance(state, Mapping):
        inner = next((state[key] for key in WRAPPERS if isinstance(state.get(key), Mapping)), None)
        if inner is None:
            break
        state = inner
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise ValueError(f'expected a state dict, got {type(state).__name__}')
    named = ((bare_name(key), value) for key, value in state.items())
    return {name: value for name, value in named if name not in _COUNTERS}


def unwrap(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Make a checkpoint fit for MMEngine, in place; return its state dict; raises as ``bare_state``.

    What is bare already is left as it is, and so is all beside the state dict.
    """
    state = bare_state(checkpoint)
    if any(isinstance(checkpoint.get(key), Mapping) for key in WRAPPERS):
        if list(state) != list(checkpoint.get('state_dict', ())):
            checkpoint['state_dict'] = state
        return checkpoint['state_dict']
    if list(state) != list(checkpoint):
        checkpoint.clear()
        checkpoint.update(state)
    return checkpoint


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a file in place of MMEngine's loader, wherever it reads one; raises as ``load_plain``.

    MMEngine 0.10.7 refuses the options of a training script, and knows no key but ``state_dict`` and no
    prefix but ``module.``.
    """
    checkpoint = load_plain(filename, map_location)
    if isinstance(checkpoint, dict) and all(isinstance(key, str) for key in checkpoint):
        unwrap(checkpoint)
    return checkpoint
