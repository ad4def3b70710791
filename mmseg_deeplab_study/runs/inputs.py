"""What a config reads, looked for before anything is built."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..checkpoints.conversion import SCHEMES
from ..datasets.fetch import name_command
from ..datasets.file_lists import list_files, nothing_in
from .options import places_of

# What training reads; a hook may have data of its own, as AdaptationHook's forgetting.
TRAINING_DATA = ('train_dataloader', 'val_dataloader', 'custom_hooks')


def check_data_roots(
    cfg: Config,
    parts: tuple[str, ...] = (*TRAINING_DATA, 'test_dataloader'),
    option_prefix: str | None = '',
) -> None:
    """Refuse a config whose ``parts`` name data that are not there.

    ``option_prefix`` is what ``--cfg-options`` needs before a key, None where there is no such flag.
    FileNotFoundError names key, folder and cure; ValueError if a dataset would be empty.
    """
    for _, error in find_missing_data(cfg, parts, option_prefix):
        raise error


def find_missing_data(
    cfg: Config, parts: tuple[str, ...], option_prefix: str | None
) -> Iterator[tuple[str, FileNotFoundError | ValueError]]:
    """Each fault that ``check_data_roots`` looks for, after the folder that is missing or its own text."""
    change = 'set {} in the config'
    if option_prefix is not None:
        change = f'give another with --cfg-options {option_prefix}{{}}'
    named = dict.fromkeys(re.findall(r'\{\{\s*\$(\w*ROOT)\s*:', cfg.text))
    variables = f', or set {" or ".join(named)}' if named else ''
    for key, dataset in places_of({part: cfg.get(part) for part in parts}):
        if not isinstance(dataset, dict) or not isinstance(dataset.get('data_root'), str):
            continue
        if '://' in dataset['data_root'] or _is_remote(dataset):
            continue  # MMEngine's storage backends are not looked into
        root = Path(dataset['data_root']).expanduser()
        try:
            _check_dataset(key, dataset, root, change, variables)
        except (FileNotFoundError, ValueError) as error:
            yield str(error) if root.is_dir() else str(root), error


def _check_dataset(key: str, dataset: dict, root: Path, change: str, variables: str) -> None:
    images = dataset.get('ann_file')
    if not root.is_dir():
        raise FileNotFoundError(
            f'{key}.data_root: the folder {dataset["data_root"]!r} does not exist (seen from '
            f'{Path.cwd()}). Link the data there, or {change.format(f"{key}.data_root=DIR")}'
            f'{variables}; docs/data.md says where data are from{name_command(root)}'
        )
    if images and not (root / images).exists():
        raise FileNotFoundError(
            f'{key}.ann_file: {dataset["data_root"]!r} has no {images!r}, the list of images; '
            'tools/doctor.py --data-root DIR says what a folder lacks, and docs/data.md where it is from'
        )
    _check_photographs(key, dataset, root, change)


def _is_remote(dataset: dict) -> bool:
    places = (dataset, *(dataset.get('pipeline') or ()))
    # A transform that is no dict is refused when it is built, by its place.
    found = [place.get('backend_args') or {} for place in places if isinstance(place, dict)]
    backends = [args.get('backend', 'local') for args in found]
    return not {'local', 'disk'}.issuperset(backends)


def _check_photographs(key: str, dataset: dict, root: Path, change: str) -> None:
    """Have a dataset of MMSeg's list its photographs; without one MMEngine fails at its array of them."""
    folder = (dataset.get('data_prefix') or {}).get('img_path')
    if folder is not None and not (root / folder).is_dir():
        raise FileNotFoundError(
            f'{key}.data_prefix.img_path: {dataset["data_root"]!r} has no folder {folder!r}, in which the '
            f'photographs are; put them there, or {change.format(f"{key}.data_prefix.img_path=FOLDER")}'
        )
    kind = DATASETS.get(dataset['type']) if isinstance(dataset.get('type'), str) else dataset.get('type')
    if not (isinstance(kind, type) and issubclass(kind, BaseSegDataset)):
        return
    listed = DATASETS.build({**dataset, 'data_root': str(root), 'pipeline': [], 'serialize_data': False})
    if len(listed) == 0:
        if listed.ann_file and Path(listed.ann_file).is_file():
            raise ValueError(f'{key}.ann_file: {listed.ann_file} names no photograph; complete the list')
        folder = listed.data_prefix['img_path']
        option = 'img_suffix=SUFFIX' if list_files(folder) else 'data_prefix.img_path=FOLDER'
        raise ValueError(
            f'{key}: {nothing_in(folder, listed.img_suffix)}; put photographs there, or '
            f'{change.format(f"{key}.{option}")}'
        )


def check_load_from(load_from: str | None, flag: str = '--load-from ') -> None:
    """Refuse a source checkpoint that is not there, or whose reader is not named; one that is fetched passes.

    ``flag`` is what gives another, up to its value. FileNotFoundError; ValueError for what is no text, an
    unknown scheme, or a ``.tflite`` without one.
    """
    if load_from is None:
        return
    if not isinstance(load_from, str):
        raise ValueError(
            f'load_from={load_from!r}: expected a path as text, but got a value of type '
            f'{type(load_from).__name__}; give it with {flag}CHECKPOINT'
        )
    scheme, found, path = load_from.rpartition('://')
    if found and f'{scheme}://' not in CheckpointLoader._schemes:
        raise ValueError(
            f'load_from={load_from}: no reader is called {scheme}://; expected a path, or one of '
            f'{", ".join(filter(None, CheckpointLoader._schemes))} before it; give it with {flag}CHECKPOINT'
        )
    if found and f'{scheme}://' not in SCHEMES.values():
        return
    if not load_from:
        raise ValueError(f'load_from is empty; expected a checkpoint, give it with {flag}CHECKPOINT')
    # Not expanduser, which fails for a user that is not there.
    if not Path(os.path.expanduser(path)).is_file():
        raise FileNotFoundError(
            f'load_from={load_from}: {"a folder" if Path(path).is_dir() else "no such file"} (seen from '
            f'{Path.cwd()}); expected a checkpoint, give it with {flag}CHECKPOINT{name_command(path)}'
        )
    if not found and path.endswith('.tflite'):
        raise ValueError(
            f'load_from={load_from}: a TensorFlow Lite file needs its reader named, '
            f'{flag}{SCHEMES["tflite"]}{path}; tools/doctor.py --checkpoint knows formats'
        )
