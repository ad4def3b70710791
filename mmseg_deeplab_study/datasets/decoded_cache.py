"""Decoded images and label maps in memory that forked processes share."""

import mmap
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.structures import PixelData
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs
from PIL import Image
from torch.utils.data import Dataset

from ..memory import available_memory
from .subsets import base_datasets, image_infos

_UNITS = {'KB': 2**10, 'MB': 2**20, 'GB': 2**30, 'TB': 2**40}
# What each loader reads: the file's key, its result's, and bytes of a pixel.
_LOADERS = {LoadImageFromFile: ('img_path', 'img', 3), LoadAnnotations: ('seg_map_path', 'gt_seg_map', 1)}


def parse_size(size: str) -> int:
    """Bytes of a size such as ``'4GB'``, in units of 1024; ValueError for another form."""
    match = re.fullmatch(r'\s*(\d+(?:\.\d+)?)\s*([KMGT]B)\s*', str(size), re.IGNORECASE)
    if match is None:
        raise ValueError(f"a size must be a number and KB, MB, GB or TB, as in '4GB', but got {size!r}")
    return int(float(match[1]) * _UNITS[match[2].upper()])


class DecodedFiles:
    """Room for the decoded pixels of files, shared with forked processes.

    Memory is taken when a file is first stored, whichever process stores it; two that store one file at once
    write the same. Needs no lock and no room in ``/dev/shm``.
    """

    def __init__(self, sizes: Mapping[Hashable, int]) -> None:
        """Make room for files by name and size, in bytes once decoded."""
        self.nbytes = sum(sizes.values())
        room = np.frombuffer(mmap.mmap(-1, max(self.nbytes, 1)), np.uint8)
        # Height, width, channels (0: a label map, without that axis), and whether they and the pixels count.
        shapes = np.frombuffer(mmap.mmap(-1, max(len(sizes), 1) * 16), np.int32).reshape(-1, 4)
        ends = np.cumsum(list(sizes.values()), dtype=np.int64)
        self._place = dict(zip(sizes, zip(np.split(room, ends), shapes, strict=False), strict=False))

    def __deepcopy__(self, memo: dict) -> 'DecodedFiles':
        """A copied dataset shares the memory."""
        return self

    def __contains__(self, name: Hashable) -> bool:
        """Whether a file's pixels are stored."""
        return name in self._place and bool(self._place[name][1][3])

    def get(self, name: Hashable) -> np.ndarray | None:
        """A copy of a file's pixels, uint8 ``(H, W[, C])``; None if not stored."""
        if name not in self:
            return None
        pixels, shape = self._place[name]
        return pixels.reshape([size for size in shape[:3] if size]).copy()

    def put(self, name: Hashable, pixels: np.ndarray) -> None:
        """Store a file's pixels, unless they are not what room was made for."""
        if name not in self._place or pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
            return
        room, shape = self._place[name]
        if pixels.nbytes == room.nbytes:
            room[:] = pixels.reshape(-1)
            shape[:3] = (*pixels.shape, 0)[:3]
            # Last, so that no process reads what is not whole.
            shape[3] = 1


@dataclass(eq=False)
class LoadDecoded(BaseTransform):
    """A loading transform of mmcv or MMSeg that decodes each file once.

    ``how`` it reads is part of a file's name: another label map or decoder makes other pixels of it.
    """

    load: BaseTransform
    files: DecodedFiles = field(repr=False)
    how: str = field(repr=False)

    def transform(self, results: dict) -> dict | None:
        """Add the pixels, and what the loader says beside them."""
        path_key, key, _ = _LOADERS[type(self.load)]
        name = self.how, results[path_key]
        pixels = self.files.get(name)
        if pixels is None:
            results = self.load(results)
            if results is not None:
                self.files.put(name, results[key])
            return results
        results[key] = pixels
        if key == 'img':
            results['img_shape'] = results['ori_shape'] = pixels.shape[:2]
        else:
            results['seg_fields'].append(key)
        return results


@dataclass(eq=False)
class PackLabelsAsRead(BaseTransform):
    """``PackSegInputs`` that leaves labels in uint8, an eighth of its int64."""

    pack: PackSegInputs

    def transform(self, results: dict) -> dict:
        """Pack, and put the labels as they are."""
        labels = results.pop('gt_seg_map', None)
        packed = self.pack(results)
        if labels is not None:
            data = torch.from_numpy(np.ascontiguousarray(labels)[None])
            packed['data_samples'].gt_sem_seg = PixelData(data=data)
        return packed


def keep_decoded(dataset: Dataset, budget: int) -> tuple[DecodedFiles | None, str]:
    """Let a dataset of MMSeg decode each file once, if all fit into ``budget`` bytes.

    Its loaders run as before on files that are not stored yet. Other transforms run each time, so that random
    ones stay random. Returns the files, None if they are not kept, and a sentence that says which and why.
    """
    sizes: dict[tuple[str, str], int] = {}
    loaders = []
    for base in base_datasets(dataset):
        if not hasattr(base, 'get_data_info'):
            return None, f'{type(base).__name__} does not say which files it reads'
        infos = image_infos(base)
        for i, load in enumerate(base.pipeline.transforms):
            if type(load) not in _LOADERS:
                continue
            path_key, _, channels = _LOADERS[type(load)]
            how = f'{load}'
            if path_key == 'seg_map_path':
                how += f' {getattr(base, "label_map", None)} {getattr(base, "reduce_zero_label", None)}'
            elif load.to_float32 or not load.color_type.startswith('color'):
                return None, f'{load} does not read images as 8-bit colour'
            loaders.append((base.pipeline.transforms, i, how))
            for path in {info[path_key]: None for info in infos if info.get(path_key) is not None}:
                try:
                    # The header alone: decoding all would take as long as a validation's loading.
                    with Image.open(path) as image:
                        sizes[how, path] = image.width * image.height * channels
                except (OSError, Image.DecompressionBombError) as error:
                    return None, f'the size of {path} cannot be read ({error})'
    if not loaders:
        return None, 'its pipeline has neither LoadImageFromFile nor LoadAnnotations'
    total, available = sum(sizes.values()), available_memory()
    what, room = f'{len(dataset)} images and label maps', _gigabytes(total)
    if total > budget:
        return None, f'{what} would take {room}, more than {_gigabytes(budget)}'
    if available is not None and total > available:
        return None, f'{what} would take {room}, but {_gigabytes(available)} are free'
    files = DecodedFiles(sizes)
    for transforms, i, how in loaders:
        transforms[i] = LoadDecoded(transforms[i], files, how)
    return files, f'{what}, {room} of at most {_gigabytes(budget)}'


def keep_labels_as_read(dataset: Dataset) -> None:
    """Let a dataset's pipeline hand on labels in uint8."""
    for base in base_datasets(dataset):
        transforms = base.pipeline.transforms
        transforms[:] = [PackLabelsAsRead(t) if type(t) is PackSegInputs else t for t in transforms]


def _gigabytes(size: int) -> str:
    return f'{size / 2**30:.2f} GB'
