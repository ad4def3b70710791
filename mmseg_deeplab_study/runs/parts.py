"""Parts of a config: those that cannot be meant, and the one that an error comes from."""

import inspect
import re
import traceback
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from types import FrameType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import mmengine.registry
from mmengine.config import Config
from mmengine.registry import Registry, build_from_cfg
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

from .options import KNOWN_KEYS, classes_of, classes_of_part, initialisers, parameters_of, places_of

# What builds a part of a config, by its code, and its variable that holds the part; or the part's own name.
_BUILDERS = {
    build_from_cfg.__code__: 'cfg',
    Runner.build_dataloader.__code__: 'dataloader',
    Runner.build_optim_wrapper.__code__: 'optim_wrapper',
}
_SETTINGS = {
    Runner.set_randomness.__code__: 'randomness',
    Runner.setup_env.__code__: 'env_cfg',
    Runner.build_logger.__code__: 'log_level',
    Runner.build_model.__code__: 'model',
    Runner.register_default_hooks.__code__: 'default_hooks',
    Runner.register_custom_hooks.__code__: 'custom_hooks',
    Runner._maybe_compile.__code__: 'compile',
}
# Kinds of annotation that no list fits, and no text.
_NUMBERS = {int, float, bool, NoneType, Tensor}
_NO_TEXT = {*_NUMBERS, list, tuple, dict}


def check_loops(cfg: Config) -> None:
    """Refuse, by ValueError, a loop's data without what is done with them, or vice versa."""
    for split in ('train', 'val', 'test'):
        third = 'optim_wrapper' if split == 'train' else f'{split}_evaluator'
        parts = (f'{split}_dataloader', f'{split}_cfg', third)
        missing = [part for part in parts if cfg.get(part) is None]
        if 0 < len(missing) < len(parts):
            there = [part for part in parts if part not in missing]
            raise ValueError(
                f'{" and ".join(missing)} missing, but the config has {" and ".join(there)}: give all three, '
                'or set all to None'
            )


def check_values(cfg: Config) -> None:
    """Refuse, by ValueError, values of a kind that their class would find amid training."""
    content = _parts(cfg)
    for place, part in places_of(content):
        if isinstance(part, Mapping):
            _refuse_text(place, part)
    interval = (content.get('train_cfg') or {}).get('val_interval', 1)
    if not isinstance(interval, int) or interval < 1:
        raise ValueError(f'train_cfg.val_interval must be at least 1, but got {interval}')


def unused_custom_keys(cfg: Config, parameters: Iterable[str]) -> list[str]:
    """Those of ``paramwise_cfg.custom_keys`` that are in no parameter's name."""
    wrapper, names = cfg.get('optim_wrapper') or {}, list(parameters)
    if wrapper.get('constructor') not in (None, 'DefaultOptimWrapperConstructor'):
        return []
    keys = (wrapper.get('paramwise_cfg') or {}).get('custom_keys') or ()
    return [key for key in keys if not any(key in name for name in names)]


def _refuse_text(place: str, part: Mapping[str, Any]) -> None:
    given = [key for key, value in part.items() if isinstance(value, str | list | tuple) and key != 'type']
    kinds = (classes_of_part(place, part) or []) if given else []
    for key in given:
        fitting = _NO_TEXT if isinstance(part[key], str) else _NUMBERS
        expected = [taken for kind in kinds if (taken := _kinds_taken(kind, key))]
        if expected and all(fitting.issuperset(taken) for taken in expected):
            names = ' or '.join('None' if kind is NoneType else kind.__name__ for kind in expected[0])
            raise ValueError(
                f'{place}.{key}={part[key]!r}: expected {names}, but got {type(part[key]).__name__}'
            )


@cache
def _kinds_taken(kind: Any, name: str) -> list[Any]:
    """The types that a class declares for one of its arguments; none if it has no such argument."""
    for function in initialisers(kind):
        try:
            if name in inspect.signature(function).parameters:
                hint = get_type_hints(function).get(name, Any)
                hints = get_args(hint) if get_origin(hint) in (Union, UnionType) else [hint]
                return list(dict.fromkeys(get_origin(hint) or hint for hint in hints))
        except (TypeError, ValueError, NameError):
            return [Any]
    return []


