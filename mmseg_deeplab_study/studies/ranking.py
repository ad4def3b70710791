"""Score sources before any of them is trained, for tools/rank.py."""

import argparse
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import Progress
from torch.utils.data import Dataset

from ..atomic_file import write_atomically
from ..datasets.label_maps import check_headers
from ..datasets.subsets import image_list
from ..digests import names_digest
from ..evaluation.image_sums import Score
from ..evaluation.pixel_sampling import cell_centres, labels_at, sample_pixels
from ..evaluation.transferability import (
    h_score,
    leep,
    linear_miou,
    log_me,
    principal_components,
    regularised_h_score,
    source_view,
)
from ..hardware import describe_hardware
from ..inference.crf_search import training_images
from ..inference.source_model import (
    BACKBONE,
    CLASSIFIER,
    Points,
    Seen,
    check_source,
    load_source,
    look,
    pretrained,
)
from ..memory import keep_freed_memory
from ..runs.config import read_config, read_file
from ..runs.header import describe_checkpoint, describe_model
from ..runs.inputs import check_data_roots, check_load_from
from ..runs.parts import check_loops, check_values
from ..tables import duration_text, make_table, table_text
from ..version import __version__
from .plan import check_study, read_study

# Pixels to the side of a cell, of which at most one is sampled; the finest stride of the adapters' last maps.
CELL = 8
# Of wider layers the first principal components are scored.
COMPONENTS = 128
SAMPLES = {'as they come': False, 'balanced': True}
OF_FEATURES = {
    'h_score': h_score,
    'regularised_h_score': regularised_h_score,
    'log_me': log_me,
    'linear_miou': linear_miou,
}
TITLES = {
    'leep': 'LEEP',
    'h_score': 'H-score',
    'regularised_h_score': 'regularised H',
    'log_me': 'LogME',
    'linear_miou': 'linear mIoU',
}
LAYERS = {BACKBONE: "the backbone's last layer", CLASSIFIER: 'the input of the classifier'}
console = Console(highlight=False, markup=False, soft_wrap=True)


class Source(NamedTuple):
    """A model to be ranked: a leaf's ``cfg`` with its ``load_from``; ``give`` is what names another."""

    name: str
    cfg: Config
    give: str


class Target(NamedTuple):
    """The photographs that all sources are scored on, and by sample the pixels and labels of each."""

    dataset: Dataset
    places: Sequence[int]
    points: Mapping[str, Sequence[Points]]
    labels: Mapping[str, np.ndarray]
    images: Mapping[str, np.ndarray]
    classes: Sequence[str]


def read_sources(words: Sequence[str], options: Mapping[str, Any] | None = None) -> list[Source]:
    """Read ``CONFIG``, ``CONFIG=LOAD_FROM`` or a study file each; runs that start alike are one source.

    Raises as ``read_config`` and ``read_study``; ValueError, too, if fewer than two sources are named.
    """
    found: dict[str, Source] = {}
    for word in words:
        for source in _read(word, options):
            cfg = source.cfg
            parts = [cfg.get('model'), cfg.get('load_from'), cfg.get('train_dataloader')]
            found.setdefault(json.dumps(parts, sort_keys=True, default=str), source)
    sources = list(found.values())
    names = [source.name for source in sources]
    if len(sources) < 2:
        raise ValueError(
            f'{" ".join(words)}: {len(sources)} source to rank; expected at least two that differ in model '
            'or checkpoint'
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f'two sources are called {twice[0]}; rename the config or checkpoint of one')
    return sources


def _read(word: str, options: Mapping[str, Any] | None) -> Iterator[Source]:
    path, equals, load_from = word.partition('=')
    if not equals and 'runs' in (study_file := read_file(path)) and 'model' not in study_file:
        study = read_study(Path(path), overrides=options)
        check_study(study)
        for run in study.adaptations:
            name = run.name.rpartition('/')[0]
            yield Source(name, run.resolve(), f'--cfg-options runs.{name.split("/")[0]}.options.load_from=')
        return
    cfg = read_config(path, dict(options) if options else None)
    if equals:
        cfg.load_from = load_from
    stem = Path(path).stem
    yield Source(f'{stem}={Path(load_from).name}' if equals else stem, cfg, f'{path}=')


