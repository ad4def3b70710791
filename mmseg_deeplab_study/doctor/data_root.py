"""Check a data root: images, label maps and their ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .findings import Finding
from .packages import load_alone

PHOTOGRAPH, TRAIN_IDS = '_leftImg8bit.png', '_gtFine_labelTrainIds.png'
# Lists of PASCAL VOC, and whether their label maps are in SegmentationClassAug, as MMSegmentation's configs
# and VainF's code take them.
VOC_LISTS = {'train': False, 'val': False, 'trainval': False, 'aug': True, 'trainaug': True}


# Name, photographs and the label map that each needs, whether a run reads those, and what to say if there
# is no photograph.
Split = tuple[str, Sequence[tuple[Path, Path]], bool, str]


def check_data_root(root: Path, deep: bool = False) -> Iterator[Finding]:
    """Check layout, counts per split, and every photograph and label map.

    With the checks of training. Label maps are decoded, in 10 ms for one of 1024x2048; with ``deep``
    photographs are, too.
    """
    found = find_cityscapes(root) or find_voc(root)
    if found is None:
        text = f'{root}: neither the layout of Cityscapes (leftImg8bit/, gtFine/) nor of VOC (JPEGImages/)'
        cure = 'give the folder that holds these' if root.is_dir() else 'the folder does not exist'
        yield Finding('error', 'data', text, cure)
        return
    layout, classes, splits = found
    yield Finding('ok', 'data', f'{root}: the layout of {layout}')
    yield from check_splits(splits, classes, deep)
    names = {name for name, *_ in splits}
    # A test alone needs no train; every training validates.
    for name, level in (('train', 'warning'), ('val', 'error')):
        if name not in names:
            yield Finding(level, 'data', f'{root}: no images of {name}', f'runs that need {name} will fail')
    if layout == 'VOC' and 'aug' not in names:
        text = f'{root}: no ImageSets/Segmentation/aug.txt'
        cure = "MMSegmentation's tools/dataset_converters/voc_aug.py makes it; the source configs read it"
        yield Finding('warning', 'data', text, cure)


def find_cityscapes(root: Path) -> tuple[str, int, list[Split]] | None:
    """Name, number of classes and splits of Cityscapes' layout, or None."""
    images, labels = root / 'leftImg8bit', root / 'gtFine'
    if not images.is_dir():
        return None
    lists = load_alone('datasets/file_lists.py')
    splits = []
    for folder in sorted(path for path in images.iterdir() if path.is_dir()):
        pairs = [
            (image, labels / str(image.relative_to(images)).replace(PHOTOGRAPH, TRAIN_IDS))
            for image in lists.list_files(folder, PHOTOGRAPH)
        ]
        nothing = '' if pairs else lists.nothing_in(folder, PHOTOGRAPH)
        splits.append((folder.name, pairs, folder.name in ('train', 'val'), nothing))
    return 'Cityscapes', 19, splits


def find_voc(root: Path) -> tuple[str, int, list[Split]] | None:
    """Name, number of classes and splits of VOC's layout, or None."""
    places = (root, root / 'VOC2012', root / 'VOCdevkit/VOC2012')
    root = next((place for place in places if (place / 'JPEGImages').is_dir()), None)
    if root is None:
        return None
    splits = []
    for name, augmented in VOC_LISTS.items():
        labels = 'SegmentationClassAug' if augmented else 'SegmentationClass'
        path = root / f'ImageSets/Segmentation/{name}.txt'
        if path.is_file():
            # An empty line is a name to MMSegmentation.
            stems = [line.strip() for line in path.read_text().splitlines()]
            pairs = [(root / f'JPEGImages/{stem}.jpg', root / f'{labels}/{stem}.png') for stem in stems]
            splits.append((name, pairs, True, f'{path}: names no photograph'))
    return 'VOC', 21, splits


def check_splits(splits: Sequence[Split], classes: int, deep: bool) -> Iterator[Finding]:
    """Count and check the files of each split; one finding for each kind of fault."""
    try:
        checks = load_alone('datasets/image_headers.py')
    except ImportError:
        checks = None
        yield Finding('warning', 'data', 'photographs and label maps not checked', 'pip install pillow')

    def look_inside(image: Path, label: Path | None) -> None:
        if label is not None and (fault := checks.ids_outside(label, checks.label_ids(label), classes)):
            raise fault
        if deep:
            checks.decode_photograph(image)

    faults, turned, photographs = {}, {}, set()
    for name, pairs, labelled, nothing in splits:
        images, labels = (sum(pair[i].is_file() for pair in pairs) for i in (0, 1))
        text = f'{name}: {images} images, {labels} label maps'
        yield Finding('ok' if labelled else 'info', 'data', text)
        if not pairs:
            cure = 'complete it; where photographs have other names, set img_suffix of the dataset'
            yield Finding('error' if labelled else 'info', 'data', nothing, cure)
        if not pairs or checks is None:
            continue
        pairs = [(image, label if labelled else None) for image, label in pairs]
        found, orientations = checks.find_faults(track(pairs, f'Files of {name}'), look_inside)
        # VOC's lists share photographs.
        faults.update((fault.text, fault) for fault in found)
        turned.update(orientations)
        photographs.update(image for image, _ in pairs)
        if labelled and not found:
            yield Finding('ok', 'data', f'{name}: all ids in 0 to {classes - 1} and 255')
    if checks is not None:
        for fault in checks.by_kind(faults.values()):
            yield Finding('error', 'data', fault.text, fault.cure)
    if turned:
        yield Finding('warning', 'data', *checks.orientation_warning(turned, len(photographs)))


def track(paths: Iterable[Path], what: str) -> Iterable[Path]:
    """Show a bar on a terminal's standard error, where rich is installed."""
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        return paths
    return track(paths, what, transient=True, console=Console(stderr=True))
