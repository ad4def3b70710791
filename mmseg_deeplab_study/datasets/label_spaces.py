"""Label spaces and how their classes correspond, by name and never by number."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from ..compat import make_mmcv_ops_importable

# Names that different datasets give to the same thing.
ALIASES = (
    {'motorbike', 'motorcycle'},
    {'aeroplane', 'airplane'},
    {'bicycle', 'bike'},
    {'person', 'pedestrian'},
    {'diningtable', 'dining table'},
    {'pottedplant', 'potted plant'},
    {'sofa', 'couch'},
    {'tvmonitor', 'tv', 'television'},
)
# target class -> source class that is not the same thing, but nearest to it.
APPROXIMATE = {'rider': 'person'}
BACKGROUND = 'background'


class Match(NamedTuple):
    """The source class of a target class; ``kind`` says why they match."""

    source: str
    kind: str  # 'exact', 'alias', 'approximate' or 'class_map'


def resolve_classes(space: str | Sequence[str]) -> tuple[str, ...]:
    """Class names of a dataset's name known to MMSeg (``'voc'``), or of a list; ValueError for others."""
    if isinstance(space, str):
        # Records are read without MMSegmentation, which takes seconds to import.
        make_mmcv_ops_importable()
        from mmseg.utils import dataset_aliases, get_classes

        try:
            return tuple(get_classes(space))
        except ValueError as error:
            known = sorted(name for names in dataset_aliases.values() for name in names)
            near = get_close_matches(space, known, n=1)
            hint = f'; did you mean {near[0]!r}?' if near else ':'
            raise ValueError(
                f'unknown label space {space!r}{hint} give a list of class names or one of {known}'
            ) from error
    if not isinstance(space, Sequence) or not all(isinstance(name, str) for name in space):
        raise ValueError(
            f"a label space is a dataset's name, such as 'voc', or a list of class names, but got {space!r}"
        )
    classes = tuple(space)
    if twice := sorted({name for name in classes if classes.count(name) > 1}):
        raise ValueError(f'label space: {twice} are named more than once; name each class once')
    return classes


def match_classes(
    source: Sequence[str],
    target: Sequence[str],
    class_map: Mapping[str, str | None] | None = None,
    approximate: bool = False,
) -> dict[str, Match]:
    """Find the source class of each target class; those without one are left out.

    ``class_map`` of target to source class comes first (None: unmatched), then equal names, aliases and, if
    asked for, approximate ones. ValueError if it is no dict, or has an unknown name.
    """
    if not isinstance(class_map, Mapping | None):
        raise ValueError(
            f'class_map must be a dict of target class to source class or None, but got {class_map!r}'
        )
    class_map = dict(class_map or {})
    _check_names('class_map target', class_map, target)
    _check_names('class_map source', [s for s in class_map.values() if s is not None], source)
    matches = {}
    for name in target:
        if name in class_map:
            match = Match(class_map[name], 'class_map') if class_map[name] is not None else None
        else:
            match = _match_by_name(name, source, approximate)
        if match is not None:
            matches[name] = match
    return matches


def seen_matches(matches: Mapping[str, Match]) -> dict[str, Match]:
    """The matches whose target classes the source model has seen.

    Background is everything but the source's classes, so a class that is given its row is new to it, unless
    it is the target's own background.
    """
    return {
        name: match for name, match in matches.items() if match.source != BACKGROUND or name == BACKGROUND
    }


def _match_by_name(name: str, source: Sequence[str], approximate: bool) -> Match | None:
    if name in source:
        return Match(name, 'exact')
    synonyms = {synonym for group in ALIASES if name in group for synonym in group}
    for candidate in source:
        if candidate in synonyms:
            return Match(candidate, 'alias')
    if approximate and APPROXIMATE.get(name) in source:
        return Match(APPROXIMATE[name], 'approximate')
    return None


def _check_names(what: str, names: Sequence[str], classes: Sequence[str]) -> None:
    for name in names:
        if name not in classes:
            near = get_close_matches(name, classes, n=1)
            hint = f'; did you mean {near[0]!r}?' if near else ''
            raise ValueError(f'{what}: unknown class {name!r}{hint} Known: {", ".join(classes)}')
