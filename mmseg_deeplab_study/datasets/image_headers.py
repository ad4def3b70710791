"""What the headers of photographs and label maps say, without decoding a pixel.

Needs Pillow alone, and nothing of this package: the doctor loads this file by its path.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image

_ORIENTATION = 0x0112  # tag of EXIF and TIFF
_LOSSY = ('JPEG', 'MPO', 'JPEG2000')
_TURN = 'write the photograph without orientation (PIL.ImageOps.exif_transpose), and the label map to fit it'
DAMAGED = (OSError, SyntaxError)  # what Pillow raises, the second for a broken PNG
_UNREADABLE = (*DAMAGED, ValueError, struct.error, Image.DecompressionBombError)


class UnfitImageError(ValueError):
    """What is wrong with a file: ``text`` names it, ``cure`` is what to do."""

    def __init__(self, text: str, cure: str) -> None:
        super().__init__(f'{text}; {cure}')
        self.text, self.cure = text, cure


def damaged(name: object, error: Exception) -> UnfitImageError:
    """What to raise where a label map cannot be read."""
    return UnfitImageError(f'{name}: damaged label map ({error})', 'copy, unpack or download it again')


def label_size(
    file: str | Path | BinaryIO, name: object = None, modes: Sequence[str] = ('L', 'P')
) -> tuple[int, int]:
    """Width and height of a label map, whose pixels must be ids of 8 bits.

    Args:
        file: the label map.
        name: what errors call it, if that is not ``file``.
        modes: Pillow's modes that whoever decodes the file reads as ids.

    Raises:
        UnfitImageError: it has colours, several channels, other than 8 bits or lossy compression, or cannot
            be read.
    """
    name = file if name is None else name
    try:
        with Image.open(file) as image:
            mode, size, form = image.mode, image.size, image.format
            if mode == 'L' and image.tile:
                # Pillow stretches grey of other than 8 bits: 1 of 'L;4' becomes 17.
                stored = image.tile[0].args
                stored = str(stored if isinstance(stored, str) else stored[0])
                mode = stored if stored.startswith('L;') else mode
            lossy = form in _LOSSY or 'jpeg' in str(image.info.get('compression'))
    except FileNotFoundError:
        raise
    except _UNREADABLE as error:
        raise damaged(name, error) from error
    if mode not in modes:
        raise UnfitImageError(
            f'{name}: a label map of mode {mode}, expected ids in one channel of 8 bits '
            f'(mode {" or ".join(modes)})',
            'write the class ids as PNG of 8 bits, not colours, instances or other bits',
        )
    if lossy:
        raise UnfitImageError(
            f'{name}: a label map in JPEG, which changes ids, expected PNG',
            'make it from the original label map again; converting this file does not bring the ids back',
        )
    return size


def photograph_size(path: str | Path, turns: bool = True) -> tuple[tuple[int, int] | None, int]:
    """Width and height of a photograph as it is loaded, and its EXIF orientation, 1 if it has none.

    The size is None where Pillow cannot tell. ``turns`` is whether the loader follows the orientation, as
    those of OpenCV and Pillow do unless they are told not to.
    """
    try:
        with Image.open(path) as image:
            (width, height), orientation = image.size, _orientation(image)
            # Of TIFF every loader turns the pixels, and Pillow has turned the size.
            if turns and orientation >= 5 and image.format != 'TIFF':
                width, height = height, width
    except _UNREADABLE:
        # The pipeline may have a loader that can.
        return None, 1
    return (width, height), orientation


def _orientation(image: Image.Image) -> int:
    if image.format == 'TIFF':
        found = image.getexif().get(_ORIENTATION)
    else:
        # Not getexif(), which decodes a PNG, and looks into XMP, as OpenCV does not.
        content = _png_exif(image.fp) if image.format == 'PNG' else image.info.get('exif', b'')
        exif = Image.Exif()
        try:
            exif.load(content)
            found = exif.get(_ORIENTATION)
        except _UNREADABLE:
            found = None
    return found if found in range(1, 9) else 1


def _png_exif(file: BinaryIO) -> bytes:
    """EXIF of a PNG, which may stand after the pixels."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack('>I4s', head)
        if kind == b'eXIf':
            return file.read(length)
        file.seek(length + 4, 1)
    return b''


def check_pair(
    photograph: str | Path, label: str | Path, turns: bool = True, modes: Sequence[str] = ('L', 'P')
) -> int:
    """Check a label map and that it has its photograph's size; returns the photograph's EXIF orientation.

    Arguments are as in ``photograph_size`` and ``label_size``.

    Raises:
        UnfitImageError: the label map does not fit; names it, or both and their sizes.
    """
    labelled = label_size(label, modes=modes)
    size, orientation = photograph_size(photograph, turns)
    if size is None or size == labelled:
        return orientation
    turned = turns and orientation >= 5
    raise UnfitImageError(
        f'{photograph}: {size[0]}x{size[1]} pixels{f" (EXIF orientation {orientation})" * turned}, but its '
        f'label map {label} has {labelled[0]}x{labelled[1]}',
        _TURN if turned and size == labelled[::-1] else 'give it the label map that was made for it',
    )


def orientation_warning(turned: Mapping[str, int], photographs: int) -> tuple[str, str]:
    """What to say of photographs with an EXIF orientation other than 1, by path, and what to do."""
    path, orientation = next(iter(turned.items()))
    return (
        f'{len(turned)} of {photographs} photographs have an EXIF orientation other than 1, first {path} '
        f'({orientation}): a loader may turn them, but turns no label map',
        'look whether their label maps fit, or write them without orientation (PIL.ImageOps.exif_transpose)',
    )
