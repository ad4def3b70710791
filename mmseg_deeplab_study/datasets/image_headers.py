"""Whether photographs and label maps are fit: what headers say, where files end, which ids they have.

Needs Pillow, and nothing of this package: the doctor loads this file by its path. OpenCV, where it is there,
is asked about a photograph that Pillow cannot open.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

Size = tuple[int, int]  # width and height in pixels
_ORIENTATION = 0x0112  # tag of EXIF and TIFF
_LOSSY = ('JPEG', 'MPO', 'JPEG2000')
_TURN = 'write the photograph without orientation (PIL.ImageOps.exif_transpose), and the label map to fit it'
# What Pillow raises, the second for a broken PNG.
DAMAGED = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
# Pillow's modes of what MMSeg reads as ids by Pillow; of grey of 2 and 4 bits it reads other ones.
MODES = ('L', 'P', '1')
# Without these bytes after its pixels, a file was cut short. In the pixels they cannot be.
_ENDS = {'PNG': b'IEND\xaeB`\x82', 'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9'}
_TAIL = 2**16  # bytes, which an EXIF after the pixels has room in
LISTED = 10
_TRAIN_IDS = '_gtFine_labelTrainIds.png'
_MAKE_TRAIN_IDS = 'python tools/prepare_cityscapes.py {root} -o {root}'


class UnfitImageError(ValueError):
    """What is wrong with a file, ``text`` with its name; ``cure`` is what to do, and tells kinds apart."""

    def __init__(self, name: object, what: str, cure: str) -> None:
        self.name, self.text, self.cure = name, f'{name}: {what}', cure
        super().__init__(f'{self.text}; {cure}')


class AbsentFileError(UnfitImageError):
    """A photograph or label map that is not there."""


def damaged(name: object, error: Exception | str, what: str = 'label map') -> UnfitImageError:
    """What to raise where an image cannot be read."""
    if isinstance(error, Image.UnidentifiedImageError):
        # Pillow's text has the path again, or the address of an object.
        error = 'empty, cut short or not an image'
    return UnfitImageError(name, f'damaged {what} ({error})', 'copy, unpack or download it again')


def absent_label(photograph: object, label: str | Path) -> AbsentFileError:
    """What to raise where a label map is missing, with how to make it."""
    cure, (root, _, _) = 'complete the folder, or shorten the list', str(label).rpartition('/gtFine/')
    if str(label).endswith(_TRAIN_IDS):
        cure = f'make them with {_MAKE_TRAIN_IDS.format(root=root)}'
    elif Path(label).parent.name == 'SegmentationClassAug':
        cure = "MMSegmentation's tools/dataset_converters/voc_aug.py makes it from SBD"
    what = 'no such label map' if photograph is None else f'no label map for {photograph}'
    return AbsentFileError(label, what, cure)


def ids_outside(
    label: object, ids: Iterable[int], classes: int, ignored: int = 255
) -> UnfitImageError | None:
    """What to say of the ids of a label map where some are of no class; None if all are."""
    outside = [i for i in ids if i >= classes and i != ignored]
    if not outside:
        return None
    root, _, _ = str(label).rpartition('/gtFine/')
    if str(label).endswith('_labelIds.png'):
        cure = 'for Cityscapes use *_labelTrainIds.png, not *_labelIds.png'
    elif str(label).endswith(_TRAIN_IDS) and max(outside) <= 33:  # the last of labelIds
        cure = f'these are labelIds: delete them and run {_MAKE_TRAIN_IDS.format(root=root)}'
    else:
        cure = f'write the class ids, with {ignored} for what is to be ignored; a palette only shows them'
    text = (
        f'label ids {outside[:10]} lie outside the label space of {classes} classes (0 to {classes - 1}, '
        f'{ignored} ignored)'
    )
    return UnfitImageError(label, text, cure)


def by_kind(errors: Iterable[UnfitImageError]) -> list[UnfitImageError]:
    """One error of each kind: describes the first file, lists nine more and counts the others."""
    kinds: dict[tuple[type, str], list[UnfitImageError]] = {}
    for error in errors:
        kinds.setdefault((type(error), error.cure), []).append(error)
    merged = []
    for (kind, cure), (first, *others) in kinds.items():
        what = first.text.removeprefix(f'{first.name}: ')
        if others:
            what += f'; likewise {", ".join(str(error.name) for error in others[: LISTED - 1])}'
        if len(others) >= LISTED:
            what += f' and {len(others) - LISTED + 1} more'
        merged.append(kind(first.name, what, cure))
    return merged


def refuse(errors: Iterable[UnfitImageError]) -> None:
    """Raise what is wrong, if anything is: FileNotFoundError of absent files, else ValueError."""
    if kinds := by_kind(errors):
        kind = FileNotFoundError if isinstance(kinds[0], AbsentFileError) else ValueError
        raise kind('. '.join(map(str, kinds)))


def label_size(file: str | Path | BinaryIO, name: object = None, modes: Sequence[str] = MODES) -> Size:
    """Width and height of a label map, whose ids have up to 8 bits; ``modes`` are those read as ids.

    UnfitImageError, of ``name``, if it has colours, other bits or lossy compression, or is damaged.
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
            cut = _cut_short(image)
    except DAMAGED as error:
        raise damaged(name, error) from error
    if cut:
        raise damaged(name, cut)
    if mode not in modes:
        expected = ' or '.join(other for other in modes if other != '1')
        raise UnfitImageError(
            name,
            f'a label map of mode {mode}, expected ids in one channel of 8 bits (mode {expected})',
            'write the class ids as PNG of 8 bits, not colours, instances or other bits',
        )
    if lossy:
        raise UnfitImageError(
            name,
            'a label map in JPEG, which changes ids, expected PNG',
            'make it from the original label map again; converting this file does not bring the ids back',
        )
    return size


