"""What the options of a study cannot say."""

from collections.abc import Mapping
from typing import Any

# What the study itself says of each run, and where.
_TAKEN = {
    'randomness.seed': 'seeds',
    'work_dir': '--work-dir',
    'launcher': 'resources.gpus_per_node',
    'resume': 'nothing: a run that was cut short is resumed',
}


def check_study_options(name: str, options: Mapping[str, Any], has_source: bool) -> None:
    """Refuse options of the run ``name`` that are the study's to say.

    Args:
        options: by dotted key.
        has_source: whether the study trains what the run starts from.

    Raises:
        ValueError: names the option, and what to give instead.
    """
    for key in options:
        first = key.split('.')[0]
        if instead := _TAKEN.get(key) or _TAKEN.get(first):
            raise ValueError(f'option {key!r}: the study says that by {instead}')
        if key == 'load_from' and has_source:
            raise ValueError(
                "option 'load_from': it starts from its source, which the study trains; to leave that out "
                f'give runs.{name.split("/")[0]}.source='
            )
