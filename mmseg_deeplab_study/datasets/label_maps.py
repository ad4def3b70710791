"""Label maps as files: checking a dataset's, counting its pixels, writing predictions."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image
from rich.progress import track
from torch.utils.data import Dataset

from ..atomic_file import write_image
from ..log import warn
from . import image_headers
from .palettes import Palette, colour_table
from .subsets import base_datasets, image_infos


class LabelPixels(NamedTuple):
    """Pixels of each image's label map: ``labelled`` by class, int64 (N, C), and ``ignored``, int64 (N,)."""

    labelled: np.ndarray
    ignored: np.ndarray


def check_headers(dataset: Dataset, trained: bool = False) -> None:
    """Check headers and ends of a dataset's files, 0.2 ms a pair; raises as ``refuse``.

    MMSeg casts to uint8 and crops: after it, neither 16 bits nor other sizes can be seen. Left out are files
    that are on no disk, and loaders that are not MMSeg's. Of a ``trained`` pipeline, sizes are compared only
    where nothing happens to the photograph before its label map is loaded. Warns of EXIF orientations.
    """
    pairs = {}
    for base in base_datasets(dataset):
        steps = list(_parts(base.pipeline.transforms))
        image, labels = (_loader(steps, kind) for kind in (LoadImageFromFile, LoadAnnotations))
        apart = image in steps and labels in steps and abs(steps.index(image) - steps.index(labels)) > 1
        # One that is not MMSeg's need not say which files it reads, only to be tested.
        for info in map(base.get_data_info, range(len(base))) if hasattr(base, 'get_data_info') else ():
            photograph, label = info.get('img_path'), info.get('seg_map_path')
            pairs[photograph, label] = (
                photograph if _opened(photograph, image, base) else None,
                label if _opened(label, labels, base) else None,
                image is not None
                and image.color_type in ('color', 'grayscale')
                and image.imdecode_backend in ('cv2', 'pillow', None),
                _modes(labels),
                not (trained and apart),
            )
    faults, turned = image_headers.find_faults(pairs.values())
    image_headers.refuse(faults)
    if turned:
        warn('; '.join(image_headers.orientation_warning(turned, len(pairs))))


def count_label_pixels(
    dataset: Dataset, num_classes: int, ignore_index: int = 255, trained: bool = False
) -> LabelPixels:
    """Read every label map of a dataset as training would, check headers and ids, and count these.

    Takes 8 ms for 1024x2048, against a failure hours into training. Raises as ``refuse``; ValueError, too, if
    the dataset is empty or does not name its files.
    """
    infos = image_infos(dataset)
    if not infos:
        root = getattr(dataset, 'data_prefix', {}).get('img_path')
        raise ValueError(f'{type(dataset).__name__} found no images in {root}')
    check_headers(dataset, trained)
    # A repeated or concatenated dataset can name a file more than once.
    unique = {info['seg_map_path']: info for info in infos if 'seg_map_path' in info}
    loaders = {
        info['seg_map_path']: _loader(list(_parts(base.pipeline.transforms)), LoadAnnotations)
        for base in base_datasets(dataset)
        for info in image_infos(base)
        if 'seg_map_path' in info
    }
    counts = {}
    faults: list[image_headers.UnfitImageError] = []
    for path, info in track(unique.items(), 'Checking label maps', transient=True):
        if not Path(path).is_file():
            faults.append(image_headers.absent_label(info['img_path'], path))
            continue
        load = loaders.get(path) or LoadAnnotations()
        try:
            labels = load({**info, 'seg_fields': []})['gt_seg_map']
        except image_headers.DAMAGED as error:
            faults.append(image_headers.damaged(path, error))
            continue
        counts[path] = found = np.bincount(labels.ravel(), minlength=max(256, num_classes))
        ids = np.flatnonzero(found).tolist()
        if fault := image_headers.ids_outside(path, ids, num_classes, ignore_index):
            faults.append(fault)
    image_headers.refuse(faults)
    none = np.zeros(max(256, num_classes), np.int64)
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


def _loader(steps: Sequence[Any], kind: type) -> Any | None:
    """MMSeg's own loader among the steps of a pipeline; without any step a new one."""
    return next((step for step in steps if type(step) is kind), None if steps else kind())


def _opened(path: str | None, load: Any | None, dataset: Dataset) -> bool:
    """Whether a file can be looked at: on a disk, loaded by MMSeg's own loader, and expected to be whole."""
    if path is None or load is None or '://' in path or getattr(load, 'ignore_empty', False):
        return False
    if isinstance(load, LoadImageFromFile) and load.imdecode_backend == 'tifffile':
        return False  # which reads more than Pillow and OpenCV
    names = ('backend_args', 'file_client_args')
    places = [getattr(place, name, None) or {} for place in (load, dataset) for name in names]
    return all(place.get('backend', 'local') in ('local', 'disk') for place in places)


def _modes(load: LoadAnnotations | None) -> Sequence[str]:
    """Pillow's modes that a loader of label maps reads as ids."""
    # OpenCV reads the colours of a palette, and 1 bit as 0 and 255.
    others = {'pillow': image_headers.MODES, 'tifffile': ('L', 'P')}
    return others.get(load.imdecode_backend, ('L',)) if load is not None else image_headers.MODES


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


def write_label_map(path: Path, labels: np.ndarray, palette: Palette) -> None:
    """Write ids ``(H, W)`` as a palette PNG: the ids stay exact and a person sees the dataset's colours."""
    image = Image.fromarray(labels.astype(np.uint8), mode='P')
    image.putpalette(colour_table(palette).tobytes())
    write_image(path, image, 'PNG')
