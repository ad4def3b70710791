"""Predicted label maps of a few fixed images, as pictures, over the iterations."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.fileio import get
from mmseg.structures import SegDataSample

from ..atomic_file import write_atomically
from ..datasets.label_maps import write_label_map
from ..datasets.palettes import Palette


def choose_images(paths: Sequence[str], wanted: int | str | Sequence[str]) -> list[str]:
    """Pick images for snapshots: a number, evenly spaced, or those of the stems given.

    ValueError if no image has such a stem, or two that are picked have the same.
    """
    if isinstance(wanted, int):
        places = np.linspace(0, len(paths) - 1, min(wanted, len(paths))).round().astype(int)
        chosen = [paths[i] for i in places]
    else:
        wanted = [wanted] if isinstance(wanted, str) else wanted
        by_stem = {Path(path).stem: path for path in paths}
        if unknown := [stem for stem in wanted if stem not in by_stem]:
            raise ValueError(
                f'snapshots: no validation image is called {unknown[0]!r}; there are {len(by_stem)}, '
                f'first {list(by_stem)[:3]}'
            )
        chosen = [by_stem[stem] for stem in wanted]
    stems = [Path(path).stem for path in chosen]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise ValueError(
            f'snapshots: {twice[0]!r} is the name of several of the images {chosen}, whose pictures would '
            'overwrite each other; name the images to take'
        )
    return chosen


class Snapshots:
    """The folder ``work_dir/snapshots`` and the images that are kept in it."""

    def __init__(self, folder: Path, images: Sequence[str], palette: Palette) -> None:
        self.folder = folder
        self.images = set(images)
        self.palette = palette

    def take(self, samples: Sequence[SegDataSample], name: str, palette: Palette | None = None) -> None:
        """Write a batch's predictions to the folder ``name``, and photographs and truths once.

        ``palette`` has the colours of another label space, as the source model's.
        """
        for sample in samples:
            if sample.img_path not in self.images:
                continue
            image = Path(sample.img_path)
            prediction = sample.pred_sem_seg.data.squeeze(0).cpu().numpy()
            write_label_map(self.folder / name / f'{image.stem}.png', prediction, palette or self.palette)
            reference = self.folder / 'reference' / image.name
            if not reference.exists():
                truth = sample.gt_sem_seg.data.squeeze(0).cpu().numpy()
                write_label_map(reference.with_name(f'{image.stem}_truth.png'), truth, self.palette)
                write_atomically(reference, get(sample.img_path))