def check_sources(sources: Sequence[Source]) -> None:
    """Find what would stop a source, before the first of them is scored.

    Raises FileNotFoundError if data or a checkpoint are not there, ValueError if a config's parts do not fit,
    or sources are of different photographs or classes.
    """
    targets = {}
    for source in sources:
        try:
            check_loops(source.cfg)
            check_values(source.cfg)
            check_data_roots(source.cfg, ('train_dataloader',))
            check_load_from(source.cfg.get('load_from'), source.give)
            check_source(source.cfg, source.give)
            if source.cfg.get('load_from') is None:
                check_load_from(pretrained(source.cfg), '--cfg-options model.backbone.init_cfg.checkpoint=')
            dataset = training_images(source.cfg)
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f'{source.name}: {error}') from error
        names = image_list(dataset)
        classes = ', '.join(dataset.metainfo['classes'])
        targets[source.name] = (f'{len(names)} images ({names_digest(names)[:8]})', f'the classes {classes}')
    (first, own), *others = targets.items()
    for name, other in others:
        for mine, its in zip(own, other, strict=True):
            if mine != its:
                raise ValueError(
                    f'{name} is of {its}, and {first} of {mine}: only sources of one target can be ranked; '
                    'call the tool once for each'
                )


def read_target(cfg: Config, images: int, pixels: int, seed: int) -> Target:
    """Draw the pixels by which sources are scored, of at most ``images`` training photographs.

    Each label map is read at the centres of cells of ``CELL`` pixels. Raises ValueError where a photograph
    has no label map, or a label is outside the label space.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    dataset = training_images(cfg)
    check_headers(dataset)
    places = np.linspace(0, len(dataset) - 1, min(images, len(dataset))).round().astype(int).tolist()
    maps, sizes = [], []
    for place in places:
        sample = dataset[place]['data_samples']
        if 'gt_sem_seg' not in sample:
            raise ValueError("the validation pipeline loads no label maps; add dict(type='LoadAnnotations')")
        label_map = sample.gt_sem_seg.data[0].numpy()
        sizes.append(label_map.shape)
        maps.append(labels_at(label_map, tuple(-(-side // CELL) for side in label_map.shape)))
    classes = dataset.metainfo['classes']
    points, labels, numbers = {}, {}, {}
    for name, balanced in SAMPLES.items():
        drawn = sample_pixels(maps, pixels, len(classes), balanced, seed)
        points[name] = []
        for image, (size, cells) in enumerate(zip(sizes, maps, strict=True)):
            own = drawn.images == image
            rows = cell_centres(size[0], cells.shape[0])[drawn.rows[own]]
            columns = cell_centres(size[1], cells.shape[1])[drawn.columns[own]]
            points[name].append(Points(rows, columns, size))
        labels[name], numbers[name] = drawn.labels, drawn.images
    return Target(dataset, places, points, labels, numbers, classes)


def score_seen(seen: Seen, target: Target) -> dict[str, dict[str, dict[str, Score]]]:
    """All scores, by sample, then layer, then name; LEEP is with ``CLASSIFIER``."""
    found: dict[str, dict[str, dict[str, Score]]] = {}
    for sample, layers in seen.features.items():
        rest = target.labels[sample], target.images[sample]
        found[sample] = {}
        for layer, features in layers.items():
            features = principal_components(features, COMPONENTS)
            found[sample][layer] = {name: score(features, *rest) for name, score in OF_FEATURES.items()}
        if sample in seen.probabilities:
            own = {'leep': leep(seen.probabilities[sample], *rest)}
            found[sample][CLASSIFIER] = own | found[sample][CLASSIFIER]
    return found


def rank_source(source: Source, target: Target, device: str) -> dict[str, Any]:
    """Score one source; returns what is kept of it as plain data."""
    started = time.perf_counter()
    loaded = load_source(source.cfg, device)
    # What the leaf's own pipeline makes of a photograph.
    dataset = training_images(source.cfg)
    size = dataset[target.places[0]]['inputs'].shape[1:]
    model = describe_model(loaded.model, size, size)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(source.name, total=len(target.places))
        seen = look(loaded, dataset, target.places, target.points, lambda: progress.advance(task))
    passed = time.perf_counter()
    scores = score_seen(seen, target)
    view = None
    if seen.confusions is not None:
        transfer = loaded.transfer
        view = source_view(seen.confusions, transfer.target, transfer.source, transfer.matches)
    load_from = source.cfg.get('load_from') or pretrained(source.cfg)
    ended = time.perf_counter()
    return {
        'name': source.name,
        'load_from': load_from,
        'checkpoint': describe_checkpoint(load_from),
        'parameters': model['parameters'],
        'multiply_adds': model['multiply_adds'],
        'input': model['input'],
        'channels': {layer: values.shape[1] for layer, values in next(iter(seen.features.values())).items()},
        'milliseconds_per_image': seen.milliseconds,
        'seconds': {'pass': passed - started, 'scores': ended - passed},
        'source_view': view,
        'scores': scores,
    }


def sort_sources(sources: Sequence[Mapping[str, Any]], score: str, layer: str, sample: str) -> list:
    """From the highest score to the lowest, those without at the end."""

    def key(source: Mapping[str, Any]) -> tuple[bool, float]:
        found = source['scores'][sample].get(layer, {}).get(score)
        return found is None, 0 if found is None else -found[0]

    return sorted(sources, key=key)


def as_text(sources: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Tables of sources in their order: what they cost, and the scores by layer and sample."""
    table = make_table(
        ['', 'source', "source's view", 'parameters', 'multiply-adds', 'ms an image', 'seconds'], left=2
    )
    for place, source in enumerate(sources, 1):
        flops = source['multiply_adds']
        table.add_row(
            str(place),
            source['name'],
            score_text(source['source_view'], 1),
            f'{source["parameters"] / 1e6:.2f} M',
            '-' if flops is None else f'{flops / 1e9:.2f} G',
            f'{source["milliseconds_per_image"]:.0f}',
            f'{sum(source["seconds"].values()):.0f}',
        )
    yield table_text(table)
    for layer, title in LAYERS.items():
        for sample in SAMPLES:
            names = [name for name in TITLES if name != 'leep' or layer == CLASSIFIER]
            table = make_table(['', 'source', *(TITLES[name] for name in names)], left=2)
            for place, source in enumerate(sources, 1):
                found = source['scores'][sample].get(layer, {})
                digits = [1 if name == 'linear_miou' else 2 for name in names]
                cells = [score_text(found.get(name), some) for name, some in zip(names, digits, strict=True)]
                table.add_row(str(place), source['name'], *cells)
            yield f'\nFeatures: {title}; pixels: {sample}\n{table_text(table)}'


