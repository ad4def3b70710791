"""What is in a data root: images, label maps and their ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .findings import Finding
from .packages import load_alone

IGNORED = 255
TRAIN_IDS = '_gtFine_labelTrainIds.png'
# Label maps of a list of PASCAL VOC, as MMSegmentation's configs and VainF's code take them.
VOC_LABELS = {
    'train': 'SegmentationClass',
    'val': 'SegmentationClass',
    'trainval': 'SegmentationClass',
    'aug': 'SegmentationClassAug',
    'trainaug': 'SegmentationClassAug',
}
MAKE_TRAIN_IDS = 'python tools/prepare_cityscapes.py {root} -o {root}'
MAKE_AUG = (
    "MMSegmentation's tools/dataset_converters/voc_aug.py makes it from SBD; the source configs read it"
)


class Split(NamedTuple):
    """Images and the label map that each of them needs; ``labelled`` is whether a run reads those."""

    name: str
    pairs: Sequence[tuple[Path, Path]]
    labelled: bool


def check_data_root(root: Path) -> Iterator[Finding]:
    """Layout, counts per split, files that are missing, and ids outside of the label space."""
    found = find_cityscapes(root) or find_voc(root)
    if found is None:
        text = f'{root}: neither the Cityscapes layout (leftImg8bit/, gtFine/) nor that of VOC (JPEGImages/)'
        cure = 'give the folder that holds these' if root.is_dir() else 'the folder does not exist'
        yield Finding('error', 'data', text, cure)
        return
    layout, classes, splits = found
    yield Finding('ok', 'data', f'{root}: the layout of {layout}')
    for split in splits:
        yield from check_split(split, root, classes)
    names = {split.name for split in splits if split.pairs}
    for name in ('train', 'val'):
        if name not in names:
            yield Finding(
                'warning', 'data', f'{root}: no images of {name}', f'runs that need {name} will fail'
            )
    if layout == 'VOC' and 'aug' not in names:
        yield Finding('warning', 'data', f'{root}: no ImageSets/Segmentation/aug.txt', MAKE_AUG)


def find_cityscapes(root: Path) -> tuple[str, int, list[Split]] | None:
    images, labels = root / 'leftImg8bit', root / 'gtFine'
    if not images.is_dir():
        return None
    splits = []
    for folder in sorted(path for path in images.iterdir() if path.is_dir()):
        pairs = []
        for image in sorted(folder.rglob('*_leftImg8bit.png')):
            city = image.parent.relative_to(images)
            pairs.append((image, labels / city / image.name.replace('_leftImg8bit.png', TRAIN_IDS)))
        splits.append(Split(folder.name, pairs, folder.name in ('train', 'val')))
    return 'Cityscapes', 19, splits


def find_voc(root: Path) -> tuple[str, int, list[Split]] | None:
    places = (root, root / 'VOC2012', root / 'VOCdevkit/VOC2012')
    root = next((place for place in places if (place / 'JPEGImages').is_dir()), None)
    if root is None:
        return None
    splits = []
    for name, labels in VOC_LABELS.items():
        path = root / f'ImageSets/Segmentation/{name}.txt'
        if path.is_file():
            stems = [line.strip() for line in path.read_text().splitlines() if line.strip()]
            pairs = [(root / f'JPEGImages/{stem}.jpg', root / f'{labels}/{stem}.png') for stem in stems]
            splits.append(Split(name, pairs, True))
    return 'VOC', 21, splits


def check_split(split: Split, root: Path, classes: int) -> Iterator[Finding]:
    images = [image for image, _ in split.pairs if image.is_file()]
    labelled = [(image, label) for image, label in split.pairs if label.is_file()]
    text = f'{split.name}: {len(images)} images, {len(labelled)} label maps'
    yield Finding('ok' if split.labelled else 'info', 'data', text)
    if absent := [image for image, _ in split.pairs if not image.is_file()]:
        text = f'{split.name}: {len(absent)} of {len(split.pairs)} images are not there, first {absent[0]}'
        yield Finding('error', 'data', text, f'complete the folder, or correct the list {split.name}.txt')
    if not split.labelled:
        return
    if missing := [(image, label) for image, label in split.pairs if not label.is_file()]:
        image, label = missing[0]
        text = f'{split.name}: {len(missing)} of {len(split.pairs)} images have no label map, first {label}'
        yield Finding('error', 'data', text, _cure_of_missing(label, root))
    yield from check_labels(split.name, labelled, root, classes)


def _cure_of_missing(label: Path, root: Path) -> str:
    if label.name.endswith(TRAIN_IDS):
        return MAKE_TRAIN_IDS.format(root=root)
    return MAKE_AUG if label.parent.name.endswith('Aug') else 'complete the folder, or shorten the list'


def check_labels(
    split: str, pairs: Sequence[tuple[Path, Path]], root: Path, classes: int
) -> Iterator[Finding]:
    """Check headers as training does, and read every label map, 10 ms for one of 1024x2048."""
    try:
        from PIL import Image
    except ImportError:
        yield Finding('warning', 'data', f'{split}: label maps not checked', 'pip install pillow')
        return
    headers = load_alone('datasets/image_headers.py')
    wrong: list[tuple[Path, list[int]]] = []
    unfit: dict[str, list[str]] = {}
    turned: dict[Path, int] = {}
    for image, path in track(pairs, f'Label maps of {split}'):
        try:
            orientation = headers.check_pair(image, path)
            with Image.open(path) as label:
                counts = label.histogram()
        except (headers.UnfitImageError, *headers.DAMAGED) as error:
            if not isinstance(error, headers.UnfitImageError):
                error = headers.damaged(path, error)
            unfit.setdefault(error.cure, []).append(error.text)
            continue
        if orientation != 1:
            turned[image] = orientation
        if outside := [i for i, n in enumerate(counts) if n and classes <= i != IGNORED]:
            wrong.append((path, outside))
    for cure, texts in unfit.items():
        more = f' (and {len(texts) - 1} more of {split})' if len(texts) > 1 else ''
        yield Finding('error', 'data', texts[0] + more, cure)
    if turned:
        yield Finding('warning', 'data', *headers.orientation_warning(turned, len(pairs)))
    if wrong:
        ids = sorted({i for _, outside in wrong for i in outside})
        text = (
            f'{split}: ids {ids} in {len(wrong)} of {len(pairs)} label maps, expected 0 to {classes - 1} '
            f'and {IGNORED}, first {wrong[0][0]}'
        )
        if classes == 19 and max(ids) <= 33:  # the last of labelIds
            cure = f'these are labelIds: delete them and run {MAKE_TRAIN_IDS.format(root=root)}'
        else:
            cure = f'write them anew, with {IGNORED} for what is to be ignored'
        yield Finding('error', 'data', text, cure)
    elif pairs and not unfit:
        yield Finding('ok', 'data', f'{split}: all ids in 0 to {classes - 1} and {IGNORED}')


def track(paths: Iterable[Path], what: str) -> Iterable[Path]:
    """With a bar on a terminal's standard error, where rich is installed."""
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        return paths
    return track(paths, what, transient=True, console=Console(stderr=True))
