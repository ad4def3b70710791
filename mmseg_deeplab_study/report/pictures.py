"""The pictures of a report: which iterations are shown, and their encoding."""

import base64
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from ..datasets.palettes import UNLABELLED, colour_table
from ..evaluation.metrics.confusion import confusion_matrix
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


def shrink(path: Path | None, width: int, photograph: bool = False) -> Image.Image | None:
    """A picture, at most ``width`` pixels wide; None if it is missing or cannot be read.

    A photograph in RGB, a label map by the nearest pixel, so that ids and colours stay.
    """
    try:
        with Image.open(path or '') as image:
            scale = min(1, width / image.width)
            size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
            if photograph:
                return image.convert('RGB').resize(size, Image.Resampling.LANCZOS)
            return image.resize(size, Image.Resampling.NEAREST)
    except UNREADABLE:
        return None


def encode_label_map(path: Path | None, width: int, classes: int = 256) -> str | None:
    """A palette PNG of label ids as a data URI, as ``shrink``.

    Ids from ``classes`` on get the colour ``UNLABELLED``.
    """
    if (small := shrink(path, width)) is None:
        return None
    if small.mode == 'P' and classes < 256:
        colours = np.reshape(small.getpalette(), (-1, 3))[:classes]
        small.putpalette(colour_table(colours, UNLABELLED).tobytes())
    return _data_uri(small, 'png', optimize=True)


def encode_photograph(path: Path | None, width: int) -> str | None:
    """A photograph as a data URI, as ``shrink``."""
    small = shrink(path, width, photograph=True)
    return _data_uri(small, 'webp', quality=80) if small else None


def _data_uri(image: Image.Image, kind: str, **options: int) -> str:
    content = BytesIO()
    image.save(content, format=kind, **options)
    return f'data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}'


def read_palette(path: Path) -> list[str]:
    """The colours of a palette PNG by id, as ``#rrggbb``; none if it cannot be read."""
    picture = shrink(path, 1)
    channels = (picture and picture.getpalette()) or []
    return [f'#{bytes(channels[i : i + 3]).hex()}' for i in range(0, len(channels), 3)]


def image_miou(prediction: Path, truth: Path, classes: Sequence[str], score: str = 'mIoU') -> float | None:
    """A mean IoU in percent of one label map; None if it cannot be counted."""
    try:
        maps = [np.asarray(Image.open(path)) for path in (prediction, truth)]
        return scores_from_confusion(confusion_matrix(*maps, len(classes)), classes, ())[score]
    except UNREADABLE:
        # A picture that was cut short, or one of another size or label space than the truth.
        return None
