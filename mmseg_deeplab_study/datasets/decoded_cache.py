"""Decoded images and label maps in memory that forked processes share."""

import mmap
import re
from collections.abc import Hashable, Mapping

import numpy as np
import torch
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.structures import PixelData
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs
from PIL import Image
from torch.utils.data import Dataset

from ..memory import available_memory
from .subsets import base_datasets

_UNITS = {'KB': 2**10, 'MB': 2**20, 'GB': 2**30, 'TB': 2**40}
# What each loader reads: the file's key, its result's, and bytes of a pixel.
_LOADERS = {LoadImageFromFile: ('img_path', 'img', 3), LoadAnnotations: ('seg_map_path', 'gt_seg_map', 1)}


def parse_size(size: str) -> int:
    """Bytes of a size such as ``'4GB'`` or ``'500 MB'``, in units of 1024.

    Raises:
        ValueError: it is not of that form.
    """
    match = re.fullmatch(r'\s*(\d+(?:\.\d+)?)\s*([KMGT]B)\s*', str(size), re.IGNORECASE)
    if match is None:
        raise ValueError(f"a size must be a number and KB, MB, GB or TB, as in '4GB', but got {size!r}")
    return int(float(match[1]) * _UNITS[match[2].upper()])


class DecodedFiles:
    """Room for the decoded pixels of a list of files, shared by every process forked from this one.

    Memory is taken from the system when a file is first stored, whichever process stores it; two that store
    one file at once write the same. Needs no lock and no room in ``/dev/shm``.

    Args:
        sizes: bytes of each file's pixels once decoded, by a name of the file.
    """

    def __init__(self, sizes: Mapping[Hashable, int]) -> None:
        ends = np.cumsum(list(sizes.values()), dtype=np.int64).tolist()
        self._place = {
            name: (i, end - size, end)
            for i, ((name, size), end) in enumerate(zip(sizes.items(), ends, strict=True))
        }
        self.nbytes = ends[-1] if ends else 0
        self._pixels = np.frombuffer(mmap.mmap(-1, max(self.nbytes, 1)), np.uint8)
        # Height, width, channels (0: a label map, without that axis), and whether they and the pixels count.
        self._shapes = np.frombuffer(mmap.mmap(-1, max(len(sizes), 1) * 16), np.int32).reshape(-1, 4)

    def __deepcopy__(self, memo: dict) -> 'DecodedFiles':
        return self

    def __contains__(self, name: Hashable) -> bool:
        return name in self._place and bool(self._shapes[self._place[name][0], 3])

    def get(self, name: Hashable) -> np.ndarray | None:
        """A copy of a file's pixels, uint8 ``(H, W, C)`` or ``(H, W)``, or None if they are not there."""
        if name not in self:
            return None
        number, start, end = self._place[name]
        height, width, channels = self._shapes[number, :3].tolist()
        shape = (height, width, channels) if channels else (height, width)
        return self._pixels[start:end].reshape(shape).copy()

    def put(self, name: Hashable, pixels: np.ndarray) -> None:
        """Store a file's pixels, unless they are not what room was made for."""
        number, start, end = self._place.get(name, (0, 0, 0))
        if pixels.dtype != np.uint8 or pixels.nbytes != end - start or pixels.ndim not in (2, 3):
            return
        self._pixels[start:end] = pixels.reshape(-1)
        self._shapes[number, :3] = (*pixels.shape, 0)[:3]
        # Last, so that no process reads what is not whole.
        self._shapes[number, 3] = 1


