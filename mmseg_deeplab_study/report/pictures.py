"""The pictures of a report: which iterations are shown, and their encoding."""

import base64
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from ..datasets.palettes import UNLABELLED, colour_table
from ..evaluation.metrics.scores import scores_from_confusion

# Missing, or cut short: Pillow says so in any of these ways. ValueError also says: of another label space.
UNREADABLE = (OSError, SyntaxError, ValueError)


def choose_iterations(available: Sequence[int], wanted: Iterable[int], most: int) -> list[int]:
    """Thin ascending iterations to about ``most``, evenly spaced.

    First, last and wanted ones are kept, even where they are more than ``most``.
    """
    if len(available) <= most:
        return list(available)
    kept = {available[0], available[-1], *(set(wanted) & set(available))}
    others = [i for i in available if i not in kept]
    # Inside of what is left, whose neighbours at both ends are kept already.
    places = np.linspace(-1, len(others), max(most - len(kept), 0) + 2)[1:-1]
    return sorted(kept | {others[int(place + 0.5)] for place in places})


def encode_label_map(path: Path, width: int, classes: int = 256) -> str | None:
    """A palette PNG of label ids as a data URI; None if it cannot be read.

    At most ``width`` pixels wide, by the nearest pixel, so that ids and colours stay; ids from ``classes`` on
    get the colour ``UNLABELLED``.
    """
    try:
        with Image.open(path) as image:
            small = image.resize(_fit(image.size, width), Image.Resampling.NEAREST)
    except UNREADABLE:
        return None
    if small.mode == 'P' and classes < 256:
        colours = np.reshape(small.getpalette(), (-1, 3))[:classes]
        small.putpalette(colour_table(colours, UNLABELLED).tobytes())
    return _data_uri(small, 'png', optimize=True)


def encode_photograph(path: Path, width: int) -> str | None:
    """A photograph, at most ``width`` pixels wide, as a data URI; None if unreadable."""
    try:
        with Image.open(path) as image:
            small = image.convert('RGB').resize(_fit(image.size, width), Image.Resampling.LANCZOS)
    except UNREADABLE:
        return None
    return _data_uri(small, 'webp', quality=80)


def _fit(size: tuple[int, int], width: int) -> tuple[int, int]:
    scale = min(1, width / size[0])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _data_uri(image: Image.Image, kind: str, **options: int) -> str:
    content = BytesIO()
    image.save(content, format=kind, **options)
    return f'data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}'


def read_palette(path: Path) -> list[str]:
    """The colours of a palette PNG by id, as ``#rrggbb``; none if it cannot be read."""
    try:
        with Image.open(path) as image:
            channels = image.getpalette() or []
    except UNREADABLE:
        return []
    return [f'#{bytes(channels[i : i + 3]).hex()}' for i in range(0, len(channels), 3)]


def _count(prediction: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    # confusion_matrix of AdaptationMetric, without torch, which takes longer to import than a page to make.
    if prediction.shape != truth.shape:
        raise ValueError(f'pictures of one image have the sizes {prediction.shape} and {truth.shape}')
    if max(prediction.max(), truth.max()) > 255:
        raise ValueError('there are ids above 255')
    pairs = 256 * truth.astype(np.intp) + prediction
    counts = np.bincount(pairs.ravel(), minlength=256**2).reshape(256, 256)
    counts[255] = 0  # without a label
    if counts[classes:].any() or counts[:, classes:].any():
        raise ValueError(f'there are ids beyond the {classes} classes')
    return counts[:classes, :classes]


def image_miou(prediction: Path, truth: Path, classes: Sequence[str], score: str = 'mIoU') -> float | None:
    """A mean IoU in percent of one label map; None if it cannot be counted."""
    try:
        maps = [np.asarray(Image.open(path)) for path in (prediction, truth)]
        return scores_from_confusion(_count(*maps, len(classes)), classes, ())[score]
    except UNREADABLE:
        # A picture that was cut short, or one of another size or label space than the truth.
        return None
