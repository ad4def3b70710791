"""From a dataset as one downloads it to what the configs read: Cityscapes' layout, in its train ids.

What was downloaded is only read; what is there already is kept.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from mmseg.datasets import CityscapesDataset
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ..atomic_file import write_atomically, write_image
from ..tables import make_table
from .downloads import CLASSES, IGNORE_INDEX, Frame, Original, Plan, read_original, same_content
from .file_lists import list_files
from .image_headers import DAMAGED, damaged, label_size
from .label_maps import count_label_pixels
from .subsets import image_paths


class PreparedSplit(NamedTuple):
    """A split as it is there now: photographs, files written and kept (of which label maps redrawn by another
    program), pixels per class and ignored."""

    name: str
    photographs: int
    expected: int
    written: int
    kept: int
    redrawn: int
    pixels: np.ndarray
    ignored: int


def run_command(plan: Plan, out: Path, copy: bool) -> int:
    """Prepare, and print what is there; returns the exit code, raises as ``prepare``."""
    splits = prepare(plan, out, copy)
    files = make_table(('split', 'photographs', 'expected', 'files written', 'files kept'))
    for split in splits:
        files.add_row(split.name, *map(str, split[1:5]))
    Console().print(pixel_table(splits), files)
    for line in remarks(splits):
        sys.stderr.write(f'warning: {line}\n')
    sys.stdout.write(f'{out}: ready\n')
    return 0


def prepare(plan: Plan, out: Path, copy: bool = False) -> list[PreparedSplit]:
    """Bring photographs and train ids to ``leftImg8bit`` and ``gtFine`` in ``out``, and check what is there.

    Photographs of a folder become links, or with ``copy`` files; those of an archive are unpacked. What is
    there is compared and kept: FileExistsError if it differs or is not of the plan. OSError or ValueError if
    a file cannot be written, is damaged, or has unknown ids or another size.
    """
    for split, frames in plan.frames.items():
        _refuse_others(split, frames, out)
    return [_prepare_split(plan, split, out, copy) for split in plan.frames]


def photograph_path(out: Path, split: str, place: str) -> Path:
    """Where a photograph goes in Cityscapes' layout."""
    return out / 'leftImg8bit' / split / f'{place}_leftImg8bit.png'


def label_path(out: Path, split: str, place: str) -> Path:
    """Where a label map goes in Cityscapes' layout."""
    return out / 'gtFine' / split / f'{place}_gtFine_labelTrainIds.png'


def _refuse_others(split: str, frames: Iterable[Frame], out: Path) -> None:
    """Training would read every photograph of the folder, also those of an earlier, larger choice."""
    wanted = {photograph_path(out, split, frame.place) for frame in frames}
    folder = out / 'leftImg8bit' / split
    found = list_files(folder, '_leftImg8bit.png') if folder.is_dir() else []
    if others := [path for path in found if path not in wanted]:
        raise FileExistsError(
            f'{folder}: {len(others)} photographs are there that are not asked for, such as '
            f'{others[0].name}, and training would read them too; remove them, or give tools/prepare_*.py '
            'another --out'
        )


def _prepare_split(plan: Plan, split: str, out: Path, copy: bool) -> PreparedSplit:
    done: Counter[str] = Counter()
    frames = plan.frames[split]
    for frame in track(frames, f'Preparing {split}', transient=True):
        # The label map first: a photograph that is there has one.
        done[_place_label(frame.label, label_path(out, split, frame.place), plan)] += 1
        done[_place_photograph(frame.photograph, photograph_path(out, split, frame.place), copy)] += 1
    kept = done['kept'] + done['redrawn']
    counts = (len(frames), plan.expected[split], done['written'], kept, done['redrawn'])
    return PreparedSplit(split, *counts, *check_split(out, split))


