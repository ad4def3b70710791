"""What a dense CRF made of predictions: scores and pictures side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..evaluation.adaptation import class_names
from ..evaluation.metrics.scores import LABELLED, MEAN_IOUS, mean_known
from ..evaluation.score_curves import BOUNDARY_CLASS_PREFIX, CLASS_PREFIX, boundary_score_names, find_score
from ..runs.history import Kind
from .analysis import MeasuredRun
from .analysis_text import percent
from .pictures import encode_label_map, encode_photograph
from .runs import RunFolder

Row = Mapping[str, Any]


def refined(runs: Sequence[MeasuredRun], width: int) -> list[dict[str, Any]]:
    """An entry per run and iteration tested with dense CRF, of its last test."""
    return [
        _entry(run, row, width)
        for run in runs
        for row in {row['iter']: row for row in run.history.select(Kind.CRF)}.values()
    ]


def _entry(run: MeasuredRun, row: Row, width: int) -> dict[str, Any]:
    without = row.get('unrefined') or {}
    scores = [*(LABELLED if run.unlabelled else ()), *MEAN_IOUS, *boundary_score_names([row])]
    classes = class_names(run.history)

    def compared(score: str) -> tuple[str, str, str]:
        return _compared(find_score(without, score), find_score(row, score))

    return {
        'name': f'{run.name}, iteration {row["iter"]}',
        'parameters': ', '.join(f'{key} {value}' for key, value in (row.get('crf') or {}).items()),
        'seconds': percent(row['seconds'] / row['images']) if row.get('images') else '-',
        'images': row.get('images'),
        'scores': [*_same_classes(without, row), *((score, *compared(score)) for score in scores)],
        'classes': [
            (name, *compared(CLASS_PREFIX + name), *compared(BOUNDARY_CLASS_PREFIX + name))
            for name in classes
        ],
        'pictures': _pictures(run.folder, row['iter'], len(classes), width),
    }


def _same_classes(without: Row, row: Row) -> list[tuple[str, ...]]:
    """mIoU over the classes that have an IoU in both, where these are not all.

    A class that is predicted and never labelled is 0 in mIoU, and in it no more without its last pixel.
    """
    one, other = (
        {k: v for k, v in (part.get('class_iou') or {}).items() if v is not None} for part in (without, row)
    )
    shared = sorted(one.keys() & other.keys())
    if one.keys() == other.keys() or not shared:
        return []
    means = (mean_known([part[name] for name in shared]) for part in (one, other))
    return [('mIoU, same classes', *_compared(*means))]


def _compared(without: float | None, refined_score: float | None) -> tuple[str, str, str]:
    known = without is not None and refined_score is not None
    return percent(without), percent(refined_score), f'{refined_score - without:+.2f}' if known else '-'


def _pictures(folder: RunFolder, iteration: int, classes: int, width: int) -> list[dict[str, Any]]:
    found = []
    for image in folder.images:
        without, path = folder.prediction(image, iteration), folder.refined(image, iteration)
        if without is None or path is None:
            continue
        pictures = {
            'photograph': encode_photograph(folder.photograph(image), width),
            'truth': encode_label_map(folder.truth(image), width, classes),
            'without': encode_label_map(without, width),
            'with dense CRF': encode_label_map(path, width),
        }
        found.append({'name': image, 'pictures': {title: data for title, data in pictures.items() if data}})
    return found
