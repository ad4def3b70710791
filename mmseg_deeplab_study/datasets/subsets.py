"""Parts of a dataset that have a name, a fixed order and a digest."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.logging import print_log
from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from ..digests import names_digest


def base_datasets(dataset: Dataset) -> Iterator[Dataset]:
    """The datasets with a pipeline that a wrapper such as ``ConcatDataset`` is made of."""
    if hasattr(getattr(dataset, 'pipeline', None), 'transforms'):
        yield dataset
        return
    parts: Sequence[Any] = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for part in parts:
        if part is not None:
            yield from base_datasets(part)


def image_infos(dataset: Dataset) -> list[dict[str, Any]]:
    """What a dataset says of each image by ``get_data_info``; ValueError if it names no file."""
    name = type(dataset).__name__
    cure = "derive it from mmseg.datasets.BaseSegDataset, or give it that class's get_data_info(idx)"
    if not hasattr(dataset, 'get_data_info'):
        raise ValueError(f'{name} does not say which files it reads: {cure}')
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    for info in infos:
        if 'img_path' not in info:
            raise ValueError(f"{name}.get_data_info gives no 'img_path', but {sorted(info)}: {cure}")
    return infos


def image_paths(dataset: Dataset) -> list[str]:
    """Image files of a dataset in its order; raises as ``image_infos``."""
    return [info['img_path'] for info in image_infos(dataset)]


def image_list(dataset: Dataset) -> list[str]:
    """Image files of a dataset in its order, relative to their common folder, so that a digest of them does
    not depend on where the data lie."""
    # Absolute: the parts of a ConcatDataset may have a relative root beside an absolute one.
    paths = [os.path.abspath(path) for path in image_paths(dataset)]
    if not paths:
        return []
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [os.path.relpath(path, common).replace(os.sep, '/') for path in paths]


@DATASETS.register_module()
class NamedSubset(Dataset):
    """The first ``fraction`` in (0, 1] of a dataset in the order of its sorted image paths, under a name.

    The study trained on the first ``int(2975 / 4)`` images of Cityscapes in the order its file system
    happened to list them; sorting makes that reproducible. Logs and records call the part ``name``.
    ValueError if the fraction leaves no image.
    """

    def __init__(self, dataset: dict, name: str, fraction: float) -> None:
        if not 0 < fraction <= 1:
            raise ValueError(f'fraction must be in (0, 1], but got {fraction}')
        self.dataset = DATASETS.build(dataset)
        self.name = name
        total = len(self.dataset)
        # The hair makes up for 0.29 * 100 == 28.999999999999996.
        count = int(total * fraction + 1e-9)
        if count == 0:
            raise ValueError(f'{name}: a fraction of {fraction} of {total} images leaves none')
        by_path = sorted(range(total), key=image_paths(self.dataset).__getitem__)
        self.dataset.get_subset_(by_path[:count])
        print_log(
            f'Subset {name}: {count} of {total} images, digest {names_digest(image_list(self))[:12]}',
            logger='current',
        )

    @property
    def metainfo(self) -> dict:
        """That of the whole dataset."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Initialise the dataset, as MMEngine's loops ask of one."""
        self.dataset.full_init()

    def get_data_info(self, idx: int) -> dict:
        """What the dataset says of an image of the part."""
        return self.dataset.get_data_info(idx)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> dict:
        return self.dataset[idx]
