"""Find photographs and videos, and name their predictions."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import mmcv
import numpy as np
from PIL import Image

from ..atomic_file import write_image
from ..datasets.file_lists import list_files
from ..memory import is_out_of_memory

IMAGES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEOS = ('.avi', '.mkv', '.mov', '.mp4')
_JPEG_SIDE = 65500  # of libjpeg


class Job(NamedTuple):
    """An input, and where its overlay and its label map (None: not asked for) go."""

    source: Path
    overlay: Path
    labels: Path | None

    @property
    def outputs(self) -> list[Path]:
        """The files to write."""
        return [path for path in (self.overlay, self.labels) if path is not None]


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its suffix."""
    return path.suffix.lower() in VIDEOS


def find_inputs(paths: Sequence[Path], out: Path) -> list[Path]:
    """List photographs and videos: files as given, those in folders by name.

    Raises:
        FileNotFoundError: there is no such file, or neither photograph nor video in a folder.
        ValueError: ``out`` is an input folder.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f'{path}: no such file or folder')
        if path.resolve() == out.resolve():
            raise ValueError(
                f'-o {out} is also a folder to read from, and the next call would take predictions for '
                'photographs; give another'
            )
        for file in _in_folder(path) if path.is_dir() else [path]:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _in_folder(folder: Path) -> list[Path]:
    files = [path for path in list_files(folder, recursive=False) if path.suffix.lower() in IMAGES + VIDEOS]
    if not files:
        inside = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]
        hint = f'; folders inside are not searched, such as {inside[0]}' if inside else ''
        raise FileNotFoundError(
            f'{folder}: no photograph or video in this folder ({", ".join(IMAGES + VIDEOS)}){hint}'
        )
    return files


def plan_jobs(inputs: Sequence[Path], folder: Path, label_maps: bool = True) -> list[Job]:
    """Name the outputs ``STEM_overlay`` and ``STEM_labels``, or with more of a path.

    Inputs of one stem keep as much of their paths as tells them apart.

    Raises:
        ValueError: two outputs would still have one name, or an output is an input.
    """
    stems = Counter(path.stem.casefold() for path in inputs)
    jobs = []
    for path in inputs:
        name = path.stem
        if stems[name.casefold()] > 1:
            name = _longer_name(path, [p for p in inputs if p.stem.casefold() == name.casefold()])
        video = is_video(path)
        labels = folder / f'{name}_labels.png' if label_maps and not video else None
        jobs.append(Job(path, folder / f'{name}_overlay.{"mp4" if video else "jpg"}', labels))
    _check_names(jobs)
    return jobs


def _longer_name(path: Path, namesakes: Sequence[Path]) -> str:
    parents = [other.resolve().parent for other in namesakes]
    parts = path.resolve().relative_to(os.path.commonpath(parents)).parts
    return '_'.join(parts)


def _check_names(jobs: Sequence[Job]) -> None:
    inputs = {job.source.resolve() for job in jobs}
    owners: dict[str, Path] = {}
    for job in jobs:
        for path in job.outputs:
            if path.resolve() in inputs:
                raise ValueError(f'{path} is an input, and a prediction would overwrite it; give another -o')
            # Some file systems ignore case.
            other = owners.setdefault(str(path).casefold(), job.source)
            if other != job.source:
                raise ValueError(
                    f'{job.source} and {other} would both be written to {path}; predict them into two folders'
                )


def refuse_existing(jobs: Sequence[Job]) -> None:
    """Refuse to overwrite.

    Raises:
        FileExistsError: names the first output that exists, and the number of others.
    """
    existing = [path for job in jobs for path in job.outputs if path.exists()]
    if existing:
        more = f' and {len(existing) - 1} more exist' if len(existing) > 1 else ' exists'
        raise FileExistsError(f'{existing[0]}{more}; give --overwrite, or another -o')


def read_photograph(path: Path) -> np.ndarray:
    """Read a photograph ``(H, W, 3)`` in uint8 and BGR, as training does.

    It is turned as its EXIF data say.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no image, or is damaged.
    """
    try:
        image = mmcv.imfrombytes(path.read_bytes())
    except cv2.error as error:
        if is_out_of_memory(error):
            raise
        image = None  # an empty file
    if image is None:
        raise ValueError(
            f'{path}: cannot be read as an image: damaged, or of another kind. Copy it again, or convert it '
            f'(a video to one of {", ".join(VIDEOS)})'
        )
    return image


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write an image in RGB as JPEG, with colours as sharp as outlines.

    Raises:
        OSError: as ``write_image``.
        ValueError: it is too large for JPEG.
    """
    if max(image.shape) > _JPEG_SIDE:
        raise ValueError(
            f'{path}: a picture of {image.shape[1]}x{image.shape[0]} pixels, but JPEG takes at most '
            f'{_JPEG_SIDE} a side; crop the photograph'
        )
    write_image(path, Image.fromarray(image), 'JPEG', quality=92, subsampling=0)
