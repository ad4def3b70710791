"""A prediction painted over its photograph, with a legend."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..datasets.palettes import UNLABELLED, Palette, colour_table

PAPER, INK, FAINT = (255, 255, 255), (30, 30, 30), (165, 165, 165)


class Entry(NamedTuple):
    """A line of a legend: a class, its colour and its share of the pixels, in 0..1."""

    name: str
    colour: tuple[int, int, int]
    share: float


def paint(image: np.ndarray, labels: np.ndarray, palette: Palette, opacity: float) -> np.ndarray:
    """Mix the colours of labels with an image in RGB; opacity 1 is the colours alone.

    Raises:
        ValueError: image and labels are of different sizes.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f'an image of {image.shape[:2]} pixels cannot take labels of {labels.shape}')
    table = colour_table(palette, UNLABELLED)
    return cv2.addWeighted(table[labels], opacity, np.ascontiguousarray(image), 1 - opacity, 0)


def legend_entries(labels: np.ndarray, classes: Sequence[str], palette: Palette) -> list[Entry]:
    """Every class with its share of the pixels, in the order of the classes."""
    shares = np.bincount(labels.ravel(), minlength=len(classes)) / labels.size
    return [Entry(*entry) for entry in zip(classes, palette, shares[: len(classes)].tolist(), strict=True)]


def largest_first(entries: Sequence[Entry]) -> list[Entry]:
    """The classes that are present, the largest first."""
    return sorted((entry for entry in entries if entry.share > 0), key=lambda entry: -entry.share)


def with_legend(image: np.ndarray, entries: Sequence[Entry]) -> np.ndarray:
    """Put a legend below an image in RGB, and widen the image if need be.

    The size depends on the image's and on the names alone: the frames of a video, with the same classes in
    the same order, keep their size and their legend its place. Absent classes are faint.
    """
    legend = _draw_legend(entries, image.shape[1], max(12, round(min(image.shape[:2]) / 36)))
    width = max(image.shape[1], legend.shape[1])
    return np.concatenate([_widen(image, width), _widen(legend, width)])


def _draw_legend(entries: Sequence[Entry], width: int, text_size: int) -> np.ndarray:
    font, line, gap = _font(text_size), round(1.6 * text_size), round(0.5 * text_size)
    # As if of 100 %: a share that grows must not move the others.
    texts = [font.getlength(f'{entry.name} {_percent(1)}') for entry in entries]
    cell = round(max(texts, default=0)) + line + 2 * gap
    columns = max(1, width // cell)
    rows = -(-len(entries) // columns)
    panel = Image.new('RGB', (max(width, cell), rows * line + 2 * gap), PAPER)
    draw = ImageDraw.Draw(panel)
    for place, entry in enumerate(entries):
        left, top = gap + place % columns * cell, gap + place // columns * line
        side = round(0.9 * text_size)
        down = top + (line - side) // 2
        draw.rectangle((left, down, left + side, down + side), tuple(entry.colour), outline=FAINT)
        text = f'{entry.name} {_percent(entry.share)}'
        ink = INK if entry.share > 0 else FAINT
        draw.text((left + line, top + line / 2), text, ink, font, anchor='lm')
    return np.asarray(panel)


def _percent(share: float) -> str:
    return '<0.1 %' if 0 < share < 0.0005 else f'{100 * share:.1f} %'


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib's: Pillow's own has English letters only.
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSans.ttf')), size)


def _widen(image: np.ndarray, width: int) -> np.ndarray:
    missing = ((0, 0), (0, width - image.shape[1]), (0, 0))
    return np.pad(image, missing, constant_values=PAPER[0])