class LoadDecoded(BaseTransform):
    """A loading transform that decodes each file once.

    Args:
        load: ``LoadImageFromFile`` of mmcv or ``LoadAnnotations`` of MMSeg.
        files: where the pixels are kept, by how they are read and the file's path.
        how: how this one reads: another label map or decoder makes other pixels of one file.
    """

    def __init__(self, load: BaseTransform, files: DecodedFiles, how: str) -> None:
        self.load, self.files, self.how = load, files, how
        self.path_key, self.key, _ = _LOADERS[type(load)]

    def transform(self, results: dict) -> dict | None:
        name = self.how, results[self.path_key]
        pixels = self.files.get(name)
        if pixels is None:
            results = self.load(results)
            if results is not None:
                self.files.put(name, results[self.key])
            return results
        results[self.key] = pixels
        # What the loaders say beside the pixels.
        if self.key == 'img':
            results['img_shape'] = results['ori_shape'] = pixels.shape[:2]
        else:
            results['seg_fields'].append(self.key)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.load})'


class PackLabelsAsRead(BaseTransform):
    """``PackSegInputs`` that leaves labels in uint8, an eighth of its int64."""

    def __init__(self, pack: PackSegInputs) -> None:
        self.pack = pack

    def transform(self, results: dict) -> dict:
        labels = results.pop('gt_seg_map', None)
        packed = self.pack(results)
        if labels is not None:
            data = torch.from_numpy(np.ascontiguousarray(labels)[None])
            packed['data_samples'].gt_sem_seg = PixelData(data=data)
        return packed

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.pack})'


def keep_decoded(dataset: Dataset, budget: int) -> tuple[DecodedFiles | None, str]:
    """Let a dataset of MMSeg, or one made of such, decode each file once if all of them fit.

    Changes the dataset's pipeline: its loaders of images and label maps, which run as before on files that
    are not stored yet. Other transforms run every time, so that random ones stay random.

    Args:
        budget: bytes that the decoded files may take.

    Returns:
        The files, or None if they are not kept, and a sentence that says which and why.
    """
    number = len(dataset)
    sizes: dict[tuple[str, str], int] = {}
    loaders = []
    for base in base_datasets(dataset):
        if not hasattr(base, 'get_data_info'):
            return None, f'{type(base).__name__} does not say which files it reads'
        for i, load in enumerate(_transforms(base)):
            if type(load) not in _LOADERS:
                continue
            path_key, _, channels = _LOADERS[type(load)]
            if path_key == 'img_path' and (load.to_float32 or not load.color_type.startswith('color')):
                return None, f'{load} does not read images as 8-bit colour'
            how = f'{load}'
            if path_key == 'seg_map_path':
                how += f' {getattr(base, "label_map", None)} {getattr(base, "reduce_zero_label", None)}'
            loaders.append((base, i, how))
            for info in (base.get_data_info(j) for j in range(len(base))):
                path = info.get(path_key)
                if path is None or (how, path) in sizes:
                    continue
                try:
                    # The header alone: decoding all would take as long as a validation's loading.
                    with Image.open(path) as image:
                        sizes[how, path] = image.width * image.height * channels
                except (OSError, Image.DecompressionBombError) as error:
                    return None, f'the size of {path} cannot be read ({error})'
    if not loaders:
        return None, 'its pipeline has neither LoadImageFromFile nor LoadAnnotations'
    total = sum(sizes.values())
    room, available = _gigabytes(total), available_memory()
    if total > budget:
        return None, f'{number} images and label maps would take {room}, more than {_gigabytes(budget)}'
    if available is not None and total > available:
        return None, f'{number} images and label maps would take {room}, but {_gigabytes(available)} are free'
    files = DecodedFiles(sizes)
    for base, i, how in loaders:
        _transforms(base)[i] = LoadDecoded(_transforms(base)[i], files, how)
    return files, f'{number} images and label maps, {room} of at most {_gigabytes(budget)}'


def keep_labels_as_read(dataset: Dataset) -> None:
    """Let a dataset's pipeline hand on labels in uint8."""
    for base in base_datasets(dataset):
        transforms = _transforms(base)
        transforms[:] = [PackLabelsAsRead(t) if type(t) is PackSegInputs else t for t in transforms]


def _transforms(dataset: Dataset) -> list:
    return dataset.pipeline.transforms


def _gigabytes(size: int) -> str:
    return f'{size / 2**30:.2f} GB'
