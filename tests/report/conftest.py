import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmseg_deeplab_study.datasets.label_maps import write_label_map
from mmseg_deeplab_study.evaluation.metrics.scores import scores_from_confusion
from mmseg_deeplab_study.report.analysis import Analysis, analyse
from mmseg_deeplab_study.report.page import render_page
from mmseg_deeplab_study.report.runs import read_runs
from mmseg_deeplab_study.runs.history import FILE_NAME, HistoryWriter, make_row

SOURCE = ('background', 'car')
PALETTE = ((128, 64, 128), (0, 0, 142), (250, 170, 30))
SOURCE_PALETTE = ((0, 0, 0), (128, 128, 128))


def _make_run(
    folder: Path,
    miou: Mapping[int, float | None],
    images: Sequence[str] = ('first', 'second'),
    classes: Sequence[str] = ('road', 'car', 'traffic light'),
    source: bool = True,
    size: tuple[int, int] = (24, 32),
    **header: Any,
) -> Path:
    folder.mkdir(parents=True)
    writer = HistoryWriter(folder / FILE_NAME)
    writer.start(
        {
            'source_classes': SOURCE,
            'target_classes': classes,
            'seen_classes': ['car'],
            'seed': 0,
            'max_iters': max(miou, default=10),
            'config_digest': folder.name,
            'source_checkpoint': {'name': 'source.pth', 'digest': 'c'},
            'validation': {'digest': 'v'},
            'train': {'digest': 't'},
            **header,
        }
    )
    truth = np.repeat(np.arange(size[1]) * len(classes) // size[1], size[0]).reshape(size[1], size[0]).T
    reference = folder / 'snapshots' / 'reference'
    for image in images:
        write_label_map(reference / f'{image}_truth.png', truth, PALETTE)
        Image.new('RGB', size[::-1], (90, 120, 150)).save(reference / f'{image}.png')
    if source:
        counts = np.zeros((len(classes), len(SOURCE)), int)
        counts[:, 0] = 90
        counts[:, 1] = 10
        scores = scores_from_confusion(np.eye(len(classes), dtype=int), classes, ['car'])
        writer.append(make_row(0, 'source', 'full', {**scores, 'mIoU': 7.25}, counts, 2, 0.5))
        for image in images:
            write_label_map(folder / 'snapshots/source' / f'{image}.png', truth // 2, SOURCE_PALETTE)
    for place, (iteration, value) in enumerate(miou.items()):
        # Two columns of pixels more are right each time, from the right.
        predicted = np.where(np.arange(size[1]) >= size[1] - 2 * place, truth, 0)
        joint = len(classes) * truth + predicted
        counts = np.bincount(joint.ravel(), minlength=len(classes) ** 2).reshape(-1, len(classes))
        scores = {**scores_from_confusion(counts, classes, ['car']), 'mIoU': value}
        writer.append(make_row(iteration, 'validation', 'full', scores, counts, 2, 0.25))
        for image in images:
            write_label_map(folder / f'snapshots/{iteration:06d}' / f'{image}.png', predicted, PALETTE)
    return folder


@pytest.fixture(scope='session')
def make_run() -> Callable[..., Path]:
    """A function that writes a work_dir: a record with the mIoU given by iteration, and snapshots.

    Predictions are of the first class but for the last columns, two more of which are right each time; the
    source model takes nine tenths of everything for background. Other arguments go into the header.
    """
    return _make_run


def _read(*folders: Path) -> Analysis:
    return analyse(read_runs(folders))


@pytest.fixture(scope='session')
def read() -> Callable[..., Analysis]:
    """A function that reads and analyses work_dirs."""
    return _read


@pytest.fixture(scope='session')
def page_of() -> Callable[..., str]:
    """A function that renders the page of work_dirs."""
    return lambda *folders, **options: render_page(_read(*folders), **options)


def _edit(folder: Path, change: Callable[[dict, list[dict]], list[dict] | None]) -> Path:
    path = folder / FILE_NAME
    header, *rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = change(header, rows) or rows
    path.write_text(''.join(json.dumps(line) + '\n' for line in (header, *rows)))
    return folder


@pytest.fixture(scope='session')
def edit() -> Callable[..., Path]:
    """A function that changes a record's header and rows in place, or by the rows that ``change`` returns."""
    return _edit


@pytest.fixture(scope='session')
def read_through(edit) -> Callable[..., Path]:
    """A function that gives a record of car, its one seen class, other IoU: the source's own, by validation
    the new head's, and the features' through the source's classifier."""

    def change(
        source: float, head: Sequence[float], features: Sequence[float], rows: list[dict]
    ) -> list[dict]:
        def scored(row: dict, iou: float, **more: Any) -> dict:
            means = dict.fromkeys(('mIoU.seen', 'mIoU.seen.labelled'), iou)
            return {**row, **means, 'class_iou': {**row['class_iou'], 'car': iou}, **more}

        found = [scored(rows[0], source)]
        for row, of_head, of_features in zip(rows[1:], head, features, strict=True):
            found.append(scored(rows[0], of_features, kind='source_classifier', iter=row['iter']))
            found.append(scored(row, of_head))
        return found

    return lambda folder, *scores: edit(folder, lambda header, rows: change(*scores, rows))


@pytest.fixture(scope='session')
def lack_car(edit) -> Callable[[Path], Path]:
    """A function that takes all labels of car from the validations of a record; the mIoU of the classes that
    are labelled is 10 points higher."""

    def change(header: dict, rows: list[dict]) -> None:
        for row in rows:
            row['mIoU.labelled'] = row['mIoU'] + 10
            if row['kind'] == 'validation':
                row['confusion'] = [[10, 7, 0], [0, 0, 0], [0, 0, 9]]

    return lambda folder: edit(folder, change)