def label_ids(path: str | Path) -> list[int]:
    """The ids of a label map that ``label_size`` passes; decodes it, 10 ms for 1024x2048."""
    try:
        with Image.open(path) as image:
            found = [i for i, pixels in enumerate(image.histogram()) if pixels]
            # Pillow has 1 bit as 0 and 255.
            return [min(i, 1) for i in found] if image.mode == '1' else found
    except DAMAGED as error:
        raise damaged(path, error) from error


def decode_photograph(path: str | Path) -> None:
    """Check a PNG's sums and decode a photograph, 50 ms for 1024x2048; UnfitImageError if damaged."""
    try:
        with Image.open(path) as image:
            image.verify()
        with Image.open(path) as image:
            image.load()
    except DAMAGED as error:
        if not _opencv_reads(path):
            raise damaged(path, error, 'photograph') from error


def photograph_size(path: str | Path, turns: bool = True) -> tuple[Size | None, int]:
    """Width and height of a photograph as loaded (None if OpenCV alone reads it), and its EXIF orientation.

    ``turns`` is whether the loader follows the orientation, as OpenCV and Pillow do unless told not to.
    UnfitImageError if it was cut short or cannot be read.
    """
    try:
        with Image.open(path) as image:
            (width, height), cut = image.size, _cut_short(image)
            orientation = 1 if cut else _orientation(image)
            # Of TIFF every loader turns the pixels, and Pillow has turned the size.
            if turns and orientation >= 5 and image.format != 'TIFF':
                width, height = height, width
    except DAMAGED as error:
        if not _opencv_reads(path):
            raise damaged(path, error, 'photograph') from error
        return None, 1
    if cut:
        raise damaged(path, cut, 'photograph')
    return (width, height), orientation


def _opencv_reads(path: str | Path) -> bool:
    try:
        import cv2
    except ImportError:
        return False
    try:
        return cv2.imread(str(path)) is not None
    except cv2.error:
        return False