def _place_label(original: Original, path: Path, plan: Plan) -> str:
    """Write a label map in train ids; returns ``'written'``, or of one that is there ``'kept'`` or, where it
    differs a little, ``'redrawn'``."""
    ids = _read_ids(original)
    train_ids = plan.train_ids[ids]
    if unknown := np.unique(ids[train_ids < 0]).tolist():
        raise ValueError(
            f'{original}: label ids {unknown[:10]} are none of its dataset, which has '
            f'{np.flatnonzero(plan.train_ids >= 0).tolist()}'
        )
    if not _is_there(path):
        write_image(path, Image.fromarray(train_ids.astype(np.uint8)), 'PNG')
        return 'written'
    # Not by the files' bytes: another program packs the same ids in another way.
    found = _read_ids(path)
    if found.shape != ids.shape or (share := np.mean(found != train_ids)) > plan.redrawn:
        _refuse_other_content(path, original)
    return 'redrawn' if share else 'kept'


def _read_ids(original: Original) -> np.ndarray:
    """The ids of a label map, ``(H, W)`` uint8."""
    content = read_original(original)
    label_size(BytesIO(content), original)
    try:
        with Image.open(BytesIO(content)) as image:
            return np.asarray(image, np.uint8)
    except DAMAGED as error:
        raise damaged(original, error) from error


def _place_photograph(original: Original, path: Path, copy: bool) -> str:
    """Link, copy or unpack a photograph; returns ``'written'``, or ``'kept'`` where it is there already."""
    link = isinstance(original, Path) and not copy
    if _is_there(path):
        if not same_content(original, path):
            _refuse_other_content(path, original)
        # Whoever asks for copies may want to delete the originals.
        if link or not path.is_symlink():
            return 'kept'
    if not link:
        write_atomically(path, read_original(original))
        return 'written'
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(original.resolve())
    except OSError as error:
        # A file system may have no links, as that of a memory card.
        raise OSError(error.errno, f'{path}: no link could be made ({error.strerror}); use --copy') from error
    return 'written'


def _is_there(path: Path) -> bool:
    if path.is_symlink() and not path.exists():
        raise FileExistsError(f'{path}: a link to {os.readlink(path)}, which is not there; remove the link')
    return path.exists()


def _refuse_other_content(path: Path, original: Original) -> NoReturn:
    raise FileExistsError(
        f'{path}: is there with other content than {original} gives, and was left as it is; remove it, or '
        'give tools/prepare_*.py another --out'
    )


def check_split(root: Path, split: str) -> tuple[np.ndarray, int]:
    """Check that photographs of a split are whole and have label maps of their size, with train ids only.

    Returns labelled pixels per class, int64 ``(19,)``, and the number of ignored pixels; raises, naming the
    file, FileNotFoundError or ValueError.
    """
    dataset = CityscapesDataset(
        data_root=str(root),
        data_prefix=dict(img_path=f'leftImg8bit/{split}', seg_map_path=f'gtFine/{split}'),
        serialize_data=False,
    )
    pixels = count_label_pixels(dataset, len(CLASSES), IGNORE_INDEX)
    for path in track(image_paths(dataset), f'Checking photographs of {split}', transient=True):
        _verify_photograph(path)
    return pixels.labelled.sum(0), int(pixels.ignored.sum())


def _verify_photograph(path: str) -> None:
    """Check that a photograph is a PNG, as downloaded, and its check sums."""
    try:
        with Image.open(path, formats=('PNG',)) as image:
            image.verify()
    except DAMAGED as error:
        raise damaged(path, error, 'photograph') from error


def remarks(splits: Iterable[PreparedSplit]) -> list[str]:
    """Warnings: splits that lack photographs, label maps that were redrawn."""
    found = []
    for split in splits:
        if split.photographs < split.expected:
            found.append(
                f'{split.name}: {split.photographs} of the {split.expected} photographs that are given out'
            )
        if split.redrawn:
            found.append(
                f'{split.name}: {split.redrawn} label maps that were there differ from the labelIds in a few '
                'pixels, as polygons do that were drawn again; they were kept'
            )
    return found


def pixel_table(splits: Sequence[PreparedSplit]) -> Table:
    """Pixels of each class, and their share of the split's in percent."""
    columns = [column for split in splits for column in (f'{split.name}, pixels', '%')]
    table = make_table(['class', *columns])
    counts = [[*split.pixels.tolist(), split.ignored] for split in splits]
    for row, name in enumerate((*CLASSES, 'ignored')):
        cells = ((f'{count[row]:,}', f'{100 * count[row] / sum(count):.2f}') for count in counts)
        table.add_row(name, *(cell for pair in cells for cell in pair))
    return table
