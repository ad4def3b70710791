"""The film strip of a report: predictions of a few images over the iterations."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from rich.progress import track

from ..evaluation.adaptation import class_names
from ..evaluation.score_curves import find_score
from .analysis import MeasuredRun
from .curves import THRESHOLDS, marks
from .pictures import choose_iterations, encode_label_map, encode_photograph, image_miou, read_palette
from .runs import RunFolder

STRIP = 5  # iterations in a row of the strip: the first, the last and those between
PICTURE_CHARACTERS = 24_000_000  # of all pictures of the film strip


def film_strip(runs: Sequence[MeasuredRun], frames: int, width: int, score: str) -> dict[str, Any]:
    """About ``frames`` pictures of every run and image, fewer where a page has no room for them."""
    kept = [
        run
        for run in runs
        if any(run.folder.snapshots or run.folder.prediction(image, None) for image in run.folder.images)
    ]
    encode = cache(partial(encode_label_map, width=width))
    shared = _images([run.folder for run in kept], width)
    room = PICTURE_CHARACTERS - sum(len(image[key] or '') for image in shared for key in ('image', 'truth'))
    wanted = {
        run.name: [
            run.figures[score]['lowest_iter'],
            run.figures[score]['best_iter'],
            *marks(run, score).values(),
        ]
        for run in kept
    }
    while True:
        # Halved in number until all fit; the named ones are kept, whether they fit or not.
        chosen = {r.name: choose_iterations(list(r.folder.snapshots), wanted[r.name], frames) for r in kept}
        paths = [
            run.folder.prediction(image, iteration)
            for run in kept
            for image in run.folder.images
            for iteration in (None, *chosen[run.name])
        ]
        size = sum(len(encode(path) or '') for path in _progress(paths, 'Rendering pictures'))
        if frames <= 1 or size <= room:
            break
        frames //= 2
    truths = {image['name']: image['truth'] for image in shared}
    return {
        'thresholds': THRESHOLDS,
        'images': shared,
        'runs': [_strip(run, chosen[run.name], encode, truths, score) for run in kept],
        'notes': [
            f'Film strip: {len(chosen[run.name])} of the {len(run.folder.snapshots)} iterations that '
            f'{run.name} has pictures of (first, last, best, lowest, those at 0.1 to 0.4 {score}, others '
            'evenly spaced).'
            for run in kept
            if len(chosen[run.name]) < len(run.folder.snapshots)
        ],
    }


def _images(folders: Sequence[RunFolder], width: int) -> list[dict[str, Any]]:
    # One that several runs have is taken from the first.
    owners = {image: folder for folder in reversed(folders) for image in folder.images}
    return [
        {
            'name': image,
            'image': encode_photograph(folder.photograph(image), width),
            'truth': encode_label_map(folder.truth(image), width, len(class_names(folder.history))),
        }
        for image, folder in sorted(owners.items())
    ]


def _strip(
    run: MeasuredRun,
    iterations: Sequence[int],
    encode: Callable[..., str | None],
    truths: Mapping[str, str | None],
    score: str,
) -> dict[str, Any]:
    folder, classes, header = run.folder, class_names(run.history), run.history.header
    whole = {row['iter']: find_score(row, score) for row in run.history.validations}
    probe = {row['iter']: find_score(row, score) for row in run.history.probed}
    sources = [folder.prediction(image, None) for image in folder.images]
    source = next((path for path in sources if path), None)
    images = {}
    for image in _progress(folder.images, f'Scoring the images of {run.name}'):
        truth = folder.truth(image)
        paths = [folder.prediction(image, i) for i in iterations]
        own_truth = encode(truth, classes=len(classes))
        images[image] = {
            'source': encode(folder.prediction(image, None)),
            'frames': [encode(path) for path in paths],
            'miou': [image_miou(path, truth, classes, score) if path else None for path in paths],
            # Where it is not the one that is shown: of other classes, or of an image of the same name.
            'truth': None if own_truth == truths[image] else own_truth,
        }
    return {
        'name': run.name,
        'iterations': list(iterations),
        'strip': [iterations.index(i) for i in choose_iterations(iterations, (), STRIP)],
        'miou': [whole.get(i) for i in iterations],
        'probe': [probe.get(i) for i in iterations],
        'source_miou': run.figures[score]['source'],
        'marks': marks(run, score),
        'legend': _legend(classes, folder.truth(folder.images[0])),
        'source_legend': _legend(header.get('source_classes') or (), source) if source else [],
        'images': images,
    }


def _legend(classes: Sequence[str], picture: Path) -> list[tuple[str, str]]:
    return list(zip(classes, read_palette(picture), strict=False))


def _progress(items: Sequence[Any], what: str) -> Iterable[Any]:
    # In a log file a bar that is gone in the end leaves an empty line.
    return track(items, what, transient=True, disable=not sys.stdout.isatty())
