"""A street in perspective, and what is along it."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .canvas import Canvas, Colour, Pen, Random, pick, shade
from .objects import DARK, GLASS, PAINTS, THINGS, foliage

PLASTERS = ((190, 165, 130), (165, 90, 70), (175, 175, 172), (205, 195, 160), (120, 115, 118))
# Seldom seen in a street, so that every scene has one of them in front.
FEATURED = ('bus', 'rider', 'truck', 'bicycle', 'rider')
Span = tuple[float, float]  # from and to
ROADSIDES = ('houses', 'wall', 'fence', 'meadow')


class Street:
    """A straight street in perspective: metres right (x), up (y), ahead (depth)."""

    camera_height = 1.7
    far = 70.0

    def __init__(self, canvas: Canvas, rng: Random) -> None:
        """Choose horizon, direction and widths."""
        self.canvas = canvas
        self.focal = 1.15 * self.canvas.height
        self.horizon = rng.uniform(0.36, 0.46) * self.canvas.height
        self.middle = rng.uniform(0.38, 0.62) * self.canvas.width
        self.half_road = rng.uniform(3.6, 5.2)
        self.kerb = self.half_road + rng.uniform(2.0, 3.5)  # where the sidewalks end

    def pixel(self, x: float, y: float, depth: float) -> tuple[float, float]:
        """A place of the street in canvas pixels."""
        unit = self.focal / depth
        return self.middle + unit * x, self.horizon + unit * (self.camera_height - y)

    def pen(self, name: str, x: float, depth: float, facing: int = 1, end_on: bool = False) -> Pen:
        """A pen for a thing at (x, depth)."""
        self.canvas.distance = depth
        return Pen(self.canvas, name, *self.pixel(x, 0, depth), self.focal / depth, facing, end_on)

    def ground(self, xs: Span, colour: Colour, name: str | None, depths: Span = (1.5, far)) -> None:
        """Cover the ground between two x."""
        (left, right), (near, far) = xs, depths
        corners = [(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)]
        self._surface(corners, colour, name)

    def upright(self, x: float, depths: Span, heights: Span, colour: Colour | None, name: str) -> None:
        """Raise a surface along the street."""
        (near, far), (low, high) = depths, heights
        corners = [(x, low, near), (x, low, far), (x, high, far), (x, high, near)]
        self._surface(corners, colour, name)

    def _surface(self, corners: list, colour: Colour | None, name: str | None) -> None:
        self.canvas.distance = float(np.mean([depth for _, _, depth in corners])) / 2
        self.canvas.polygon([self.pixel(*corner) for corner in corners], colour, name)


def draw_street(canvas: Canvas, rng: Random, turn: int) -> None:
    """Draw a street scene with everything in it.

    The canvas needs label ids for Cityscapes' classes and ``ignored``. What is featured and what borders the
    road take turns by the number ``turn``; ``rng`` decides on everything else.
    """
    street = _empty_street(canvas, rng, turn)
    placed = _traffic(street, rng, FEATURED[turn % len(FEATURED)])
    for name, x, depth in sorted(placed, key=lambda place: -place[2]):
        _place(street, rng, name, x, depth)
    _bonnet(canvas, rng)


def draw_backdrop(canvas: Canvas, rng: Random, turn: int) -> None:
    """Draw an empty street: what borders it, trees and posts, no traffic."""
    street = _empty_street(canvas, rng, turn)
    for name in ('pole', 'tree', 'traffic sign', 'traffic light'):
        if rng.random() < 0.6:
            side, depth = rng.choice((-1, 1)), rng.uniform(8, 30)
            _place(street, rng, name, side * (street.half_road + rng.uniform(0.3, 1.5)), depth)
    canvas.distance = 0


def _empty_street(canvas: Canvas, rng: Random, turn: int) -> Street:
    street = Street(canvas, rng)
    _sky_and_ground(street, rng)
    for side, kind in ((-1, turn), (1, turn + rng.integers(1, 3))):
        _roadside(street, rng, side, ROADSIDES[kind % len(ROADSIDES)])
    return street


def _sky_and_ground(street: Street, rng: Random) -> None:
    canvas, w, h = street.canvas, street.canvas.width, street.canvas.height
    sky = np.array(pick(rng, ((150, 185, 225), (205, 210, 215), (225, 222, 215))))
    for top in range(0, h, 6):  # paler towards the horizon
        tone = sky + (238 - sky) * min(1, top / street.horizon)
        canvas.polygon([(0, top), (w, top), (w, h), (0, h)], tuple(tone), 'sky')
    for _ in range(rng.integers(0, 4)):
        cloud = rng.uniform(0, w), rng.uniform(0, 0.6 * street.horizon)
        axes = rng.uniform(0.05, 0.15) * w, rng.uniform(0.02, 0.05) * h
        canvas.ellipse(cloud, axes, (242, 242, 242), None)
    for x in np.arange(-75, 76, 6):  # the far end of the street
        pen = street.pen('building', x, street.far)
        if rng.random() < 0.5:
            pen.box(-3, 0, 3.5, rng.uniform(4, 12), _plaster(rng))
        else:
            foliage(street.pen('vegetation', x, street.far), rng, 2, 5)
    asphalt = pick(rng, ((92, 92, 96), (110, 106, 104), (78, 80, 86)))
    street.ground((-90, 90), pick(rng, ((110, 135, 70), (135, 135, 80))), 'terrain')
    street.ground((-street.half_road, street.half_road), asphalt, 'road')
    for near in np.arange(rng.uniform(2, 6), 45, 7):
        street.ground((-0.09, 0.09), (220, 220, 215), None, (near, near + 3))


def _plaster(rng: Random) -> Colour:
    return pick(rng, PLASTERS, 0.2)


def _roadside(street: Street, rng: Random, side: int, kind: str) -> None:
    """Draw the sidewalk of one side (-1 is left), and the roadside beyond it."""
    edge, kerb = side * street.half_road, side * street.kerb
    if kind in ('houses', 'wall'):
        street.ground((kerb, side * 90), (150, 142, 138), 'sidewalk')
    if kind == 'houses' or kind == 'wall' and rng.random() < 0.5:
        _houses(street, rng, kerb + side * (0 if kind == 'houses' else 4))
    else:
        for depth in sorted(rng.uniform(9, 45, 8), reverse=True):
            _tree(street, rng, kerb + side * rng.uniform(3, 14), depth)
    if kind == 'wall':
        stone = pick(rng, ((150, 140, 130), (125, 115, 112), (170, 165, 155)))
        high = rng.uniform(1.9, 2.8)
        street.upright(kerb, (2, 55), (0, high), stone, 'wall')
        street.upright(kerb, (2, 55), (high - 0.2, high), shade(stone, 0.75), 'wall')
        for near in np.arange(4, 50, 3.0):
            street.upright(kerb, (near, near + 0.12), (0, high), shade(stone, 0.7), 'wall')
    if kind == 'fence':
        _fence(street, rng, kerb)
    paving = pick(rng, ((165, 155, 150), (150, 148, 150), (175, 160, 145)))
    street.ground((edge, kerb), paving, 'sidewalk')
    street.ground((edge, edge + side * 0.2), shade(paving, 1.25), 'sidewalk')


def _houses(street: Street, rng: Random, x: float) -> None:
    cuts = [55.0]
    while cuts[-1] > 6:
        cuts.append(cuts[-1] - rng.uniform(6, 13))
    for far, near in pairwise(cuts):
        near, high, colour = max(near, 2.5), rng.uniform(6, 15), _plaster(rng)
        street.upright(x, (near, far), (0, high), colour, 'building')
        street.upright(x, (near, far), (0, 0.6), shade(colour, 0.7), 'building')
        street.upright(x, (near, far), (high - 0.5, high), shade(colour, 0.6), 'building')
        for low in np.arange(1.2, high - 2, 3.0):
            for start in np.arange(near + 0.7, far - 1.2, 2.6):
                street.upright(x, (start, start + 1.3), (low, low + 1.6), GLASS, 'building')


def _fence(street: Street, rng: Random, x: float) -> None:
    """Bars with gaps; the label is closed, as in Cityscapes."""
    high, paint = rng.uniform(1.3, 1.9), pick(rng, ((60, 75, 65), (165, 160, 150), (120, 90, 65)))
    street.upright(x, (3, 50), (0, high), None, 'fence')
    for low in (0.15, high - 0.15):
        street.upright(x, (3, 50), (low, low + 0.15), paint, 'fence')
    for near in 3 * 1.05 ** np.arange(56):
        street.upright(x, (near, 1.02 * near), (0, high), paint, 'fence')


def _tree(street: Street, rng: Random, x: float, depth: float) -> None:
    pen, high = street.pen('vegetation', x, depth), rng.uniform(2.6, 4.2)
    pen.stroke([(0, 0), (0, high)], 0.35, (85, 65, 50))
    foliage(pen, rng, high + 1, rng.uniform(1.6, 2.6))


def _post(street: Street, rng: Random, x: float, depth: float, carries: str) -> None:
    """Draw a pole and what it carries: a traffic light, a traffic sign or a lamp."""
    metal, high = pick(rng, ((120, 122, 125), (85, 88, 90), (150, 150, 148))), rng.uniform(2.7, 3.4)
    tall = high + (2.5 if carries == 'pole' else 0)
    pen = street.pen('pole', x, depth)
    pen.stroke([(0, 0), (0, tall)], 0.2, metal)
    if carries == 'pole':
        pen.stroke([(0, tall), (-1.6 * np.sign(x), tall + 0.2)], 0.14, metal)
        return
    pen, lit = street.pen(carries, x, depth), rng.integers(3)
    if carries == 'traffic light':
        pen.box(-0.3, high - 0.7, 0.3, high + 0.7, DARK)
        for lamp, colour in enumerate(((60, 220, 110), (250, 190, 40), (250, 50, 40))):
            shown = colour if lamp == lit else shade(colour, 0.25)
            pen.disc(0, high - 0.42 + 0.42 * lamp, 0.19, shown)
    elif lit == 0:
        pen.disc(0, high, 0.5, (200, 35, 35))
        pen.disc(0, high, 0.32, (240, 240, 235))
    elif lit == 1:
        pen.box(-0.45, high - 0.45, 0.45, high + 0.45, (35, 80, 180))
        pen.polygon([(-0.25, high - 0.25), (0.25, high - 0.25), (0, high + 0.3)], (240, 240, 240))
    else:
        pen.polygon([(-0.58, high - 0.45), (0.58, high - 0.45), (0, high + 0.55)], (205, 40, 35))
        pen.polygon([(-0.32, high - 0.3), (0.32, high - 0.3), (0, high + 0.26)], (245, 225, 120))


def _traffic(street: Street, rng: Random, featured: str) -> Iterator[tuple[str, float, float]]:
    """What is in the street, as (name, x, depth), the featured thing well in view."""
    lane = 0.5 * street.half_road

    def pavement() -> float:
        return rng.choice((-1, 1)) * rng.uniform(street.half_road + 0.8, street.kerb - 0.3)

    for carries in ('traffic light', 'traffic sign', 'pole', 'traffic sign'):
        yield carries, rng.choice((-1, 1)) * (street.half_road + 0.5), rng.uniform(5, 11)
    if rng.random() < 0.7:
        yield 'tree', pavement(), rng.uniform(12, 30)
    for _ in range(rng.integers(2, 5)):
        yield 'person', pavement(), rng.uniform(5, 12)
    if rng.random() < 0.3:
        yield 'person', rng.uniform(-lane, lane), rng.uniform(6, 10)
    for _ in range(rng.integers(2, 5)):
        yield 'car', rng.choice((-1, 1)) * rng.uniform(0.8, 1.5) * lane, rng.uniform(6, 18)
    yield str(rng.choice(FEATURED)), rng.choice((-1, 1)) * lane, rng.uniform(8, 18)
    close = featured in ('bicycle', 'rider')
    yield featured, rng.choice((-1, 1)) * lane, rng.uniform(4.5, 7) if close else rng.uniform(7, 12)


def _place(street: Street, rng: Random, name: str, x: float, depth: float) -> None:
    facing, end_on = int(rng.choice((-1, 1))), rng.random() < 0.65
    if name == 'tree':
        _tree(street, rng, x, depth)
    elif name in ('traffic light', 'traffic sign', 'pole'):
        _post(street, rng, x, depth, name)
    else:
        if name == 'rider':
            THINGS['bicycle'].draw(street.pen('bicycle', x, depth, facing), rng)
        THINGS[name].draw(street.pen(name, x, depth, facing, end_on), rng)


def _bonnet(canvas: Canvas, rng: Random) -> None:
    """The front of the camera's own car, which is ignored."""
    colour = pick(rng, PAINTS)
    canvas.distance = 0
    centre, axes = (canvas.width / 2, canvas.height), (0.42 * canvas.width, 0.07 * canvas.height)
    canvas.ellipse(centre, axes, colour, 'ignored')
