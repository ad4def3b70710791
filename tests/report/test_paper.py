"""The figures and the CSV of a paper, of small records and pictures made here."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from mmseg_deeplab_study.datasets.label_maps import write_label_map
from mmseg_deeplab_study.datasets.palettes import UNLABELLED
from mmseg_deeplab_study.report.analysis import Analysis, analyse
from mmseg_deeplab_study.report.curves import COLOURS
from mmseg_deeplab_study.report.paper import (
    cost_figure,
    curves_figure,
    draw_adaptation,
    head_or_features_figure,
    plot_curves,
    write_figures,
)
from mmseg_deeplab_study.report.paper_pictures import (
    film_figure,
    plot_film,
    predictions_figure,
    source_figure,
)
from mmseg_deeplab_study.report.runs import RunFolder
from mmseg_deeplab_study.runs.history import FILE_NAME, History, HistoryWriter

CLASSES, PALETTE = ['road', 'car'], [(128, 64, 128), (0, 0, 142)]
SOURCE, SOURCE_PALETTE = ['background', 'cat', 'car'], [(0, 0, 0), (64, 0, 0), (128, 128, 128)]
MATCHES = {'car': {'source': 'car', 'kind': 'exact'}}
HALF = np.repeat([[0] * 4 + [1] * 4], 4, axis=0)  # (4, 8): road left, car right


def row(iteration: int, miou: float | None, kind: str = 'validation', subset: str = 'full') -> dict:
    where = {'iter': iteration, 'kind': kind, 'subset': subset}
    scores = {'mIoU': miou, 'mIoU.seen': miou, 'mIoU.unseen': None, 'aAcc': 50.0, 'mAcc': 25.0}
    return {**where, **scores, 'class_iou': {'road': None, 'car': miou}}


def write_run(
    work_dir: Path,
    miou: dict[int, float] | Sequence[dict],
    pictures: Sequence[str] = (),
    seed: int = 0,
    experiment: str = 'one',
    multiply_adds: float | None = None,
) -> Path:
    """A record and the pictures of some images; runs of one experiment differ in the seed alone."""
    rows = [row(*one) for one in miou.items()] if isinstance(miou, dict) else miou
    digests = {'config_digest': experiment, 'source_checkpoint': {'digest': 's'}}
    images = {key: {'digest': key} for key in ('validation', 'train')}
    classes = {'target_classes': CLASSES, 'source_classes': SOURCE, 'seen_classes': ['car']}
    work_dir.mkdir(parents=True, exist_ok=True)
    writer = HistoryWriter(work_dir / FILE_NAME)
    model = {'model': {'multiply_adds': multiply_adds}}
    writer.start({'seed': seed, **digests, **images, **classes, **model})
    for one in rows:
        writer.append(one)
    snapshots = work_dir / 'snapshots'
    for image in pictures:
        truth = HALF.copy()
        truth[0] = 255
        write_label_map(snapshots / 'reference' / f'{image}_truth.png', truth, PALETTE)
        Image.new('RGB', (8, 4), (10, 20, 30)).save(snapshots / 'reference' / f'{image}.png')
        write_label_map(snapshots / 'source' / f'{image}.png', 2 * HALF, SOURCE_PALETTE)
        for one in rows:
            write_label_map(snapshots / f'{one["iter"]:06d}' / f'{image}.png', HALF * 0, PALETTE)
    return work_dir


@pytest.fixture
def predictions(read):
    """A function that draws the predictions of a run."""

    def draw(work_dir: Path) -> Figure:
        return predictions_figure(read(work_dir).runs[0], 'mIoU')

    return draw


def titles(figure: Figure) -> list[str]:
    return [axes.get_title().replace('\n', ' ') for axes in figure.axes if axes.get_title()]


def legend(figure: Figure) -> dict[str, tuple[float, ...]]:
    """Names in the legend, and their colours."""
    (found,) = figure.legends
    colours = [handle.get_facecolor()[:3] for handle in found.legend_handles]
    return dict(zip([text.get_text() for text in found.get_texts()], colours, strict=True))


def rgb(*channels: int) -> tuple[float, ...]:
    return tuple(channel / 255 for channel in channels)


@pytest.fixture(scope='module')
def two_seeds(tmp_path_factory) -> list[Path]:
    """Of which the second is cut off, and has no pictures. Not to be changed."""
    folder = tmp_path_factory.mktemp('two_seeds')
    first = write_run(folder / 'r50_0', {0: 8.0, 5: 6.0, 10: 12.5}, 'ab')
    return [first, write_run(folder / 'r50_1', {0: 10.0, 5: 4.0}, seed=1)]


@pytest.mark.slow
def test_files(two_seeds, tmp_path, read):
    other = write_run(tmp_path / 'mobilenet', {0: 5.0}, 'ab', experiment='other')
    bare = write_run(tmp_path / 'bare', {0: 5.0}, experiment='bare')
    found, folder = read(*two_seeds, bare, other), tmp_path / 'new' / 'figures'
    paths = write_figures(found, folder)
    # A number is that of a figure which is there: the run without pictures takes none.
    stems = ['figure3_source_view', 'figure4_predictions_r50_0', 'figure5_predictions_mobilenet']
    names = [f'{stem}.{kind}' for stem in (*stems, 'figure6_curves') for kind in ('pdf', 'png')]
    assert paths == [folder / name for name in [*names, 'series.csv']]
    assert sorted(paths) == sorted(folder.iterdir())
    for path in paths[1:-1:2]:
        with Image.open(path) as image:
            wide = 'predictions' in path.name
            assert image.width == (2070 if wide else 990)  # 6.9 and 3.3 inches of 300 dots
            assert image.info['dpi'] == pytest.approx((300, 300), abs=0.1)
    for path in paths[:-1:2]:
        content = path.read_bytes()
        # /Type 42 fonts are TrueType files inside the PDF.
        assert content.startswith(b'%PDF') and b'/FontFile2' in content
        assert b'/Type3' not in content and b'/CreationDate' not in content
    again = write_figures(found, tmp_path / 'again')
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


@pytest.mark.slow
def test_names_of_runs_are_not_markup_nor_folders(tmp_path, read):
    names = ['a/x$_{^$ <b>"q"', 'b/x$_{^$ <b>"q"', '_$$']
    runs = [
        write_run(tmp_path / n, {0: 5.0}, 'a' * (n != names[0]), experiment=n, multiply_adds=1e9 * k)
        for k, n in enumerate(names, 1)
    ]
    analysis = read(*runs)
    assert [run.name for run in analysis.runs] == names  # of two with one name their folders are part
    paths = write_figures(analysis, tmp_path / 'figures')
    assert [path.stem for path in paths if path.suffix == '.png'] == [
        'figure3_source_view',
        'figure4_predictions_b-x-_-b-q',
        'figure5_predictions__',
        'figure6_curves',
        'figure7_cost',
    ]
    curves, cost = (
        curves_figure(analysis).legends[0].get_texts(),
        cost_figure(analysis).legends[0].get_texts(),
    )
    assert [text.get_text() for text in curves[:3]] == [text.get_text() for text in cost[1:]] == names
    assert not any(text.get_parse_math() for text in (*curves, *cost))


def test_series_of_a_run_without_pictures(tmp_path, read):
    rows = [row(0, 1 / 3, 'source'), row(0, None, subset='probe'), row(0, 12.5)]
    rows.append({'iter': 0, 'kind': 'forgetting', 'subset': 'source', 'mIoU': 70.0})
    run = write_run(tmp_path / 'r,50', rows, seed=3)
    paths = write_figures(read(run), tmp_path / 'figures')
    assert [path.name for path in paths] == ['figure4_curves.pdf', 'figure4_curves.png', 'series.csv']
    with paths[-1].open(newline='') as file:
        header, *found = csv.reader(file)
    assert header == ['run', 'seed', 'kind', 'subset', 'iteration', 'score', 'value']
    assert all(line[:2] == ['r,50', '3'] and line[4] == '0' for line in found)
    labelled = ('mIoU.labelled', 'mIoU.seen.labelled', 'mIoU.unseen.labelled')
    scores = ('mIoU', 'mIoU.seen', 'mIoU.unseen', 'aAcc', 'mAcc', *labelled, 'IoU.road', 'IoU.car')
    third = '0.3333333333333333'
    expected = {
        ('source', 'full'): [third, third, '', '50.0', '25.0', '', '', '', '', third],
        ('validation', 'probe'): ['', '', '', '50.0', '25.0', *[''] * 5],
        ('validation', 'full'): ['12.5', '12.5', '', '50.0', '25.0', '', '', '', '', '12.5'],
        ('forgetting', 'source'): ['70.0', *[''] * 7],  # knows no classes
    }
    assert [(*line[2:4], *line[5:]) for line in found] == [
        (*where, score, value)
        for where, values in expected.items()
        for score, value in zip(scores, values, strict=False)
    ]


def test_curve_of_two_seeds_is_their_mean_in_a_band(two_seeds, read):
    axes = curves_figure(read(*two_seeds)).axes[0]
    line, rings = axes.lines
    # (8 + 10) / 2 and (6 + 4) / 2; the second seed has no iteration 10.
    assert line.get_xydata().tolist() == [[0, 9], [5, 5]] == rings.get_xydata().tolist()
    assert (line.get_color(), line.get_linestyle(), rings.get_fillstyle()) == (COLOURS[0], '-', 'none')
    (band,) = axes.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert corners == {(0, 8), (0, 10), (5, 4), (5, 6)}
    assert axes.get_ylabel() == 'mIoU (%)'


def test_curves_of_two_experiments_differ_in_grey_too(tmp_path, read):
    fallen = write_run(tmp_path / 'r50', [row(0, 9.0), row(5, 4.0), row(10, 20.0), row(10, 9.0, 'source')])
    risen = write_run(tmp_path / 'mobilenet', {5: 4.0, 10: 5.0}, experiment='other')
    figure = curves_figure(read(fallen, risen))
    (axes,) = figure.axes
    first, rings, second = axes.lines  # one that begins after iteration 0 has no ring
    assert first.get_xydata().tolist() == [[0, 9], [5, 4], [10, 20]]
    assert rings.get_xydata().tolist() == [[0, 9], [5, 4]]
    assert second.get_xydata().tolist() == [[5, 4], [10, 5]]
    looks = [(x.get_color(), x.get_linestyle(), x.get_marker()) for x in (first, second)]
    assert all(one != other for one, other in zip(*looks, strict=True))
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ['r50', 'mobilenet', 'iteration 0, and lowest point of a fall']
    assert not axes.collections


def test_curves_that_never_fell_or_share_no_iteration(tmp_path, read):
    axes = curves_figure(read(write_run(tmp_path / 'r50', {0: 4.0, 5: 9.0}))).axes[0]
    assert axes.lines[1].get_xydata().tolist() == [[0, 4]]
    runs = [write_run(tmp_path / str(i), {i: 4.0}, seed=i) for i in (5, 10)]
    assert not curves_figure(read(*runs)).axes[0].lines


def test_accuracy_against_cost(two_seeds, tmp_path, read):
    assert cost_figure(read(*two_seeds)) is None
    known = {'dear': (5e10, 40.0), 'waste': (6e10, 30.0), 'cheap': (3e9, 20.0)}
    runs = [
        write_run(tmp_path / name, {0: 8.0, 5: last}, experiment=name, multiply_adds=operations)
        for name, (operations, last) in known.items()
    ]
    figure = cost_figure(read(*runs))
    (axes,) = figure.axes
    front, *points = axes.lines
    assert front.get_xydata().tolist() == [[3e9, 20], [5e10, 40]] and front.get_drawstyle() == 'steps-post'
    assert [point.get_xydata().tolist() for point in points] == [[[5e10, 40]], [[6e10, 30]], [[3e9, 20]]]
    assert len({point.get_marker() for point in points}) == 3
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ['Pareto front', 'dear', 'waste', 'cheap']
    assert (axes.get_xlabel(), axes.get_xscale()) == ('multiply-adds of a validation image', 'log')
    figure.draw_without_rendering()
    shown = [label.get_text() for label in axes.get_xticklabels(which='both')]
    assert '5 G' in shown and not any('$' in text for text in shown)


def test_new_classifier_or_features(two_seeds, tmp_path, read):
    assert head_or_features_figure(read(*two_seeds)) is None

    def rows(lowest: float) -> list[dict]:
        curves = {
            'source': {0: 9.0},
            'source_classifier': {0: 9.0, 5: 8.5},
            'validation': {0: 8.0, 5: lowest},
        }
        return [row(i, miou, kind) for kind, curve in curves.items() for i, miou in curve.items()]

    runs = [write_run(tmp_path / f'seen{s}', rows(2.0 + 2 * s), seed=s, experiment='seen') for s in range(2)]
    figure = head_or_features_figure(read(*two_seeds, *runs))
    (axes,) = figure.axes
    head, features, source = axes.lines
    assert head.get_xydata().tolist() == [[0, 8], [5, 3]]
    assert features.get_xydata().tolist() == [[0, 9], [5, 8.5]]
    assert [line.get_linestyle() for line in axes.lines] == ['-', '--', ':']
    assert set(source.get_ydata()) == {9} and {line.get_color() for line in axes.lines} == {COLOURS[1]}
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ['seen0 and 1 more', 'new classifier', "source's own classifier", "source's view"]


@pytest.mark.parametrize(
    ('miou', 'images', 'columns', 'rows'),
    [
        # Where an mIoU is first reached, and the last.
        (
            {0: 8.0, 5: 12.0, 10: 9.0, 15: 35.0, 20: 33.3},
            'ab',
            ['mIoU 0.1 (iteration 5)', 'mIoU 0.2, 0.3 (iteration 15)', 'last, mIoU 0.33 (iteration 20)'],
            2,
        ),
        # The last is shown once; three images at most.
        ({0: 8.0, 5: 12.0}, 'abcd', ['mIoU 0.1 (iteration 5)'], 3),
        # The probe alone scored the last.
        (
            [row(0, 12.0), row(5, 13.0, subset='probe')],
            'a',
            ['mIoU 0.1 (iteration 0)', 'last (iteration 5)'],
            1,
        ),
    ],
)
def test_columns_of_predictions(tmp_path, predictions, miou, images, columns, rows):
    figure = predictions(write_run(tmp_path / 'r50', miou, images))
    assert titles(figure) == ['photograph', 'truth', *columns]
    assert len(figure.axes) == rows * (2 + len(columns))


def test_label_maps_have_the_colours_of_their_palette(tmp_path, predictions):
    figure = predictions(write_run(tmp_path / 'r50', {0: 8.0}, 'a'))
    photograph, truth, predicted = (axes.images[0].get_array() for axes in figure.axes)
    assert (photograph == (10, 20, 30)).all() and (predicted == PALETTE[0]).all()
    assert (truth[0] == UNLABELLED).all()
    assert (truth[1:, :4] == PALETTE[0]).all() and (truth[1:, 4:] == PALETTE[1]).all()
    colours = {'road': PALETTE[0], 'car': PALETTE[1], 'unlabelled': UNLABELLED}
    assert legend(figure) == {name: rgb(*colour) for name, colour in colours.items()}


def test_source_view_of_the_first_run_that_has_pictures(two_seeds, read):
    figure = source_figure(read(*reversed(two_seeds)))
    assert figure.axes[0].get_ylabel() == 'r50_0'
    assert titles(figure) == ['photograph', "source model's prediction"]
    # In the classes of the source; no pixel is a cat.
    assert legend(figure) == {'background': to_rgb('black'), 'car': rgb(128, 128, 128)}


def test_a_large_label_map_gets_smaller_without_new_colours(tmp_path, predictions):
    run = write_run(tmp_path / 'r50', {0: 8.0}, 'a')
    stripes = np.tile([0, 1, 0], (500, 500))
    write_label_map(run / 'snapshots' / '000000' / 'a.png', stripes, PALETTE)
    drawn = predictions(run).axes[2].images[0].get_array()
    assert drawn.shape == (240, 720, 3)
    assert {tuple(pixel) for pixel in drawn.reshape(-1, 3).tolist()} <= set(PALETTE)


# How many pictures are left out if one is gone, or cannot be read: another is taken for the source's view of
# an image that is gone, and what has no truth is no image.
@pytest.mark.slow
@pytest.mark.parametrize(
    ('place', 'gone', 'broken'),
    [
        ('reference/a.png', 1, 2),
        ('reference/b_truth.png', 0, 1),
        ('000010/a.png', 1, 1),
        ('source/a.png', 0, 1),
    ],
)
def test_a_picture_that_cannot_be_read_is_left_out(tmp_path, read, place, gone, broken):
    folder = write_run(tmp_path / 'r50', {0: 8.0, 5: 6.0, 10: 12.5}, 'ab')
    path = folder / 'snapshots' / place
    content = path.read_bytes()
    # Cut within the pixels, after the palette.
    for damaged, count in ((content[: content.index(b'IDAT') + 8], broken), (b'text', broken), (None, gone)):
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        analysis = read(folder)
        figures = [predictions_figure(analysis.runs[0], 'mIoU'), source_figure(analysis)]
        empty = [axes for figure in figures for axes in figure.axes if not axes.images]
        assert [[text.get_text() for text in axes.texts] for axes in empty] == [['no picture']] * count


# A quick figure


def history(*scores: float, first: int = 0) -> History:
    """Seen classes at twice the score, no unseen ones."""
    rows = [row(first + 5 * k, score) | {'mIoU.seen': 2 * score} for k, score in enumerate(scores)]
    return History({}, rows)


def analysed(**runs: History) -> Analysis:
    return analyse({name: RunFolder(Path(name), run) for name, run in runs.items()})


def lines(**runs: History) -> list[tuple[str, str, list, list]]:
    """Legend, colour, iterations and scores of each line."""
    drawn = plot_curves(runs).axes[0].lines
    return [(x.get_label(), x.get_color(), list(x.get_xdata()), list(x.get_ydata())) for x in drawn]


def test_lines_of_two_runs():
    first, second = COLOURS[:2]
    assert lines(R50=history(5, 6, 7), MobileNetV2=history(4, 4)) == [
        ('R50', first, [0, 5, 10], [5, 6, 7]),
        ('R50, seen classes', first, [0, 5, 10], [10, 12, 14]),
        ('MobileNetV2', second, [0, 5], [4, 4]),
        ('MobileNetV2, seen classes', second, [0, 5], [8, 8]),
    ]  # the unseen classes' mean is null throughout: no line
    axes = plot_curves({'R': history(1, 2)}, title='Drawn data').axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ('iteration (updates done)', 'mIoU (%)')
    assert axes.get_title() == 'Drawn data'


def test_a_ring_marks_the_lowest_point_of_a_fall():
    *_, ring = lines(R=history(9, 4, 12))
    assert ring[1:] == (COLOURS[0], [5], [4])
    assert len(lines(R=history(4, 9, 12))) == 2  # never fell: no ring
    assert len(lines(R=history(4, 3.96, 12))) == 2  # by 0.04 points, which no table shows
    assert len(lines(R=history(5, 2, 8, first=5))) == 2  # iteration 0 is not known


def test_a_set_that_lacks_classes_is_drawn_over_the_labelled_ones():
    run = history(9, 4)
    run.header['target_classes'] = CLASSES
    for one in run.rows:
        one |= {'mIoU.labelled': one['mIoU'] + 10, 'confusion': [[3, 1], [0, 0]]}
    (axes,) = plot_curves(run).axes
    assert axes.get_ylabel() == 'mIoU.labelled (%)'
    assert list(axes.lines[0].get_ydata()) == [19, 14]


def test_the_probe_has_a_line_of_its_own():
    run = history(9, 20)
    run.rows.extend({**one, 'subset': 'probe', 'mIoU': one['mIoU'] / 2} for one in history(9, 20).rows)
    drawn = {label: (xs, ys) for label, _, xs, ys in lines(R=run)}
    assert drawn['R, probe'] == ([0, 5], [4.5, 10]) and drawn['R'] == ([0, 5], [9, 20])


def test_lines_of_one_record_are_its_rows():
    run = history(9, 4, 12)
    for one in run.rows:
        one['mIoU.unseen'] = one['mIoU'] / 2
    run.rows.append(row(0, 7.0, 'source'))
    axes = plot_curves(run, classes=['car']).axes[0]
    drawn = {line.get_label(): line for line in axes.lines[:-1]}  # the last is the ring
    found = {label: line.get_xydata().tolist() for label, line in drawn.items()}
    assert found == {
        'all classes': [[0, 9], [5, 4], [10, 12]],
        'seen classes': [[0, 18], [5, 8], [10, 24]],
        'unseen classes': [[0, 4.5], [5, 2], [10, 6]],
        "source's view": [[0, 7], [1, 7]],  # from side to side of the axes
        'car': [[0, 9], [5, 4], [10, 12]],
        "car, source's view": [[0, 7], [1, 7]],
    }
    looks = {label: (line.get_linestyle(), line.get_color()) for label, line in drawn.items()}
    assert looks["source's view"] == (':', COLOURS[0]) and looks['all classes'] == ('-', COLOURS[0])
    assert looks['car'] == ('-', COLOURS[1]) and looks["car, source's view"] == (':', COLOURS[1])
    assert len({looks[label] for label in ('all classes', 'seen classes', 'unseen classes')}) == 3
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(drawn)


@pytest.mark.parametrize(
    ('runs', 'classes', 'says'),
    [
        ({}, (), r'history=\{\}: expected a record, or several by name; read one by read_history'),
        (History({}, []), (), 'history: expected a validation with an mIoU, but none of 0 has one; draw it'),
        ({'R': history(9), 'S': History({}, [])}, (), r"history\['S'\]: expected a validation with an mIoU"),
        (history(9), ['car', 'cow'], r"classes=\['cow'\]: not in the record; expected some of road, car"),
    ],
)
def test_curves_that_cannot_be_drawn(runs, classes, says):
    with pytest.raises(ValueError, match=says):
        plot_curves(runs, classes)


@pytest.mark.parametrize('name', ['figure.xyz', 'figure', 'folder.png'])
def test_a_name_that_is_no_figure_s(tmp_path, name):
    (tmp_path / 'folder.png').mkdir()
    with pytest.raises(ValueError, match=rf'{name}: expected a file name that ends in one of \..*\.png'):
        draw_adaptation(analysed(R=history(9, 4)), tmp_path / name)


def test_quick_figure_as_a_file(tmp_path):
    path = draw_adaptation(analysed(R=history(9, 4, 12)), tmp_path / 'new folder' / 'adaptation.png')
    assert path == tmp_path / 'new folder' / 'adaptation.png'
    with Image.open(path) as image:
        assert image.size == (1200, 720)  # 8 x 4.8 inches of 150 dots


def test_film_is_label_maps_with_the_source_read_in_the_targets_colours(tmp_path, read):
    path = write_run(tmp_path / 'one', {0: 20.0, 5: 30.0}, pictures=['a'])
    folder = read(path).runs[0].folder
    folder.history.header['matches'] = MATCHES
    figure = film_figure({'one': folder}, [0, 5], 'a')
    assert figure.axes[0].get_ylabel() == 'one'
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["source's view", 'iteration 0', 'iteration 5', 'truth']
    view, before, _, truth = (axes.images[0].get_array() for axes in figure.axes)
    # Its background is no class of the target, its car has the colour of the target's.
    assert np.unique(view[:, :4].reshape(-1, 3), axis=0).tolist() == [[0, 0, 0]]
    assert np.unique(view[:, 4:].reshape(-1, 3), axis=0).tolist() == [list(PALETTE[1])]
    assert np.unique(before.reshape(-1, 3), axis=0).tolist() == [list(PALETTE[0])]
    assert truth[0, 0].tolist() == list(UNLABELLED)


def film_run(folder: Path) -> Path:
    """Of seven validations, the lowest at 10 and the best at 25; each predicts car in a column more."""
    path = write_run(folder, dict(zip(range(0, 35, 5), (9.0, 8, 7, 8, 9, 20, 12), strict=True)), 'ab')
    for place in range(7):
        predicted = np.repeat([np.arange(8) < place], 4, axis=0).astype(np.uint8)
        write_label_map(path / f'snapshots/{5 * place:06d}/b.png', predicted, PALETTE)
    return path


def test_film_of_one_image_is_its_snapshots(tmp_path):
    path = film_run(tmp_path / 'one')
    figure = plot_film(path, image='b', frames=4)
    assert [axes.get_title() for axes in figure.axes] == [
        'photograph',
        "source's view",
        *(f'iteration {i}' for i in (0, 10, 25, 30)),  # first, lowest, best, last
        'truth',
    ]
    panels = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    assert (panels[0] == (10, 20, 30)).all()
    for panel, iteration in zip(panels[2:6], (0, 10, 25, 30), strict=True):
        with Image.open(path / f'snapshots/{iteration:06d}/b.png') as kept:
            assert (panel == np.asarray(kept.convert('RGB'))).all()
        assert (panel == PALETTE[1]).all(-1).sum() == 4 * iteration / 5  # as many columns of four
    assert (panels[6][1:, 4:] == PALETTE[1]).all() and (panels[6][0] == UNLABELLED).all()


def test_film_without_a_source_model_and_of_the_first_image(tmp_path):
    path = write_run(tmp_path / 'one', {0: 9.0, 5: 12.0}, 'ab')
    for kept in (path / 'snapshots/source').iterdir():
        kept.unlink()
    figure = plot_film(path)
    assert [axes.get_title() for axes in figure.axes] == ['photograph', 'iteration 0', 'iteration 5', 'truth']
    assert all(axes.images for axes in figure.axes)


def test_film_that_cannot_be_drawn(tmp_path):
    with pytest.raises(FileNotFoundError, match='no record of adaptation; expected the work_dir of a run'):
        plot_film(tmp_path)
    bare = write_run(tmp_path / 'bare', {0: 9.0})
    with pytest.raises(
        FileNotFoundError, match=r'bare/snapshots: no label maps .*AdaptationHook\(snapshots=N'
    ):
        plot_film(bare)
    with pytest.raises(ValueError, match="image='c': no snapshots; expected one of a, b"):
        plot_film(write_run(tmp_path / 'run', {0: 9.0}, 'ab'), image='c')


@pytest.mark.slow
def test_drawing_is_imported_when_asked_for(forked, tmp_path):
    code = """
import sys
import mmseg_deeplab_study.report as report
assert 'mmseg_deeplab_study.report.paper' not in sys.modules
assert 'mmseg_deeplab_study.report.paper_pictures' not in sys.modules
assert [report.plot_curves.__name__, report.plot_film.__name__] == ['plot_curves', 'plot_film']
assert not hasattr(report, 'plot')
"""
    done = forked.run('-c', code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
