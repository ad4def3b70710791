"""What the sets are drawn with: a canvas of image and label, a pen in metres."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Colour = tuple[int, int, int]
Size = tuple[int, int]  # height and width in pixels
Picture = tuple[np.ndarray, np.ndarray]  # image (H, W, 3) and label (H, W), both uint8
Point = tuple[float, float]
Points = Sequence[Point]
Random = np.random.Generator

# Standard deviation of the texture of a class, in grey levels; what is not named here is smooth.
GRAIN = {
    'vegetation': 22,
    'terrain': 17,
    'building': 7,
    'wall': 11,
    'road': 6,
    'sidewalk': 9,
    'dog': 12,
}
SMOOTH_GRAIN = 3


@dataclass(frozen=True)
class Look:
    """How a camera renders colours: tint and strength of light, noise."""

    tint: tuple[float, float, float]
    light: tuple[float, float]
    saturation: float
    noise: float


class Canvas:
    """An image and its label map, painted together at twice the size of the picture.

    Without a class name a shape changes the image only (a shadow), without a colour the label only (the air
    between spokes).
    """

    scale = 2

    def __init__(
        self, size: Size, ids: dict[str, int], fog: Colour = (0, 0, 0), sight: float = float('inf')
    ) -> None:
        """Begin a picture of ``size`` (H, W) pixels, with the label id of each class name.

        Distant things fade to the colour ``fog``, which has taken about 63 % at ``sight`` metres.
        """
        self.height, self.width = size[0] * self.scale, size[1] * self.scale
        self.ids, self.fog, self.sight = ids, fog, sight
        self.distance = 0.0  # metres to what is being painted
        # The fourth channel is the grain, so that one call of OpenCV paints colour and texture.
        self.pixels = np.zeros((self.height, self.width, 4), np.uint8)
        self.label = np.zeros((self.height, self.width), np.uint8)

    def polygon(self, points: Points, colour: Colour | None, name: str | None) -> None:
        """Fill a polygon given in canvas pixels."""
        corners = [np.round(np.array(points)).astype(np.int32)]
        self._paint(colour, name, lambda plane, value: cv2.fillPoly(plane, corners, value))

    def ellipse(self, centre: Point, axes: Point, colour: Colour | None, name: str | None) -> None:
        """Fill an upright ellipse given in canvas pixels."""
        at, half = tuple(map(round, centre)), tuple(max(1, round(value)) for value in axes)
        self._paint(colour, name, lambda plane, value: cv2.ellipse(plane, at, half, 0, 0, 360, value, -1))

    def stroke(self, points: Points, width: float, colour: Colour | None, name: str | None) -> None:
        """Draw a line through points given in canvas pixels, at least one pixel wide."""
        path, thick = [np.round(np.array(points)).astype(np.int32)], max(1, round(width))
        self._paint(colour, name, lambda plane, value: cv2.polylines(plane, path, False, value, thick))

    def develop(self, look: Look, rng: Random) -> Picture:
        """The finished image ``(H, W, 3)`` uint8 RGB and its label ``(H, W)`` uint8."""
        half = self.width // self.scale, self.height // self.scale
        pixels = cv2.resize(self.pixels, half, interpolation=cv2.INTER_AREA).astype(np.float32)
        rgb, grain = pixels[..., :3], pixels[..., 3:]
        rgb = rgb + grain * rng.standard_normal(grain.shape, np.float32)
        grey = rgb.mean(-1, keepdims=True)
        rgb = grey + look.saturation * (rgb - grey)
        patches = cv2.resize(rng.uniform(0.85, 1.15, (4, 6)).astype(np.float32), half)[..., None]
        rgb = rgb * patches * np.float32(look.tint) * np.float32(rng.uniform(*look.light))
        rgb += look.noise * rng.standard_normal(rgb.shape, np.float32)
        label = self.label[:: self.scale, :: self.scale].copy()
        return rgb.clip(0, 255).astype(np.uint8), label

    def _paint(self, colour: Colour | None, name: str | None, draw: Callable) -> None:
        if colour is not None:
            kept = np.exp(-self.distance / self.sight)
            r, g, b = (kept * own + (1 - kept) * fog for own, fog in zip(colour, self.fog, strict=True))
            draw(self.pixels, (r, g, b, GRAIN.get(name, SMOOTH_GRAIN)))
        if name is not None:
            draw(self.label, self.ids[name])


@dataclass(frozen=True)
class Pen:
    """Draws a thing of class ``name`` in metres: x to its front, y up, (0, 0) at its foot.

    The foot is at ``x, y`` in canvas pixels, of which ``unit`` are a metre. Its front is to the right where
    ``facing`` is 1, to the left where it is -1; vehicles ``end_on`` are seen from the front or the back.
    """

    canvas: Canvas
    name: str
    x: float
    y: float
    unit: float
    facing: int = 1
    end_on: bool = False

    def polygon(self, points: Points, colour: Colour | None) -> None:
        """Fill a polygon."""
        self.canvas.polygon(self._pixels(points), colour, self.name)

    def box(self, left: float, low: float, right: float, high: float, colour: Colour | None) -> None:
        """Fill a rectangle."""
        self.polygon([(left, low), (right, low), (right, high), (left, high)], colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour | None) -> None:
        """Fill a circle."""
        (at,) = self._pixels([(x, y)])
        self.canvas.ellipse(at, (radius * self.unit, radius * self.unit), colour, self.name)

    def stroke(self, points: Points, width: float, colour: Colour) -> None:
        """Draw a line through points."""
        self.canvas.stroke(self._pixels(points), width * self.unit, colour, self.name)

    def shadow(self, half_width: float) -> None:
        """Darken the ground below the thing."""
        (at,) = self._pixels([(0, 0.02)])
        self.canvas.ellipse(at, (half_width * self.unit, 0.13 * self.unit), (45, 45, 48), None)

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        return [(self.x + self.facing * self.unit * x, self.y - self.unit * y) for x, y in points]


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor below 1) or lighter (above 1)."""
    return tuple(min(255, int(value * factor)) for value in colour)


def pick(rng: Random, colours: Sequence[Colour], spread: float = 0.15) -> Colour:
    """One of the colours, with a brightness that varies by ``spread``."""
    return shade(colours[rng.integers(len(colours))], rng.uniform(1 - spread, 1 + spread))
