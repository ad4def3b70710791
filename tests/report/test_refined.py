"""The section of a report on dense CRF: what it compares, and which pictures stand side by side."""

import numpy as np
import pytest

from mmseg_deeplab_study.datasets.label_maps import write_label_map
from mmseg_deeplab_study.evaluation.metrics.boundary_metric import boundary_scores, count_boundaries
from mmseg_deeplab_study.report.refined import refined
from mmseg_deeplab_study.runs.history import HistoryWriter, make_row

CLASSES = ('road', 'car', 'traffic light')
PALETTE = ((128, 64, 128), (0, 0, 142), (250, 170, 30))


def scores(shift: int, miou: float) -> dict:
    label = np.repeat(np.arange(32, dtype=np.uint8) // 12, 24).reshape(32, 24).T
    counts = count_boundaries(np.roll(label, shift, axis=1), label, 3)
    return {
        'mIoU': miou,
        'mIoU.seen': miou,
        'mIoU.unseen': None,
        'class_iou': {'road': miou, 'car': miou + 1, 'traffic light': None},
        **boundary_scores([counts], CLASSES),
    }


@pytest.fixture
def folder(make_run, tmp_path):
    folder = make_run(tmp_path / 'run', {0: 10.0, 5: 20.0})
    for iteration, miou in ((5, 19.0), (5, 21.5)):
        row = make_row(iteration, 'crf', 'full', scores(1, miou), np.eye(3, dtype=int), 2, 9.0)
        row |= {
            'unrefined': scores(2, 20.0),
            'crf': {'iterations': 10, 'bilateral_weight': 4.0, 'backend': 'torch'},
        }
        HistoryWriter(folder / 'adaptation.jsonl').append(row)
    write_label_map(folder / 'snapshots/crf/000005/first.png', np.ones((24, 32), np.uint8), PALETTE)
    return folder


@pytest.fixture
def entries(read):
    """A function that gives the entries of a work_dir."""

    def find(folder) -> list[dict]:
        return refined(read(folder).runs, 480)

    return find


def test_compares_the_last_test_of_an_iteration(folder, entries):
    (entry,) = entries(folder)
    assert entry['name'] == 'run, iteration 5'
    assert entry['parameters'] == 'iterations 10, bilateral_weight 4.0, backend torch'
    assert entry['seconds'] == '4.5' and entry['images'] == 2
    table = {name: values for name, *values in entry['scores']}
    trimaps = [f'trimap.{width}' for width in (1, 2, 4, 8, 16, 32)]
    assert list(table) == ['mIoU', 'mIoU.seen', 'mIoU.unseen', 'BIoU', *trimaps]
    assert table['mIoU'] == ['20.0', '21.5', '+1.50']
    assert table['mIoU.unseen'] == ['-', '-', '-']
    assert float(table['BIoU'][2]) > 0
    classes = {name: values for name, *values in entry['classes']}
    assert classes['car'][:3] == ['21.0', '22.5', '+1.50'] and classes['traffic light'][:3] == ['-'] * 3
    # Of the one image that has both pictures.
    (image,) = entry['pictures']
    assert image['name'] == 'first'
    assert list(image['pictures']) == ['photograph', 'truth', 'without', 'with dense CRF']
    assert all(data.startswith('data:image/') for data in image['pictures'].values())


def test_says_what_the_same_classes_score_where_one_goes(folder, entries):
    path = folder / 'adaptation.jsonl'
    row = make_row(5, 'crf', 'full', scores(1, 21.5), np.eye(3, dtype=int), 2, 9.0)
    row['unrefined'] = scores(2, 14.0)
    # A class that is predicted and never labelled.
    row['unrefined']['class_iou'] = {'road': 20.0, 'car': 22.0, 'traffic light': 0.0}
    HistoryWriter(path).append(row)
    (entry,) = entries(folder)
    assert entry['scores'][0] == ('mIoU, same classes', '21.0', '22.0', '+1.00')
    assert entry['scores'][1][:3] == ('mIoU', '14.0', '21.5')


def test_the_page_has_the_section_only_where_it_has_something_to_show(folder, make_run, tmp_path, page_of):
    shown = page_of(folder)
    assert '<section id="refined"' in shown and '<a href="#refined">Dense CRF</a>' in shown
    assert 'alt="first, with dense CRF, run, iteration 5"' in shown
    plain = page_of(make_run(tmp_path / 'plain', {0: 10.0}))
    assert 'id="refined"' not in plain and '#refined' not in plain