def name_part(error: BaseException) -> str | None:
    """Say of which part of the config, or which checkpoint, an error is; None if it is of none.

    One that was raised while a part was built names that part's key, as ``--cfg-options`` would, and for an
    unknown name or option what is meant, if that is near.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        if frame.f_code in _SETTINGS:
            return f'{_SETTINGS[frame.f_code]}: {error_text(error)}'
        if frame.f_code.co_name == '_load_checkpoint' and isinstance(frame.f_locals.get('filename'), str):
            name, text = frame.f_locals['filename'], error_text(error)
            said = name.rpartition('://')[2] in text and not isinstance(error, KeyError)
            return None if said else f'checkpoint {name}: {text}'
        part = frame.f_locals.get(_BUILDERS.get(frame.f_code))
        if isinstance(part, Mapping):
            return _describe(error, part, _place(part, frames))
    return None


def name_running_part(error: BaseException) -> str | None:
    """The key and class of the part of the config in whose method an error was raised; None if in none.

    Loops run all others, and our own code has messages of its own, but not what our classes inherit.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        owner = frame.f_locals.get('self')
        kind = type(owner)
        ours = frame.f_globals.get('__name__', '').startswith('mmseg_deeplab_study')
        if isinstance(owner, BaseLoop) or ours or not hasattr(owner, '__dict__'):
            continue
        plain = {key: value for key, value in vars(owner).items() if isinstance(value, str | float | int)}
        if (place := _place({**plain, 'type': kind.__name__}, frames)) != kind.__name__:
            text, name = error_text(error), type(error).__name__
            return f'{place} ({kind.__name__}): {text if name in text else f"{name}: {text}"}'
    return None


def _describe(error: BaseException, part: Mapping[str, Any], place: str) -> str:
    kind = part.get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', 'DataLoader')
    if re.search(r'is not in the .* registry|\bNone\b', str(error)):
        for key, node in [(place, part), *places_of(part, f'{place}.')]:
            wanted = node.get('type') if isinstance(node, Mapping) else None
            if isinstance(wanted, str) and not classes_of(wanted):
                return (
                    f'{key}.type={wanted!r}: nothing of that name is registered'
                    f'{did_you_mean(wanted, _registered()) or "."} A class of your own needs '
                    "custom_imports=dict(imports=['ITS.MODULE'])"
                )
    unknown = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(.*)'", str(error))
    if unknown and unknown[2] in part:
        taken = set().union(*(parameters_of(kind) or () for kind in classes_of_part(place, part) or ()))
        taken -= {'self', 'args', 'kwargs'}
        known = f' It takes {", ".join(sorted(taken))}' if taken else ''
        return f'{place}: {name} takes no {unknown[2]!r}{did_you_mean(unknown[2], taken) or "."}{known}'
    return f'{place}{"" if place == name or kind is None else f" ({name})"}: {error_text(error)}'


def _place(part: Mapping[str, Any], frames: list[FrameType]) -> str:
    """The key of a part in the config that the frames know, or else its type."""
    kind = part.get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', 'a part of the config')
    configs = [value for frame in frames for value in frame.f_locals.values() if isinstance(value, Config)]
    nodes = [(place, node) for cfg in configs for place, node in places_of(_parts(cfg))]
    same = [(place, node) for place, node in nodes if isinstance(node, Mapping) and node.get('type') == kind]
    # What is built may have had something added or taken out.
    nearest = max(
        same, key=lambda item: sum(node == part.get(key) for key, node in item[1].items()), default=None
    )
    return name if nearest is None or (kind is None and nearest[1] != part) else nearest[0]


def _parts(cfg: Config) -> dict[str, Any]:
    """What is read of a config, without variables, whose values are in their places."""
    return {key: value for key, value in cfg.to_dict().items() if key in KNOWN_KEYS}


def error_text(error: BaseException) -> str:
    """What an error says; of one that says nothing, the line that raised it."""
    if text := str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip():
        # Of a look-up that has failed there is only the key.
        return f'no {text!r} (KeyError)' if isinstance(error, KeyError) and ' ' not in text else text
    return f'{type(error).__name__} at `{traceback.extract_tb(error.__traceback__)[-1].line}`'


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that ends a message, with the nearest known name; empty if none is near."""
    longer = sorted((other for other in known if name and other.startswith(name)), key=len)
    near = longer[:1] or get_close_matches(name, known, n=1, cutoff=0.75)
    return f'; did you mean {near[0]!r}?' if near else ''


def _registered() -> set[str]:
    """All names that are registered, with and without their scope."""
    roots = [value for value in vars(mmengine.registry).values() if isinstance(value, Registry)]
    children = [child for root in roots for child in root.children.values()]
    names = {name for registry in (*roots, *children) for name in registry.module_dict}
    return names | {f'{child.scope}.{name}' for child in children for name in child.module_dict}
