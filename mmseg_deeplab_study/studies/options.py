"""What overrides a config in a study: one form for it, and what cannot be meant."""

from collections.abc import Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from mmengine.runner import Runner

# What the study itself says of each run, and where.
_TAKEN = {
    'randomness.seed': 'seeds',
    'work_dir': '--work-dir',
    'launcher': 'resources.gpus_per_node',
    'resume': 'nothing: a run that was cut short is resumed',
}
# Keys of a config that MMEngine reads without being parameters of its Runner.
_MORE_KEYS = ('sync_bn', 'model_wrapper_cfg', 'find_unused_parameters', 'custom_imports', 'tta_model')


def flatten(options: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Nested options by dotted key, as ``--cfg-options`` names them."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, dict) and value and '_delete_' not in value:
            flat |= flatten(value, f'{prefix}{key}.')
        else:
            flat[f'{prefix}{key}'] = value
    return flat


def check_options(
    name: str, options: Mapping[str, Any], config: str, content: Mapping[str, Any], has_source: bool
) -> None:
    """Refuse options of the run ``name`` that MMEngine would take, and that do nothing or not what they say.

    Args:
        options: by dotted key.
        config: the file name of the leaf config.
        content: what is in it.
        has_source: whether the study trains what the run starts from.

    Raises:
        ValueError: names the run, the option, and what to give instead.
    """
    known = {*signature(Runner.__init__).parameters, *_MORE_KEYS} - {'self', 'cfg'}
    for key in options:
        first = key.split('.')[0]
        if instead := _TAKEN.get(key) or _TAKEN.get(first):
            raise ValueError(f'run {name}: option {key!r}: the study says that by {instead}')
        if key == 'load_from' and has_source:
            raise ValueError(
                f"run {name}: option 'load_from': it starts from its source, which the study trains; to "
                f'leave that out give runs.{name.split("/")[0]}.source='
            )
        if first in content and first not in known:
            raise ValueError(
                f'run {name}: option {key!r}: {first!r} is a variable of {config}, whose value '
                'is in its places already; name the place, as in train_dataloader.dataset.data_root'
            )
        if first not in known:
            near = get_close_matches(first, known, n=1)
            hint = f'; did you mean {near[0]!r}?' if near else ''
            raise ValueError(f'run {name}: option {key!r}: no part of a config is called {first!r}{hint}')
        _check_spelling(name, key, config, content)


def _check_spelling(name: str, key: str, config: str, node: Any) -> None:
    """Refuse a new key that is nearly one that is there: MMEngine would take both."""
    for part in key.split('.'):
        if not isinstance(node, dict):
            return  # a list, or a value, of which merging says what is wrong
        if part not in node:
            if near := get_close_matches(part, map(str, node), n=1, cutoff=0.85):
                raise ValueError(f'run {name}: option {key!r}: {config} has no {part!r}, but {near[0]!r}')
            return
        node = node[part]
