"""The pictures of the two drawn sets, and their files.

A network that learnt the objects of the source set meets some again in the street scenes of the target set,
drawn by the same code but smaller, in other colours, in haze, overlapping, and among new classes. Image ``k``
of a split depends on the seed, the split and ``k`` only.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmseg.utils import get_classes
from PIL import Image

from ..palettes import colour_table, voc_palette
from .canvas import Canvas, Look, Pen, Picture, Random, Size, pick, shade
from .objects import THINGS
from .street import draw_backdrop, draw_street

VERSION = 3  # raise it with any change that draws other pictures: it tells written sets apart
SPLITS = ('train', 'val')
CITIES = {'train': 'drawnstadt', 'val': 'drawnburg'}
IGNORE_INDEX = 255
# The class of a drawn thing where its own name is no class: the first 11 are what streets are made of.
CLASS_OF = {
    'voc': {'rider': 'person', **dict.fromkeys(get_classes('cityscapes')[:11], 'background')},
    'cityscapes': {},
}
SHARED = ('person', 'car', 'bus', 'bicycle')
SOURCE_ONLY = ('aeroplane', 'chair', 'dog')
SOURCE_TURNS = (*SHARED, *SHARED, *SOURCE_ONLY)
SUNNY = Look(tint=(1.04, 1.0, 0.94), light=(0.85, 1.15), saturation=1.1, noise=3.0)
OVERCAST = Look(tint=(0.95, 1.0, 0.97), light=(0.8, 1.1), saturation=0.9, noise=4.0)


def draw_object_photo(seed: int, split: str, index: int, size: Size = (96, 96)) -> Picture:
    """Draw three objects on plain ground or, every second time, in a street, which is background.

    Labels are ids of VOC, 255 around the objects. ValueError for another split, a negative seed or index, or
    too small a size.
    """
    rng = _random(seed, split, index, size)
    canvas = Canvas(size, label_ids('voc'))
    if index % 2:
        draw_backdrop(canvas, rng, turn=index // 2)
        ground = rng.uniform(0.78, 0.92)
    else:
        ground = _plain_ground(canvas, rng)
    # The farther ones first, each with its foot lower than the one before.
    names = [*rng.choice(SOURCE_TURNS, 2), SOURCE_TURNS[index % len(SOURCE_TURNS)]]
    columns = rng.permutation((0.2, 0.5, 0.8)) + rng.uniform(-0.08, 0.08, 3)
    for name, x, lift, largest in zip(names, columns, (0.12, 0.06, 0), (0.45, 0.45, 0.6), strict=True):
        _pose(canvas, str(name), rng, (x, ground - lift), rng.uniform(0.25, largest))
    image, label = canvas.develop(SUNNY, rng)
    around = cv2.dilate(label, np.ones((3, 3), np.uint8))
    label[(label == 0) & (around > 0)] = IGNORE_INDEX
    return image, label


def draw_street_scene(seed: int, split: str, index: int, size: Size = (96, 192)) -> Picture:
    """Draw a street as seen from a car in Cityscapes; raises as ``draw_object_photo``.

    Labels are train ids, 255 on the bonnet.
    """
    rng = _random(seed, split, index, size)
    fog = pick(rng, ((190, 198, 205), (205, 200, 190)))
    canvas = Canvas(size, label_ids('cityscapes'), fog, sight=rng.uniform(60, 140))
    draw_street(canvas, rng, turn=index)
    return canvas.develop(OVERCAST, rng)


def write_voc_like(root: Path, train: int, val: int, seed: int = 0, size: Size = (96, 96)) -> Path:
    """Write object photos in the layout of PASCAL VOC 2012, unless they are there; returns its folder.

    FileExistsError if ``root`` holds something else; ValueError for negative numbers of images.
    """
    colours = colour_table(voc_palette(21))
    colours[IGNORE_INDEX] = voc_palette(256)[IGNORE_INDEX]

    def write(folder: Path, split: str, count: int) -> None:
        places = ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation')
        images, labels, lists = (folder / 'VOCdevkit/VOC2012' / place for place in places)
        for place in (images, labels, lists):
            place.mkdir(parents=True, exist_ok=True)
        names = [f'drawn_{split}_{index:06d}' for index in range(count)]
        for index, name in enumerate(names):
            image, label = draw_object_photo(seed, split, index, size)
            Image.fromarray(image).save(images / f'{name}.jpg', quality=92)
            coloured = Image.fromarray(label)
            coloured.putpalette(colours.tobytes())
            coloured.save(labels / f'{name}.png')
        (lists / f'{split}.txt').write_text(''.join(f'{name}\n' for name in names))

    asked = dict(kind='voc-like', version=VERSION, seed=seed, size=list(size), train=train, val=val)
    return _write_once(Path(root), asked, write) / 'VOCdevkit/VOC2012'


def write_cityscapes_like(root: Path, train: int, val: int, seed: int = 0, size: Size = (96, 192)) -> Path:
    """Write street scenes in the layout of Cityscapes to ``root``; raises as ``write_voc_like``."""

    def write(folder: Path, split: str, count: int) -> None:
        city = CITIES[split]
        images, labels = (folder / kind / split / city for kind in ('leftImg8bit', 'gtFine'))
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(count):
            image, label = draw_street_scene(seed, split, index, size)
            name = f'{city}_{index:06d}_000019'
            Image.fromarray(image).save(images / f'{name}_leftImg8bit.png')
            Image.fromarray(label).save(labels / f'{name}_gtFine_labelTrainIds.png')

    asked = dict(kind='cityscapes-like', version=VERSION, seed=seed, size=list(size), train=train, val=val)
    return _write_once(Path(root), asked, write)


def label_ids(dataset: str) -> dict[str, int]:
    """Label id of each class, and of what is drawn under another name."""
    ids = {name: index for index, name in enumerate(get_classes(dataset))}
    drawn = {thing: ids[name] for thing, name in CLASS_OF[dataset].items()}
    return {**ids, **drawn, 'ignored': IGNORE_INDEX}


def _random(seed: int, split: str, index: int, size: Size) -> Random:
    if split not in SPLITS:
        raise ValueError(f'split must be one of {SPLITS}, but got {split!r}')
    if seed < 0 or index < 0:
        raise ValueError(f'seed and index must be >= 0, but got seed={seed}, index={index}')
    if min(size) < 32:
        raise ValueError(f'size must be (height, width) of at least 32 pixels, but got {tuple(size)}')
    return np.random.default_rng((seed, SPLITS.index(split), index))


def _plain_ground(canvas: Canvas, rng: Random) -> float:
    """Paint a floor and a background; return where feet are, in 0..1 of the height."""
    grounds = ((120, 150, 80), (150, 145, 140), (190, 165, 125), (95, 100, 110), (110, 150, 180))
    behind = pick(rng, (*grounds, (225, 225, 220), (160, 200, 235)), 0.2)
    floor = pick(rng, grounds, 0.2)
    edge = rng.uniform(0.45, 0.75) * canvas.height
    slope = rng.uniform(-0.06, 0.06) * canvas.height
    w, h = canvas.width, canvas.height
    canvas.polygon([(0, 0), (w, 0), (w, h), (0, h)], behind, 'background')
    for _ in range(rng.integers(0, 5)):  # clutter that is no object: panels, far walls, blots
        x, y = rng.uniform(0, w), rng.uniform(0, edge)
        half_w, half_h = rng.uniform(0.05, 0.25, 2) * canvas.width
        tone = shade(behind, rng.uniform(0.7, 1.3))
        if rng.random() < 0.5:
            canvas.ellipse((x, y), (half_w, half_h), tone, None)
        else:
            left, right, top, low = x - half_w, x + half_w, y - half_h, y + half_h
            canvas.polygon([(left, top), (right, top), (right, low), (left, low)], tone, None)
    canvas.polygon([(0, edge - slope), (w, edge + slope), (w, h), (0, h)], floor, None)
    return rng.uniform(0.78, 0.92)


def _pose(canvas: Canvas, name: str, rng: Random, at: tuple[float, float], share: float) -> None:
    """Draw a thing that fills a share of the photo, its foot ``at`` a part of it."""
    thing, end_on = THINGS[name], rng.random() < 0.5 or share < 0.5
    ridden = name == 'bicycle' and rng.random() < 0.4
    width = thing.end_width if end_on and thing.end_width else thing.width
    height = THINGS['rider'].height if ridden else thing.height
    unit = share * min(1.25 * canvas.width / width, 0.9 * canvas.height / height)
    x, y = at[0] * canvas.width, at[1] * canvas.height
    facing = int(rng.choice((-1, 1)))
    thing.draw(Pen(canvas, name, x, y, unit, facing, end_on), rng)
    if ridden:
        THINGS['rider'].draw(Pen(canvas, 'rider', x, y, unit, facing), rng)


def _write_once(root: Path, asked: dict[str, Any], write: Callable[[Path, str, int], None]) -> Path:
    """Write a set, split by split, next to its folder and move it there when it is complete."""
    if min(asked[split] for split in SPLITS) < 0:
        given = ', '.join(f'{split}={asked[split]}' for split in SPLITS)
        raise ValueError(f'the number of images must be >= 0, but got {given}')
    if root.exists() and any(root.iterdir()):
        note = root / 'dataset.json'
        found = json.loads(note.read_text()) if note.is_file() else 'files without a dataset.json'
        if found != asked:
            raise FileExistsError(
                f'{root} holds {found}, but {asked} was asked for: choose another folder, or remove this one'
            )
        return root
    partial = root.with_name(f'.{root.name}.{os.getpid()}.partial')
    try:
        for split in SPLITS:
            write(partial, split, asked[split])
        (partial / 'dataset.json').write_text(json.dumps(asked, indent=2) + '\n')
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root
