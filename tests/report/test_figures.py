"""The figure of an adaptation: the lines that are in it, and the file."""

import pytest
from PIL import Image

from mmseg_deeplab_study.evaluation.history import History
from mmseg_deeplab_study.report.curves import COLOURS
from mmseg_deeplab_study.report.figures import adaptation_figure, draw_adaptation


def history(*scores: float, first: int = 0) -> History:
    """Seen classes at twice the score, no unseen ones."""
    rows = [
        {
            'iter': first + 5 * k,
            'kind': 'validation',
            'subset': 'full',
            'mIoU': score,
            'mIoU.seen': 2 * score,
            'mIoU.unseen': None,
        }
        for k, score in enumerate(scores)
    ]
    return History({}, rows)


def lines(**runs: History) -> list[tuple[str, str, list, list]]:
    """Legend, colour, iterations and scores of each line."""
    drawn = adaptation_figure(runs).axes[0].lines
    return [(x.get_label(), x.get_color(), list(x.get_xdata()), list(x.get_ydata())) for x in drawn]


def test_lines_of_two_runs():
    first, second = COLOURS[:2]
    assert lines(R50=history(5, 6, 7), MobileNetV2=history(4, 4)) == [
        ('R50', first, [0, 5, 10], [5, 6, 7]),
        ('R50, seen classes', first, [0, 5, 10], [10, 12, 14]),
        ('MobileNetV2', second, [0, 5], [4, 4]),
        ('MobileNetV2, seen classes', second, [0, 5], [8, 8]),
    ]  # the unseen classes' mean is null throughout: no line


def test_a_ring_marks_the_lowest_point_of_a_fall():
    *_, ring = lines(R=history(9, 4, 12))
    assert ring[1:] == (COLOURS[0], [5], [4])
    assert len(lines(R=history(4, 9, 12))) == 2  # never fell: no ring
    assert len(lines(R=history(4, 3.96, 12))) == 2  # by 0.04 points, which no table shows


def test_rows_of_another_kind_are_not_drawn():
    rows = [*history(9, 4).rows, {'iter': 5, 'kind': 'source', 'subset': 'full', 'mIoU': 99}]
    assert lines(R=History({}, rows)) == lines(R=history(9, 4))


def test_axes_say_what_they_show():
    figure = adaptation_figure({'R': history(1, 2)}, title='Drawn data')
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ('iteration (updates done)', 'mIoU (%)')
    assert axes.get_title() == 'Drawn data'


def test_png(tmp_path):
    runs = {'R': history(9, 4, 12), 'M': history(5, 6, 7)}
    path = draw_adaptation(runs, tmp_path / 'new folder' / 'adaptation.png')
    assert path == tmp_path / 'new folder' / 'adaptation.png'
    with Image.open(path) as image:
        assert image.size == (1200, 720)  # 8 x 4.8 inches of 150 dots


def test_no_run(tmp_path):
    with pytest.raises(ValueError, match='needs at least one run, but got none'):
        draw_adaptation({}, tmp_path / 'a.png')


def test_a_record_without_iteration_0_has_curves_and_no_ring():
    (axes,) = adaptation_figure({'the study': history(5, 2, 8, first=5)}).axes
    assert [list(line.get_xdata()) for line in axes.lines if line.get_label() == 'the study'] == [[5, 10, 15]]
    assert not [line for line in axes.lines if line.get_marker() == 'o']


def test_a_run_without_a_score_is_named(tmp_path):
    with pytest.raises(ValueError, match='empty run: mIoU'):
        draw_adaptation({'empty run': history()}, tmp_path / 'a.png')
    assert not (tmp_path / 'a.png').exists()


def test_the_probe_has_a_line_of_its_own():
    run = history(9, 20)
    run.rows.extend({**row, 'subset': 'probe', 'mIoU': row['mIoU'] / 2} for row in history(9, 20).rows)
    drawn = {label: (xs, ys) for label, _, xs, ys in lines(R=run)}
    assert drawn['R, probe'] == ([0, 5], [4.5, 10]) and drawn['R'] == ([0, 5], [9, 20])