def score_text(score: Sequence[float] | None, digits: int) -> str:
    """A score with its interval."""
    if score is None:
        return '-'
    value, low, high = (f'{number:.{digits}f}' for number in score)
    return f'{value} [{low}, {high}]'


@contextmanager
def _warnings_only() -> Iterator[None]:
    # MMEngine says of each weight where it was loaded from.
    logger = MMLogger.get_current_instance()
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def run(args: argparse.Namespace) -> None:
    """Rank the sources as the flags say."""
    keep_freed_memory()
    started = time.perf_counter()
    if args.out and args.out.is_dir():
        raise ValueError(f'--out {args.out} is a folder; give the name of a file')
    device = args.device or get_device()
    with _warnings_only():
        sources = read_sources(args.sources, args.cfg_options)
        check_sources(sources)
        target = read_target(sources[0].cfg, args.images, args.pixels, args.seed)
        number = len(target.labels['as they come'])
        console.print(
            f'{len(sources)} sources, {len(target.places)} photographs to train on, {number} pixels of them'
        )
        found = []
        for source in sources:
            found.append(rank_source(source, target, device))
            seconds = found[-1]['seconds']
            console.print(
                f'{source.name}: seen in {seconds["pass"]:.0f} s, scored in {seconds["scores"]:.0f} s'
            )
    found = sort_sources(found, args.by, args.layer, args.sample)
    seconds = time.perf_counter() - started
    names = image_list(target.dataset)
    record = {
        'mmseg_deeplab_study': __version__,
        'hardware': describe_hardware(torch.device(device)),
        'images': len(target.places),
        'digest': names_digest([names[place] for place in target.places]),
        'pixels': {sample: len(labels) for sample, labels in target.labels.items()},
        'labelled': [target.classes[label] for label in np.unique(target.labels['as they come'])],
        'seed': args.seed,
        'order': {'score': args.by, 'layer': args.layer, 'sample': args.sample},
        'seconds': seconds,
        'sources': found,
    }
    # First: the reader of the text may close the pipe.
    if args.out:
        write_atomically(args.out, (json.dumps(record, indent=1, allow_nan=False) + '\n').encode())
    order = f'{TITLES[args.by]}, {LAYERS[args.layer]}, pixels {args.sample}'
    console.print(
        f'Ranked by {order}; in brackets 95 % intervals over photographs:', *as_text(found), sep='\n'
    )
    console.print(f'All in {duration_text(seconds)}.' + (f' Wrote {args.out}' if args.out else ''))
