"""The runs of a study file, checked before any of them starts."""

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

from ..digests import data_digest
from ..hub import config_path
from ..runs.config import read_file
from ..runs.header import config_digest
from ..runs.history import FILE_NAME
from ..runs.inputs import TRAINING_DATA, check_load_from, find_missing_data
from ..runs.options import flatten, merge_options
from ..runs.parts import check_values, error_text, name_part

# What a study file may have, and of what kind.
_PARTS = {
    'runs': dict,
    'variants': dict,
    'seeds': list,
    'source_seed': int,
    'options': dict,
    'environment': dict,
    'resources': dict,
}
# Options of a run that the study itself gives, and by what.
_TAKEN = {
    'randomness.seed': 'seeds',
    'work_dir': '--work-dir',
    'launcher': 'resources.gpus_per_node',
    'resume': 'nothing: a run that was cut short is resumed',
}
_RUN_PARTS = ('config', 'source', 'options', 'source_options')


@dataclass(frozen=True)
class StudyRun:
    """One training run of a study: a leaf ``config``, and by dotted key what overrides it.

    ``name`` is its folder below the study's, such as ``mobilenet-v2/seed0``; ``source`` the run whose last
    checkpoint it starts from, if the study has that; ``environment`` are variables that the config reads;
    ``gpus`` is how many processes train it together, each on a GPU (0 and 1 are one process).
    """

    name: str
    folder: Path
    config: Path
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)
    source: 'StudyRun | None' = None
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0

    def resolve(self) -> Config:
        """The config with what overrides it; ValueError if an option does not fit."""
        cfg = deepcopy(_read_config(self.config, tuple(sorted(self.environment.items()))))
        try:
            for key in self.options:
                if instead := _TAKEN.get(key) or _TAKEN.get(key.split('.')[0]):
                    raise ValueError(f'option {key!r}: the study says that by {instead}')
                if key == 'load_from' and self.source is not None:
                    raise ValueError(
                        "option 'load_from': it starts from its source, which the study trains; to leave "
                        f'that out give runs.{self.name.split("/")[0]}.source='
                    )
            merge_options(cfg, self.options, self.config.name)
        except ValueError as error:
            raise ValueError(f'run {self.name}: {error}') from error
        if self.source is not None:
            cfg.load_from = str(self.source.checkpoint)
        cfg.merge_from_dict({'randomness.seed': self.seed})
        return cfg

    @cached_property
    def max_iters(self) -> int:
        """Updates in all."""
        return self.resolve().train_cfg.max_iters

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the last iteration."""
        return self.folder / f'iter_{self.max_iters}.pth'

    def recipe(self) -> dict[str, Any]:
        """All that makes the run what it is, as plain data."""
        cfg = self.resolve()
        return {
            'config': self.config.name,
            'config_digest': config_digest(cfg),
            'options': json.loads(json.dumps(dict(self.options), default=str)),
            'seed': self.seed,
            'load_from': cfg.get('load_from') if self.source is None else self.source.name,
            'source': None if self.source is None else data_digest(self.source.recipe()),
            'processes': max(1, self.gpus),
            'environment': dict(self.environment),
        }


@dataclass(frozen=True)
class Study:
    """Runs in the order in which they can start, and what a cluster gives each."""

    name: str
    folder: Path
    runs: Sequence[StudyRun]
    resources: Mapping[str, Any] = field(default_factory=dict)

    @property
    def adaptations(self) -> list[StudyRun]:
        """The runs that are compared: all but the sources of others."""
        sources = {run.source.name for run in self.runs if run.source}
        return [run for run in self.runs if run.name not in sources]


def read_study(path: Path, work_dir: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Study:
    """Read a study file; ``overrides`` are keys of it, as of ``--cfg-options``.

    Nothing is created; ``work_dir`` is by default ``work_dirs/studies/<name of the file>``. Raises
    FileNotFoundError if the file or a config that it names is missing, ValueError if it is no study.
    """
    cfg = read_file(path, 'study')
    cfg.merge_from_dict(dict(overrides or {}))
    content = cfg.to_dict()
    try:
        _check_parts(content)
    except ValueError as error:
        raise ValueError(f'study {path}: {error}') from error
    folder = (work_dir or Path('work_dirs') / 'studies' / path.stem).resolve()
    if (folder / FILE_NAME).exists():
        raise ValueError(
            f'study {path}: {folder} is the folder of a run ({FILE_NAME}); give another --work-dir'
        )
    return Study(path.stem, folder, list(_runs(path, folder, content)), content.get('resources', {}))


def check_study(study: Study) -> None:
    """Find what would stop a run at its start, before the first of them starts.

    Raises FileNotFoundError if data or a source checkpoint are not there, ValueError if options do not fit.
    """
    for problem in find_problems(study):
        raise problem


def find_problems(study: Study) -> Iterator[FileNotFoundError | ValueError]:
    """All that ``check_study`` raises, each once; a later run that lacks the same is not named."""
    adaptations, seen, built = study.adaptations, set(), set()
    for run in study.runs:
        part = 'options' if run in adaptations else 'source_options'
        own = f'runs.{run.name.split("/")[0]}.{part}.'
        # Adaptations share their data, but not what they start from.
        for what, error in _problems_of(run, 'options.' if run in adaptations else own, own, built):
            if what not in seen:
                seen.add(what)
                yield type(error)(f'run {run.name}: {error}')


# What it is of, and the error that says so.
_Problem = tuple[str, FileNotFoundError | ValueError]


def _problems_of(run: StudyRun, shared: str, own: str, built: set[str]) -> Iterator[_Problem]:
    """What is wrong with a run; ``built`` has the models that need not be built again.

    ``shared`` and ``own`` are where the study overrides what runs share, and what is this one's.
    """
    cfg = run.resolve()
    if wrong := list(_tried(check_values, cfg)):
        yield from wrong
        return
    yield from find_missing_data(cfg, TRAINING_DATA, shared)
    if run.source is None:
        load_from = cfg.get('load_from')
        for _, error in _tried(check_load_from, load_from, f'--cfg-options {own}load_from='):
            yield str(load_from), error
    yield from _tried(_check_rates, cfg)
    if (digest := data_digest(cfg.to_dict().get('model'))) not in built:
        built.add(digest)
        yield from _tried(_check_model, cfg)


def _tried(check: Callable[..., None], *arguments: Any) -> Iterator[_Problem]:
    try:
        check(*arguments)
    except (FileNotFoundError, ValueError) as error:
        yield str(error), error


def _check_model(cfg: Config) -> None:
    """Let a config's model say whether it takes its options."""
    try:
        scope = cfg.get('default_scope') or 'mmseg'
        with DefaultScope.overwrite_default_scope(scope), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # each run says them itself
            if cfg.get('model') is not None:
                MODELS.build(deepcopy(cfg.model))
    except Exception as error:
        raise ValueError(name_part(error) or error_text(error)) from error


