"""What overrides a config: one form for it, and what cannot be meant."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from inspect import signature
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

# What is read of a config: the parameters of MMEngine's Runner, and what it, its kin and our tools look for
# besides.
KNOWN_KEYS = {
    *signature(Runner.__init__).parameters,
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
} - {'self', 'cfg'}


def flatten(options: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Nested options by dotted key, as ``--cfg-options`` names them."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, dict) and value and '_delete_' not in value:
            flat |= flatten(value, f'{prefix}{key}.')
        else:
            flat[f'{prefix}{key}'] = value
    return flat


def merge_options(cfg: Config, options: Mapping[str, Any], config: str) -> None:
    """Merge into a config what overrides it, nested or by dotted key; ``config`` is its file's name.

    Raises:
        ValueError: as ``check_options``; or an option does not fit, such as a part of a number.
    """
    check_options(flatten(options), config, cfg.to_dict())
    try:
        # MMEngine takes _delete_ out of what it merges.
        cfg.merge_from_dict(deepcopy(dict(options)))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f'an option does not fit {config}: {error}') from error


def check_options(options: Mapping[str, Any], config: str, content: Mapping[str, Any]) -> None:
    """Refuse options that MMEngine would take and nothing would read.

    What the config has itself may be overridden, as code of the user's own may read it; but not a variable
    whose value was put into its places when the config was read.

    Args:
        options: by dotted key.
        config: the file name of the config.
        content: what is in it.

    Raises:
        ValueError: names the option, and what to give instead.
    """
    known = KNOWN_KEYS
    if 'data_preprocessor' in (content.get('model') or {}):
        # MMEngine takes the model's, and that of the whole only where there is none.
        known = known - {'data_preprocessor'}
    # Parts and not variables.
    places = list(_places({part: content[part] for part in content if part in known}))
    for key in options:
        first = key.split('.')[0]
        named = [place for place, _ in places if place.split('.')[-1] == first]
        if first not in known and first not in content:
            near = [*named, *get_close_matches(first, {*known, *content}, n=1)]
            hint = f'; did you mean {near[0]!r}?' if near else f', and {config} has no {first!r} either'
            raise ValueError(f'option {key!r}: no part of a config is called {first!r}{hint}')
        if first not in known:
            value = content[first]
            # A number or a flag can be the same by chance.
            if value and isinstance(value, str | dict | list | tuple):
                named += [place for place, other in places if other == value and place not in named]
            if named:
                raise ValueError(
                    f'option {key!r}: {first!r} is a variable of {config}, whose value is in its places '
                    f'already; name the place: {", ".join(named)}'
                )
        _check_spelling(key, config, content)


def _places(node: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Dotted keys of all that is in a config, and their values."""
    if isinstance(node, list | tuple):
        node = dict(enumerate(node))
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f'{prefix}{key}', value
        yield from _places(value, f'{prefix}{key}.')


def _check_spelling(key: str, config: str, node: Any) -> None:
    """Refuse a new key that is nearly one that is there: MMEngine would take both."""
    for depth, part in enumerate(key.split('.')):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
            continue
        if not isinstance(node, dict):
            return  # a value, of which merging says what is wrong
        if part not in node:
            near = get_close_matches(part, map(str, node), n=1, cutoff=0.85) if depth else []
            if near and not _are_two_names(part, near[0]):
                raise ValueError(f'option {key!r}: {config} has no {part!r}, but {near[0]!r}')
            return
        node = node[part]


def _are_two_names(one: str, other: str) -> bool:
    """Whether names are alike because one is the other with a word more, or with another number."""
    words = one.split('_'), other.split('_')
    return re.sub(r'\d', '', one) == re.sub(r'\d', '', other) or bool(
        set(words[0]) < set(words[1]) or set(words[1]) < set(words[0])
    )