def _cut_short(image: Image.Image) -> str:
    """Why an open file cannot be whole, by its last bytes; empty for other formats than PNG and JPEG."""
    if (end := _ENDS.get(image.format)) is None:
        return ''
    # After the header, which may have a small picture with an end of its own.
    start, size = image.fp.tell(), image.fp.seek(0, os.SEEK_END)
    # Some programs write more after the end.
    for place in (max(start, size - _TAIL), start):
        image.fp.seek(place)
        if end in image.fp.read():
            return ''
    return f'cut short: a {image.format} without its end'


def _orientation(image: Image.Image) -> int:
    if image.format == 'TIFF':
        found = image.getexif().get(_ORIENTATION)
    else:
        # Not getexif(), which decodes a PNG, and looks into XMP, as OpenCV does not.
        content = image.info.get('exif', b'')
        if image.format == 'PNG' and not content:
            content = _late_exif(image.fp)
        exif = Image.Exif()
        try:
            exif.load(content)
            found = exif.get(_ORIENTATION)
        except DAMAGED:
            found = None
    return found if found in range(1, 9) else 1


def _late_exif(file: BinaryIO) -> bytes:
    """EXIF of a PNG that comes after the pixels, where Pillow finds it only by decoding these."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
    tail = file.read()
    place = tail.rfind(b'eXIf')
    if place < 4:
        return b''
    end = place + 4 + int.from_bytes(tail[place - 4 : place], 'big')
    # Pixels may have these four letters, but not their check sum.
    right = zlib.crc32(tail[place:end]) == int.from_bytes(tail[end : end + 4], 'big')
    return tail[place + 4 : end] if right else b''


def check_pair(
    photograph: str | Path | None,
    label: str | Path | None,
    turns: bool = True,
    modes: Sequence[str] = MODES,
    same_size: bool = True,
) -> int:
    """Check a photograph and its label map by their headers; returns the EXIF orientation, 1 without one.

    None is not looked at; ``turns`` as in ``photograph_size``, ``modes`` as in ``label_size``.
    UnfitImageError names the one that does not fit, or both and their sizes.
    """
    if photograph is not None and not os.path.isfile(photograph):
        cure = 'complete the folder, or correct the list that names it'
        raise AbsentFileError(photograph, 'no such photograph', cure)
    if label is not None and not os.path.isfile(label):
        raise absent_label(photograph, label)
    labelled = None if label is None else label_size(label, modes=modes)
    if photograph is None:
        return 1
    size, orientation = photograph_size(photograph, turns)
    if size is None or labelled in (None, size) or not same_size:
        return orientation
    turned = turns and orientation >= 5
    raise UnfitImageError(
        photograph,
        f'{size[0]}x{size[1]} pixels{f" (EXIF orientation {orientation})" * turned}, but its label map '
        f'{label} has {labelled[0]}x{labelled[1]}',
        _TURN if turned and size == labelled[::-1] else 'give it the label map that was made for it',
    )


def find_faults(
    pairs: Iterable[Sequence[Any]], then: Callable[..., None] = lambda *pair: None
) -> tuple[list[UnfitImageError], dict[Any, int]]:
    """Errors of ``check_pair(*pair)`` and ``then(*pair)``; EXIF orientations but 1 of other photographs."""
    faults, turned = [], {}
    for pair in pairs:
        try:
            orientation = check_pair(*pair)
            then(*pair)
        except UnfitImageError as error:
            faults.append(error)
            continue
        if orientation != 1:
            turned[pair[0]] = orientation
    return faults, turned


def orientation_warning(turned: Mapping[str, int], photographs: int) -> tuple[str, str]:
    """What to say of photographs with an EXIF orientation other than 1, by path, and what to do."""
    path, orientation = next(iter(turned.items()))
    return (
        f'{len(turned)} of {photographs} photographs have an EXIF orientation other than 1, first {path} '
        f'({orientation}): a loader may turn them, but turns no label map',
        'look whether their label maps fit, or write them without orientation (PIL.ImageOps.exif_transpose)',
    )
