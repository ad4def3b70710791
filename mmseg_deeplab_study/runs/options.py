"""What overrides a config: one form for it, and what cannot be meant."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from inspect import signature
from typing import Any

import mmengine.registry
import mmseg.registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from ..log import warn

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
_warn = cache(warn)  # once of each option
# Classes by their registered name: a look-up in each registry takes a while.
_found: dict[str, list[Any]] = {}


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
    """Merge what overrides a config of the file ``config``, nested or by dotted key.

    Raises as ``check_options``; ValueError, too, if an option does not fit, such as a part of a number.
    """
    check_options(flatten(options), config, cfg.to_dict())
    before = Config(cfg.to_dict())
    try:
        # All at once, as --cfg-options of MMSeg's tools. MMEngine takes _delete_ out of what it merges.
        cfg.merge_from_dict(deepcopy(dict(options)))
    except (KeyError, TypeError, IndexError) as error:
        for key, value in options.items():
            try:
                before.merge_from_dict({key: deepcopy(value)})
            except (KeyError, TypeError, IndexError) as reason:
                text = reason.args[0] if reason.args else reason
                raise ValueError(f'option {key!r} does not fit {config}: {text}') from reason
        raise ValueError(f'the options do not fit {config}: {error}') from error


def check_options(options: Mapping[str, Any], config: str, content: Mapping[str, Any]) -> None:
    """Refuse, by ValueError, options that MMEngine would take and nothing would read, by dotted key.

    What the ``content`` of the file ``config`` has may be overridden, as code of the user's own may read it;
    but not a variable whose value was put into its places when the config was read.
    """
    known = KNOWN_KEYS
    if 'data_preprocessor' in (content.get('model') or {}):
        # MMEngine takes the model's, and that of the whole only where there is none.
        known = known - {'data_preprocessor'}
    # Parts and not variables.
    parts = list(places_of({part: content[part] for part in content if part in known}))
    for key in options:
        first = key.split('.')[0]
        named = [place for place, _ in parts if place.split('.')[-1] == first]
        if first not in known and first not in content:
            unknown = f'option {key!r}: no part of a config is called {first!r}'
            if near := [*named, *_near(first, {*known, *content})]:
                raise ValueError(f'{unknown}; did you mean {near[0]!r}?')
            _warn(f'{unknown}, and {config} has no {first!r} either: only code of your own can read it')
            continue
        if first not in known:
            value = content[first]
            # A number or a flag can be the same by chance.
            if value and isinstance(value, str | dict | list | tuple):
                named += [place for place, other in parts if other == value and place not in named]
            if named:
                raise ValueError(
                    f'option {key!r}: {first!r} is a variable of {config}, whose value is in its places '
                    f'already; name the place: {", ".join(named)}'
                )
            _warn(f'option {key!r}: {first!r} is a variable of {config}: only code of your own can read it')
        _check_spelling(key, config, content)


def places_of(node: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Dotted keys of all that is in a config, and their values."""
    if isinstance(node, list | tuple):
        node = dict(enumerate(node))
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f'{prefix}{key}', value
        yield from places_of(value, f'{prefix}{key}.')


def _check_spelling(key: str, config: str, node: Any) -> None:
    """Refuse a new key that is nearly one that is there, if its class does not take it; else warn.

    MMEngine would take both.
    """
    parts = key.split('.')
    for depth, part in enumerate(parts):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
            continue
        if not isinstance(node, dict):
            return  # a value, of which merging says what is wrong
        if part not in node:
            taken = _taken('.'.join(parts[:depth]), node)
            if depth == 0 or part in (taken or ()):
                return
            if near := _near(part, {*map(str, node), *(taken or ())}):
                text = f'option {key!r}: {config} has no {part!r}, but {near[0]!r}'
                if taken is not None:
                    raise ValueError(text)
                _warn(f'{text}; is that what is meant?')
            return
        node = node[part]


def _taken(name: str, node: Mapping[str, Any]) -> set[str] | None:
    """What is read of a config's part at the key ``name``: by its class, or MMEngine; None if unknown."""
    kinds = classes_of_part(name, node)
    found = [parameters_of(kind) for kind in kinds or ()]
    return set().union(*found) if found and None not in found else None


def classes_of_part(name: str, node: Mapping[str, Any]) -> list[Any] | None:
    """The classes or functions that a config's part at the key ``name`` is for; None if unknown."""
    if 'type' in node:
        return classes_of(node['type'])
    if name == 'train_cfg':
        return [IterBasedTrainLoop, EpochBasedTrainLoop, lambda by_epoch: None]
    if name == 'randomness':
        return [Runner.set_randomness]
    if name.endswith('dataloader'):
        return [DataLoader, Runner.build_dataloader]
    return None


def classes_of(kind: Any) -> list[Any]:
    """The classes or functions of a name, in whichever registries have it."""
    if not isinstance(kind, str):
        return [kind]
    if kind in _found:
        return _found[kind]
    # All of MMEngine's registries, in MMSegmentation's scope, which looks into its parents too.
    known = {**vars(mmengine.registry), **vars(mmseg.registry)}
    registries = [value for value in known.values() if isinstance(value, Registry)]
    found = []
    for registry in registries:
        with contextlib.suppress(Exception):  # a scope that is not installed, say
            found.append(registry.get(kind))
    if found := list(dict.fromkeys(kind for kind in found if kind is not None)):
        # Of a name that nothing has, something may be registered later.
        _found[kind] = found
    return found


def initialisers(kind: Any) -> list[Any]:
    """What is called with a part's values: a function, or ``__init__`` of a class and its bases."""
    if not isinstance(kind, type):
        return [kind]
    return [vars(base)['__init__'] for base in kind.__mro__ if '__init__' in vars(base)]


def parameters_of(kind: Any) -> set[str] | None:
    """Names of what a class takes, with what it hands on to its bases; None if that is not to be seen."""
    names: set[str] = set()
    for function in initialisers(kind):
        if function is object.__init__:
            return None
        try:
            parameters = signature(function).parameters.values()
        except (TypeError, ValueError):
            return None
        names |= {parameter.name for parameter in parameters}
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            return names
    return None


def _near(part: str, names: Iterable[str]) -> list[str]:
    """The name that a part may be a misspelling of, if any."""
    near = get_close_matches(part, names, n=1, cutoff=0.85)
    return [name for name in near if not _are_two_names(part, name)]


def _are_two_names(one: str, other: str) -> bool:
    """Whether names are alike because one is the other with a word more, or with another number."""
    ours, theirs = set(one.split('_')), set(other.split('_'))
    return re.sub(r'\d', '', one) == re.sub(r'\d', '', other) or ours < theirs or theirs < ours
