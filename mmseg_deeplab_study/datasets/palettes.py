"""Colours of label maps, by class id and as a table of all 256 ids."""

from collections.abc import Sequence

import numpy as np

Palette = Sequence[Sequence[int]]
# Of pixels without a label; report.js has it too.
UNLABELLED = (136, 136, 136)


def voc_palette(classes: int) -> list[tuple[int, int, int]]:
    """PASCAL VOC's colours: the bits of an id spread over the channels."""

    def channel(label: int, first: int) -> int:
        return sum(((label >> (3 * bit + first)) & 1) << (7 - bit) for bit in range(3))

    return [tuple(channel(label, first) for first in range(3)) for label in range(classes)]


def colour_table(palette: Palette, rest: Sequence[int] = (0, 0, 0)) -> np.ndarray:
    """The colour of every id, uint8 ``(256, 3)``: the palette's, then ``rest``.

    Pillow saves a shorter palette of up to 16 colours in 4 bits, which turns id 255 into 15.
    """
    table = np.full((256, 3), rest, np.uint8)
    table[: len(palette)] = palette
    return table