def _check_rates(cfg: Config) -> None:
    """Let a config's constructor say whether it takes the learning rates."""
    wrapper = deepcopy(cfg.get('optim_wrapper') or {})
    if constructor := wrapper.pop('constructor', None):
        if OPTIM_WRAPPER_CONSTRUCTORS.get(constructor) is None:
            raise ValueError(
                f'optim_wrapper.constructor={constructor!r} is not registered; name the module that '
                'registers it in custom_imports'
            )
        paramwise = wrapper.pop('paramwise_cfg', None)
        OPTIM_WRAPPER_CONSTRUCTORS.build(
            dict(type=constructor, optim_wrapper_cfg=wrapper, paramwise_cfg=paramwise)
        )


def _check_parts(content: Mapping[str, Any]) -> None:
    for key, value in content.items():
        if key not in _PARTS:
            raise ValueError(f'unknown part {key!r}; a study has {", ".join(_PARTS)}')
        _check_kind(key, value, _PARTS[key])
    runs, variants, seeds = content.get('runs'), content.get('variants', {}), content.get('seeds', [0])
    if not runs:
        raise ValueError('has no runs; give runs=dict(NAME=dict(config=LEAF), ...)')
    whole = all(isinstance(seed, int) and seed >= 0 for seed in seeds)
    if not seeds or not whole or len(set(seeds)) < len(seeds):
        raise ValueError(f'seeds must be one or more different integers of 0 or more, but got {seeds}')
    for name, run in runs.items():
        if not isinstance(run, dict) or 'config' not in run or set(run) - set(_RUN_PARTS):
            raise ValueError(
                f'run {name!r} must be a dict with config and optional {", ".join(_RUN_PARTS[1:])}, but got '
                f'{run!r}'
            )
        for key in ('options', 'source_options'):
            _check_kind(f'{key} of run {name!r}', run.get(key, {}), dict)
    if content.get('variants') == {}:
        raise ValueError('variants is empty; leave it out for none')
    for name, options in variants.items():
        _check_kind(f'variant {name!r}', options, dict)
    for name in (*runs, *variants):
        if not isinstance(name, str) or not name or set('/\\ ') & set(name) or name.startswith('.'):
            raise ValueError(f'{name!r} names a folder and must have no blank, no slash and no dot first')
    for key in ('nodes', 'tasks_per_node'):
        if (value := content.get('resources', {}).get(key, 1)) != 1:
            raise ValueError(
                f'resources.{key} must be 1, as a job is one call of tools/train.py, but got {value!r}; '
                'gpus_per_node is how many processes it trains with'
            )


def _check_kind(what: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise ValueError(f'{what} must be a {kind.__name__}, but got {value!r}')


def _runs(path: Path, folder: Path, content: Mapping[str, Any]) -> Iterator[StudyRun]:
    common = dict(
        environment={key: str(value) for key, value in content.get('environment', {}).items()},
        gpus=content.get('resources', {}).get('gpus_per_node') or 0,
    )
    for name, spec in content['runs'].items():
        source = None
        if spec.get('source'):
            source = StudyRun(
                f'{name}/source',
                folder / name / 'source',
                _find_config(spec['source'], path),
                content.get('source_seed', 0),
                flatten(spec.get('source_options', {})),
                **common,
            )
            yield source
        config = _find_config(spec['config'], path)
        for variant, changes in content.get('variants', {'': {}}).items():
            # What is said closer to the run wins.
            parts = (content.get('options', {}), spec.get('options', {}), changes)
            options = {key: value for part in parts for key, value in flatten(part).items()}
            for seed in content.get('seeds', [0]):
                place = '/'.join(filter(None, (name, variant, f'seed{seed}')))
                yield StudyRun(place, folder / place, config, seed, options, source, **common)


def _find_config(name: str, study: Path) -> Path:
    """A config seen from the study's folder, else one of this package."""
    beside = study.parent / name
    if beside.is_file():
        return beside.resolve()
    try:
        return Path(config_path(name)).resolve()
    except FileNotFoundError as error:
        raise FileNotFoundError(f'study {study}: config {name!r} is not beside it, and {error}') from error


@cache
def _read_config(path: Path, environment: tuple[tuple[str, str], ...]) -> Config:
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        return read_file(path)
    finally:
        os.environ.clear()
        os.environ.update(before)
