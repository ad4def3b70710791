"""Label maps as files: checking a dataset's, counting its pixels, writing predictions."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.logging import print_log
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image
from rich.progress import track
from torch.utils.data import Dataset

from ..atomic_file import write_image
from .image_headers import DAMAGED, check_pair, damaged, label_size, orientation_warning
from .subsets import base_datasets


class LabelPixels(NamedTuple):
    """Pixels of each image's label map: ``labelled`` by class, int64 (N, C), and ``ignored``, int64 (N,)."""

    labelled: np.ndarray
    ignored: np.ndarray


def check_headers(dataset: Dataset) -> None:
    """Check the headers of a dataset's label maps and photographs, 0.1 ms a pair.

    MMSeg casts what it reads to uint8 and crops photograph and label map at one place: after it, neither 16
    bits nor other sizes can be seen. Left out are files that are not on the disk, and what MMSeg's own
    loaders do not load. Warns of photographs with an EXIF orientation, which label maps do not follow.

    Raises:
        UnfitImageError: a label map is not of one channel of 8 bits, or has another size than its photograph.
    """
    infos = {(info['img_path'], info['seg_map_path']): info for info in _labelled(dataset)}
    images, labels = (_loaders(dataset, kind) for kind in (LoadImageFromFile, LoadAnnotations))
    turned = {}
    for photograph, path in infos:
        load_labels, load_image = labels.get(path, LoadAnnotations()), images.get(path, LoadImageFromFile())
        if load_labels is None or not Path(path).is_file():
            continue
        # OpenCV reads the colours of a palette.
        modes = ('L', 'P') if load_labels.imdecode_backend in ('pillow', 'tifffile') else ('L',)
        if load_image is None:
            label_size(path, modes=modes)
        elif (orientation := check_pair(photograph, path, _turns(load_image), modes)) != 1:
            turned[photograph] = orientation
    if turned:
        warning = '; '.join(orientation_warning(turned, len(infos)))
        print_log(warning, logger='current', level=logging.WARNING)


def count_label_pixels(dataset: Dataset, num_classes: int, ignore_index: int = 255) -> LabelPixels:
    """Read every label map of a dataset, as its training would, check headers and ids, and count these.

    A few milliseconds per file (8 ms at 1024x2048), against a failure hours into training.

    Raises:
        FileNotFoundError: a label file is missing.
        ValueError: the dataset is empty, or a label map is damaged or has an id outside the label space, or
            as ``check_headers``; names the file.
    """
    if len(dataset) == 0:
        root = getattr(dataset, 'data_prefix', {}).get('img_path')
        raise ValueError(f'{type(dataset).__name__} found no images in {root}')
    check_headers(dataset)
    # A repeated or concatenated dataset can name a file more than once.
    unique = {info['seg_map_path']: info for info in _labelled(dataset)}
    loaders, counts = _loaders(dataset, LoadAnnotations), {}
    for path, info in track(unique.items(), 'Checking label maps', transient=True):
        if not Path(path).is_file():
            raise FileNotFoundError(f'{path}: no label map for {info["img_path"]}')
        load = loaders.get(path) or LoadAnnotations()
        try:
            labels = load({**info, 'seg_fields': []})['gt_seg_map']
        except DAMAGED as error:
            raise damaged(path, error) from error
        found = np.bincount(labels.ravel(), minlength=max(256, num_classes))
        outside = [int(i) for i in np.flatnonzero(found) if i >= num_classes and i != ignore_index]
        if outside:
            raise ValueError(
                f'{path}: label ids {outside[:10]} lie outside the label space of {num_classes} classes '
                f'(0 to {num_classes - 1}, {ignore_index} ignored). For Cityscapes use '
                '*_labelTrainIds.png, not *_labelIds.png'
            )
        counts[path] = found
    none = np.zeros(max(256, num_classes), np.int64)
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    pixels = np.array([counts.get(info.get('seg_map_path'), none) for info in infos], np.int64)
    ignored = pixels[:, ignore_index].copy()
    pixels[:, ignore_index] = 0  # it may be the id of a class
    return LabelPixels(pixels[:, :num_classes], ignored)


def pixel_warnings(
    split: str, pixels: LabelPixels, classes: Sequence[str], ignore_index: int = 255
) -> list[str]:
    """What to say of a split in which classes have no labelled pixel, or most pixels are ignored."""
    labelled, ignored = pixels.labelled.sum(0), int(pixels.ignored.sum())
    absent = [name for i, name in enumerate(classes) if not labelled[i] and i != ignore_index]
    found = []
    if absent:
        text = f'{split}: no labelled pixel of {", ".join(absent)}'
        if ignored and len(absent) == len(classes) - 1:
            text += (
                f'. Its label maps have one class, and {ignore_index}, which is ignored: in a mask of 0 and '
                '255 write the second class as 1'
            )
        found.append(text)
    if ignored > labelled.sum():
        share = 100 * ignored / (ignored + labelled.sum())
        found.append(
            f'{split}: {share:.0f} % of the pixels are ignored (label {ignore_index}), expected less than '
            'half; look whether the label maps have the ids of these classes'
        )
    return found


def _labelled(dataset: Dataset) -> list[dict[str, Any]]:
    if not hasattr(dataset, 'get_data_info'):
        return []  # not one of MMSeg's
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    return [info for info in infos if 'seg_map_path' in info and 'img_path' in info]


def _loaders(dataset: Dataset, kind: type) -> dict[str, Any]:
    """The transform of a class that a pipeline loads with, by label map; None where it has another one."""
    found = {}
    for base in base_datasets(dataset):
        if base.pipeline.transforms:
            load = next((part for part in _parts(base.pipeline) if type(part) is kind), None)
            found.update((info['seg_map_path'], load) for info in _labelled(base))
    return found


def _parts(pipeline: Any) -> Iterator[Any]:
    """Transforms of a pipeline, also inside of others, as test time augmentation has them."""
    if isinstance(pipeline, list | tuple):
        for part in pipeline:
            yield from _parts(part)
        return
    # What a decoded cache loads with.
    yield getattr(pipeline, 'load', pipeline)
    for name in ('transforms', 'subroutines'):
        yield from _parts(getattr(pipeline, name, ()))


def _turns(load: LoadImageFromFile) -> bool:
    """Whether a loader of photographs follows their EXIF orientation."""
    return load.color_type in ('color', 'grayscale') and load.imdecode_backend in ('cv2', 'pillow', None)


def write_label_map(path: Path, labels: np.ndarray, palette: Sequence[Sequence[int]]) -> None:
    """Write ids ``(H, W)`` as a palette PNG: the ids stay exact and a person sees the dataset's colours."""
    image = Image.fromarray(labels.astype(np.uint8), mode='P')
    # All 256 entries: Pillow saves a palette of up to 16 in 4 bits, which turns id 255 into 15.
    colours = [channel for colour in palette for channel in colour]
    image.putpalette(colours + [0] * (768 - len(colours)))
    write_image(path, image, 'PNG')
