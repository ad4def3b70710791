"""The things of the drawn sets, each by one function, in metres; the canvas knows their label ids."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .canvas import Pen, Random, pick, shade

GLASS, DARK, RED, LIGHT = (58, 76, 92), (28, 28, 32), (205, 30, 30), (250, 240, 190)
SKINS = ((240, 200, 170), (205, 150, 115), (130, 88, 62))
PAINTS = ((190, 40, 40), (40, 75, 160), (235, 235, 235), (35, 37, 42), (150, 155, 160))
PAINTS += ((225, 180, 40), (45, 120, 75), (110, 40, 60), (90, 165, 200), (215, 110, 40))


def _wheels(pen: Pen, centres: Sequence[float], radius: float) -> None:
    for x in centres:
        pen.disc(x, radius, radius, DARK)
        pen.disc(x, radius, 0.5 * radius, (165, 165, 170))


def _lamps(pen: Pen, rng: Random, x: float, y: float, radius: float) -> None:
    colour = RED if rng.random() < 0.5 else LIGHT  # seen from the back, or from the front
    for side in (-1, 1):
        pen.disc(side * x, y, radius, colour)


def _person(pen: Pen, rng: Random) -> None:
    shirt, trousers, stride = pick(rng, PAINTS), pick(rng, PAINTS, 0.3), rng.uniform(0.05, 0.32)
    skin, hair = pick(rng, SKINS), pick(rng, ((40, 30, 25), (120, 80, 40)))
    swing = rng.uniform(0.2, 0.4)
    pen.shadow(0.4)
    for foot in (-stride, stride):
        pen.stroke([(0, 0.9), (foot, 0.06)], 0.2, trousers)
        pen.stroke([(foot, 0.05), (foot + 0.1, 0.05)], 0.12, DARK)
    for hand in (-swing, swing):
        pen.stroke([(0, 1.38), (hand, 0.85)], 0.13, shade(shirt, 0.8))
    pen.polygon([(-0.25, 1.45), (0.25, 1.45), (0.2, 0.8), (-0.2, 0.8)], shirt)
    pen.disc(-0.02, 1.66, 0.16, hair)
    pen.disc(0.03, 1.6, 0.14, skin)


def _rider(pen: Pen, rng: Random) -> None:
    """A person as seated on a bicycle, which is drawn before."""
    shirt, trousers, skin = pick(rng, PAINTS), pick(rng, PAINTS, 0.3), pick(rng, SKINS)
    pen.stroke([(-0.22, 0.98), (0.16, 0.75), (0.02, 0.28)], 0.18, trousers)
    pen.stroke([(0.08, 1.45), (0.42, 1.08)], 0.13, shade(shirt, 0.8))
    pen.polygon([(-0.36, 1.0), (-0.1, 1.52), (0.2, 1.5), (0.02, 0.92)], shirt)
    pen.disc(0.16, 1.68, 0.17, pick(rng, PAINTS))
    pen.disc(0.2, 1.62, 0.13, skin)


def _bicycle(pen: Pen, rng: Random) -> None:
    frame, wheel = pick(rng, PAINTS), 0.35
    turns = np.linspace(0, 2 * np.pi, 17)
    pen.shadow(0.8)
    for x in (-0.55, 0.55):
        pen.disc(x, wheel, wheel, None)
        rim = [(x + wheel * np.cos(a), wheel + wheel * np.sin(a)) for a in turns]
        pen.stroke(rim, 0.07, DARK)
        for spoke in range(4):
            pen.stroke([rim[2 * spoke], rim[2 * spoke + 8]], 0.01, (150, 150, 150))
    pen.polygon([(-0.15, 0.85), (0.4, 0.8), (-0.02, 0.32)], None)
    crank = (-0.02, 0.32)
    pen.stroke([(-0.55, wheel), crank, (0.4, 0.8), (-0.15, 0.82), (-0.55, wheel)], 0.07, frame)
    pen.stroke([crank, (-0.2, 0.95)], 0.07, frame)
    pen.stroke([(0.55, wheel), (0.38, 1.0), (0.5, 1.05)], 0.07, frame)
    pen.stroke([(-0.32, 0.97), (-0.08, 0.97)], 0.09, DARK)


def _car(pen: Pen, rng: Random) -> None:
    paint = pick(rng, PAINTS)
    if pen.end_on:
        pen.shadow(1.0)
        for side in (-0.68, 0.68):
            pen.box(side - 0.13, 0, side + 0.13, 0.4, DARK)
        pen.box(-0.9, 0.25, 0.9, 0.95, paint)
        pen.polygon([(-0.82, 0.93), (0.82, 0.93), (0.62, 1.48), (-0.62, 1.48)], shade(paint, 0.85))
        pen.polygon([(-0.68, 0.98), (0.68, 0.98), (0.53, 1.38), (-0.53, 1.38)], GLASS)
        pen.box(-0.88, 0.25, 0.88, 0.4, shade(paint, 0.6))
        pen.box(-0.25, 0.45, 0.25, 0.58, (235, 235, 225))
        _lamps(pen, rng, 0.7, 0.72, 0.13)
        return
    back = rng.uniform(-2.0, -1.4)  # from estate to saloon
    pen.shadow(2.2)
    pen.polygon([(-2.1, 0.3), (-2.15, 0.9), (1.0, 0.95), (2.0, 0.78), (2.1, 0.3)], paint)
    pen.polygon([(back, 0.9), (back + 0.35, 1.45), (0.4, 1.45), (1.1, 0.9)], shade(paint, 0.85))
    pen.polygon([(back + 0.22, 0.95), (back + 0.48, 1.36), (-0.42, 1.36), (-0.42, 0.95)], GLASS)
    pen.polygon([(-0.28, 0.95), (-0.28, 1.36), (0.36, 1.36), (0.88, 0.95)], GLASS)
    pen.box(-2.0, 0.3, 2.0, 0.4, shade(paint, 0.6))
    _wheels(pen, (-1.3, 1.3), 0.35)
    pen.disc(2.0, 0.68, 0.1, LIGHT)
    pen.disc(-2.05, 0.75, 0.1, RED)


def _bus(pen: Pen, rng: Random) -> None:
    paint, roof = pick(rng, PAINTS[:3] + PAINTS[5:]), pick(rng, ((240, 240, 235), (200, 205, 210)))
    if pen.end_on:
        pen.shadow(1.4)
        for side in (-0.9, 0.9):
            pen.box(side - 0.2, 0, side + 0.2, 0.5, DARK)
        pen.box(-1.25, 0.3, 1.25, 3.0, paint)
        pen.box(-1.1, 1.25, 1.1, 2.4, GLASS)
        pen.stroke([(0, 1.25), (0, 2.4)], 0.06, DARK)
        pen.box(-0.8, 2.52, 0.8, 2.85, (250, 170, 40))
        _lamps(pen, rng, 0.95, 0.75, 0.17)
        return
    half = rng.uniform(4.0, 5.2)
    pen.shadow(half)
    pen.box(-half, 0.35, half, 3.0, paint)
    pen.box(-half, 2.7, half, 3.0, roof)
    for left in np.arange(-half + 0.3, half - 1.3, 1.25):
        pen.box(left, 1.45, left + 1.05, 2.45, GLASS)
    pen.box(half - 2.1, 0.5, half - 1.1, 2.5, shade(GLASS, 1.35))
    pen.box(half - 0.75, 1.2, half, 2.5, GLASS)
    _wheels(pen, (-half + 2.0, half - 2.8), 0.5)
    pen.disc(half - 0.15, 0.75, 0.15, LIGHT)


def _truck(pen: Pen, rng: Random) -> None:
    cab, cargo = pick(rng, PAINTS), pick(rng, ((225, 225, 220), (170, 150, 110), (80, 105, 140)))
    if pen.end_on:
        pen.shadow(1.4)
        for side in (-0.85, 0.85):
            pen.box(side - 0.25, 0, side + 0.25, 0.8, DARK)
        pen.box(-1.25, 0.85, 1.25, 3.5, cargo)
        pen.stroke([(0, 0.95), (0, 3.4)], 0.08, shade(cargo, 0.5))
        pen.box(-1.2, 0.55, 1.2, 0.85, (75, 75, 78))
        if rng.random() < 0.5:
            pen.box(-1.15, 0.4, 1.15, 2.7, cab)
            pen.box(-1.0, 1.5, 1.0, 2.4, GLASS)
        _lamps(pen, rng, 0.95, 0.7, 0.16)
        return
    pen.shadow(3.8)
    pen.box(-3.6, 0.5, 3.4, 0.85, (75, 75, 78))
    pen.box(-3.8, 0.85, 1.5, 3.5, cargo)
    for rib in np.arange(-3.3, 1.4, 0.8):
        pen.stroke([(rib, 0.95), (rib, 3.4)], 0.06, shade(cargo, 0.75))
    pen.polygon([(1.7, 0.5), (3.7, 0.5), (3.7, 1.5), (3.3, 2.7), (1.7, 2.7)], cab)
    pen.polygon([(2.3, 1.55), (3.55, 1.55), (3.2, 2.45), (2.3, 2.45)], GLASS)
    _wheels(pen, (-2.8, -1.7, 2.7), 0.5)


def foliage(pen: Pen, rng: Random, height: float, radius: float) -> None:
    """A cloud of leaves around (0, height), dark below and light above."""
    green = pick(rng, ((52, 98, 45), (75, 110, 40), (40, 85, 55)), 0.2)
    for _ in range(12):
        x, y = rng.uniform(-0.65, 0.65, 2) * radius
        leaves = shade(green, 1 + 0.35 * y / radius)
        pen.disc(x, height + y, rng.uniform(0.35, 0.55) * radius, leaves)


def _aeroplane(pen: Pen, rng: Random) -> None:
    body = pick(rng, ((235, 235, 238), (200, 205, 215), (225, 180, 60)))
    fin = pick(rng, PAINTS)
    pen.polygon([(-9, 3.6), (-9, 2.9), (7, 2.2), (9.6, 3.1), (6, 4.2), (-5, 4.2)], body)
    pen.polygon([(-9, 3.6), (-9.8, 6.6), (-8.2, 6.6), (-5, 4.2)], fin)
    pen.polygon([(-9, 3.5), (-10.2, 4.2), (-9.2, 4.2), (-6.5, 3.4)], shade(body, 0.75))
    pen.polygon([(2.5, 3), (-4.5, 0.6), (-5.2, 1), (-1.5, 3)], shade(body, 0.7))
    pen.disc(0.2, 1.7, 0.6, shade(fin, 0.8))
    for x in np.arange(-5, 6.5, 1.3):
        pen.disc(x, 3.6, 0.25, GLASS)


def _chair(pen: Pen, rng: Random) -> None:
    wood, seat = pick(rng, ((130, 85, 45), (70, 50, 40), (215, 185, 140))), pick(rng, PAINTS)
    pen.shadow(0.35)
    for x, y in ((-0.24, 0), (0.24, 0), (-0.1, 0.08), (0.34, 0.08)):
        pen.stroke([(x, y), (x, 0.45)], 0.05, wood)
    pen.polygon([(-0.26, 0.42), (0.28, 0.42), (0.36, 0.52), (-0.16, 0.52)], seat)
    for x in (-0.25, -0.13):
        pen.stroke([(x, 0.45), (x - 0.05, 1.0)], 0.06, wood)
    pen.polygon([(-0.3, 0.7), (-0.34, 1.02), (-0.14, 1.08), (-0.1, 0.76)], seat)


def _dog(pen: Pen, rng: Random) -> None:
    fur = pick(rng, ((150, 100, 55), (60, 45, 38), (225, 205, 170), (110, 105, 100)))
    pen.shadow(0.5)
    for x in (-0.35, -0.22, 0.2, 0.33):
        pen.stroke([(x, 0.35), (x + 0.03, 0.04)], 0.09, shade(fur, 0.8))
    pen.polygon([(-0.42, 0.55), (-0.4, 0.3), (0.4, 0.28), (0.45, 0.6)], fur)
    pen.stroke([(-0.4, 0.5), (-0.6, 0.75)], 0.07, fur)
    pen.stroke([(0.35, 0.5), (0.5, 0.72)], 0.2, fur)
    pen.disc(0.52, 0.75, 0.15, fur)
    pen.polygon([(0.55, 0.83), (0.8, 0.74), (0.78, 0.66), (0.55, 0.64)], shade(fur, 1.1))
    pen.polygon([(0.42, 0.88), (0.34, 0.62), (0.48, 0.68)], shade(fur, 0.65))
    pen.disc(0.79, 0.71, 0.03, DARK)


@dataclass(frozen=True)
class Thing:
    """How a thing is drawn, and its metres from the side and, vehicles, end on."""

    draw: Callable[[Pen, Random], None]
    width: float
    height: float
    end_width: float | None = None


THINGS = {
    'person': Thing(_person, 0.9, 1.82),
    'car': Thing(_car, 4.3, 1.5, 1.85),
    'bus': Thing(_bus, 10.4, 3.0, 2.5),
    'bicycle': Thing(_bicycle, 1.85, 1.1),
    'aeroplane': Thing(_aeroplane, 20.0, 6.6),
    'chair': Thing(_chair, 0.75, 1.1),
    'dog': Thing(_dog, 1.4, 0.95),
    'truck': Thing(_truck, 7.6, 3.5, 2.5),
    'rider': Thing(_rider, 0.9, 1.85),
}
