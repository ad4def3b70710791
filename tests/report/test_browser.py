"""The page in a browser: headless Chromium, at desktop and phone width, by mouse and by keyboard."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mmseg_deeplab_study.datasets.label_maps import write_label_map

FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking']
FLAGS += ['--disable-component-update', '--disable-sync', '--no-first-run']
EVIL = '<img src=x onerror="window.ran = 1">%{x}'
# As long as the names of configs are.
LONG = '<b>deeplabv3_mobilenet-v2-padded-os16_1xb4-200_voc2cityscapes-768x768'
DESKTOP, PHONE = {'width': 1280, 'height': 900}, {'width': 390, 'height': 844}


@pytest.fixture(scope='module')
def browser() -> Iterator[Browser]:
    path = shutil.which('chromium') or shutil.which('google-chrome')
    if path is None:
        reason = 'no chromium to open the report in: apt-get install chromium'
        if os.environ.get('STUDY_REQUIRE_SHARED') == '1':
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def report(make_run, page_of, tmp_path_factory) -> Path:
    """Two seeds of one experiment and another experiment, with a class and an image called in markup."""
    folder = tmp_path_factory.mktemp('report')
    look = dict(images=('first', '<i>second'), classes=('road', 'car', EVIL))
    look |= dict(config={'train_dataloader': {'batch_size': 4}}, world_size=1, model=model(3))
    runs = [
        make_run(folder / 'a0', {0: 9.0, 5: 6.0, 10: 21.5, 15: 33.0}, config_digest='a', **look),
        make_run(folder / 'a1', {0: 9.0, 5: 7.0, 10: 14.0, 15: 30.0}, config_digest='a', seed=1, **look),
        make_run(folder / LONG, {0: 4.0, 5: 31.0, 20: 3.96}, config_digest='b', **look | {'model': model(7)}),
    ]
    path = folder / 'report.html'
    path.write_text(page_of(*runs))
    return path


def model(billions: int) -> dict:
    """Of that many parameters and multiply-adds."""
    return dict.fromkeys(('parameters', 'multiply_adds'), billions * 10**9) | {
        'training': {'multiply_adds': billions * 10**9}
    }


both_sizes = pytest.mark.parametrize('page', [DESKTOP, PHONE], ids=['desktop', 'phone'], indirect=True)


@contextmanager
def opened(browser: Browser, report: Path, viewport: dict) -> Iterator[Page]:
    """The report, open; in the end nothing was requested and nothing complained."""
    page = browser.new_page(viewport=viewport)
    complaints, requests = [], []
    page.on(
        'console',
        lambda message: complaints.append(message.text) if message.type in ('error', 'warning') else None,
    )
    page.on('pageerror', lambda error: complaints.append(str(error)))
    page.on('request', lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_selector('#confusion-chart .main-svg')
    yield page
    assert complaints == []
    assert [url for url in requests if not url.startswith(('data:', report.as_uri()))] == []
    assert page.evaluate('window.ran') is None
    page.close()


@pytest.fixture
def page(request, browser, report) -> Iterator[Page]:
    """A page of the test's own, to click on."""
    with opened(browser, report, getattr(request, 'param', DESKTOP)) as page:
        yield page


@pytest.fixture
def open_runs(browser, page_of, tmp_path) -> Iterator[Callable[..., Page]]:
    """A function that opens the page of work_dirs, at a viewport."""
    with ExitStack() as stack:

        def open_page(*folders: Path, viewport: dict = DESKTOP) -> Page:
            path = tmp_path / 'page.html'
            path.write_text(page_of(*folders))
            return stack.enter_context(opened(browser, path, viewport))

        yield open_page


@pytest.fixture(scope='module')
def still(browser, report) -> Iterator[Page]:
    """One page for the tests that only look: opening it takes two seconds."""
    with opened(browser, report, DESKTOP) as page:
        yield page


def frame(page: Page, run: str) -> tuple[str, str]:
    """Iteration and caption of a run's picture."""
    image = page.locator(f'#film-tiles img[data-run="{run}"]')
    return image.get_attribute('data-iteration'), image.get_attribute('alt')


def curve_names(page: Page) -> list[str]:
    return page.evaluate(
        "document.getElementById('curve-chart').data.map((trace) => trace.name).filter((name) => name)"
    )


@pytest.mark.slow
@both_sizes
def test_film_by_slider_and_by_an_miou(page):
    assert 'a0 and 1 more, car' not in curve_names(page)
    page.get_by_label('● car').check()
    assert 'a0 and 1 more, car' in curve_names(page)
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    # 7.25, as the tables round it
    assert frame(page, 'a0')[1] == 'a0: source model, whole set at 7.2 % mIoU'
    before = page.locator('#film-tiles img[data-run="a0"]').get_attribute('src')
    page.locator('#film-slider').fill('3')
    # 0, 5, 10 after the source's own view
    assert frame(page, 'a0')[0] == '10'
    assert frame(page, 'a0')[1].startswith('a0: iteration 10, whole set at 21.5 % mIoU, this image ')
    assert page.locator('#film-tiles img[data-run="a0"]').get_attribute('src') != before
    # it has no validation at 10: the one before
    assert frame(page, LONG)[0] == '5'
    assert page.locator('#film-place').inner_text() == 'iteration 10'
    page.get_by_role('button', name='at 0.3 mIoU').click()
    assert [frame(page, run)[0] for run in ('a0', 'a1', LONG)] == ['15', '15', '5']
    page.get_by_role('button', name='at 0.1 mIoU').click()
    assert [frame(page, run)[0] for run in ('a0', 'a1', LONG)] == ['10', '10', '5']
    assert page.locator('#film-place').inner_text() == "each run's first at 0.1 mIoU"
    assert page.get_by_role('button', name='at 0.4 mIoU').is_disabled()


@pytest.mark.slow
def test_difference_to_the_truth(open_runs, make_run, tmp_path):
    folder = make_run(tmp_path / 'run', {0: 9.0}, images=('first',), source=False)
    truth = folder / 'snapshots/reference/first_truth.png'
    labels = np.asarray(Image.open(truth)).copy()
    labels[0, :2] = 255
    write_label_map(truth, labels, [(128, 64, 128), (0, 0, 142), (250, 170, 30)])
    page = open_runs(folder)
    expect(page.locator('#film-tiles canvas').first).to_have_attribute('width', '32')
    canvas = "document.querySelector('#film-tiles canvas').getContext('2d')"
    row = page.evaluate(f'[...{canvas}.getImageData(0, 0, 32, 1).data]')
    # two pixels are not labelled, the third is road and right, what is on the right is not
    assert row[:12] == [136, 136, 136, 255] * 2 + [255] * 4
    assert row[-4:] == [0xD1, 0x24, 0x2F, 255]


@pytest.mark.slow
def test_pictures_that_are_not_there(open_runs, make_run, tmp_path):
    """One run's first snapshots are gone, and that of the other at 0.1 mIoU; the other never reaches 0.3."""
    late = make_run(tmp_path / 'late', {0: 9.0, 5: 14.0, 10: 31.0})
    holes = make_run(tmp_path / 'holes', {0: 9.0, 5: 14.0, 10: 21.0}, source=False)
    for folder in (late / 'snapshots/000000', late / 'snapshots/000005', holes / 'snapshots/000005'):
        shutil.rmtree(folder)
    page = open_runs(late, holes)
    assert frame(page, 'holes') == ('', 'holes: no picture here')
    page.locator('#film-slider').fill('1')
    assert frame(page, 'late') == ('', 'late: no picture yet')
    page.get_by_role('button', name='at 0.1 mIoU').click()
    assert frame(page, 'holes') == ('', 'holes: no picture where it is first at 0.1 mIoU')
    page.get_by_role('button', name='at 0.3 mIoU').click()
    assert frame(page, 'late')[0] == '10'
    assert frame(page, 'holes') == ('', 'holes: never at 0.3 mIoU')


@pytest.mark.slow
def test_curves_of_seeds_are_mean_and_band(still):
    lines = still.locator('#curve-legend li').all_inner_texts()
    assert lines[:2] == ['a0 and 1 more, mIoU', 'a0 and 1 more, mIoU.seen']
    assert f'{LONG}, mIoU' in lines and len(lines) == 6
    mean, band = still.evaluate(
        """() => {
            const traces = document.getElementById('curve-chart').data;
            return [traces.find((t) => t.name === 'a0 and 1 more, mIoU').y, traces[0].y];
        }"""
    )
    assert mean == [9, 6.5, 17.75, 31.5]
    # the highest forwards, then the lowest backwards
    assert band == [9, 7, 21.5, 33, 30, 14, 6, 9]
    rings = still.evaluate(
        """document.getElementById('curve-chart').data.filter((t) => t.marker?.symbol === 'circle-open')
            .map((t) => [t.x[0], t.y[0]])"""
    )
    # the other experiment falls by 0.04 points, which no table shows
    assert rings == [[5, 6.5]]


@pytest.mark.slow
def test_confusion_as_a_table(page):
    row = page.locator('#confusion-table tr').filter(has_text='road')
    assert row.locator('th, td').all_inner_texts() == ['road', '-', 'background', '90.0']
    row = page.locator('#confusion-table tr').filter(has_text='car')
    assert row.locator('th, td').all_inner_texts() == ['car', '10.0', 'background', '90.0']
    page.locator('#confusion-slider').fill('4')
    assert page.locator('#confusion-place').inner_text() == 'iteration 15'
    rows = [row.locator('th, td').all_inner_texts() for row in page.locator('#confusion-table tr').all()]
    # 6 of the 10 columns of the last class, all else is taken for road
    assert rows == [
        ['road', '100.0', 'road', '100.0'],
        ['car', '0.0', 'road', '100.0'],
        [EVIL, '60.0', EVIL, '60.0'],
    ]


def test_numbers_are_rounded_once_and_as_in_the_tables(still):
    values = [98.14996, 7.25, 0.75, 0.25, 0.05, 12.0, 100.0, 2.449999, 33.349999]
    assert still.evaluate('(values) => values.map(percent)', values) == [f'{value:.1f}' for value in values]
    assert still.evaluate('[null, undefined].map(percent)') == ['-', '-']


@pytest.mark.slow
def test_a_source_class_of_another_name_is_right(open_runs, make_run, edit, tmp_path):
    """motorcycle is read from motorbike; 98.149 % of it, which shares in 1/10000 would show as 98.2."""

    def change(header: dict, rows: list[dict]) -> None:
        header['target_classes'] = ['road', 'motorcycle', 'traffic light']
        rows[0]['confusion'] = [[1, 0], [1851, 98149], [1, 0]]

    run = make_run(tmp_path / 'run', {0: 9.0}, source_classes=['background', 'motorbike'])
    page = open_runs(edit(run, change))
    row = page.locator('#confusion-table tr').filter(has_text='motorcycle')
    assert row.locator('th, td').all_inner_texts() == ['motorcycle', '98.1', 'motorbike', '98.1']
    assert page.locator('#confusion details tr').filter(has_text='motorbike').inner_text().endswith('98.1')


@pytest.mark.slow
def test_all_goes_by_the_labelled_classes_where_the_set_lacks_some(open_runs, make_run, lack_car, tmp_path):
    page = open_runs(lack_car(make_run(tmp_path / 'run', {0: 9.0, 5: 12.0})))
    assert curve_names(page)[0] == 'run, mIoU.labelled'
    assert page.get_by_label('mIoU', exact=True).is_checked() is False
    assert frame(page, 'run')[1] == 'run: source model, whole set at 17.2 % mIoU.labelled'
    page.get_by_role('button', name='at 0.2 mIoU.labelled').click()
    start = 'run: iteration 5, whole set at 22.0 % mIoU.labelled, this image '
    assert frame(page, 'run')[1].startswith(start)


@pytest.mark.slow
def test_heat_map_and_confusion_follow_the_run(page):
    page.locator('#heat-run').select_option(label=LONG)
    assert page.evaluate("document.getElementById('heat-chart').data[0].x") == [0, 5, 20]
    page.locator('#confusion-slider').fill('4')
    # it has 0, 5 and 20
    page.locator('#confusion-run').select_option(label=LONG)
    assert page.locator('#confusion-place').inner_text() == 'iteration 5'
    page.locator('#confusion-slider').fill('3')
    assert page.locator('#confusion-place').inner_text() == 'iteration 20'
    page.locator('#confusion-slider').fill('0')
    assert page.evaluate("document.getElementById('confusion-chart').data[0].z") == [[90, 10]] * 3


def test_names_in_markup_are_shown(still):
    options = still.locator('#film-image option').all_inner_texts()
    assert options == ['<i>second', 'first']
    assert EVIL in still.locator('#film-legend').inner_text()
    labels = still.locator('#heat-chart .yaxislayer-above text').all_text_contents()
    assert EVIL in [text.replace('\u200b', '') for text in labels]


@pytest.mark.slow
def test_accuracy_against_cost(still):
    assert still.locator('#cost-legend li').all_inner_texts() == ['1 a0 and 1 more', f'2 {LONG}']
    line, seeds, long = still.evaluate("document.getElementById('cost-chart').data")
    # 15 iterations of 4 images, 3 * 60 * 3 G; the other costs more and is worse
    assert (line['x'], line['y'], line['line']['shape']) == ([540e9], [31.5], 'hv')
    assert (seeds['x'], seeds['y'], long['x'], long['y']) == ([540e9], [31.5], [1680e9], [3.96])
    # 33 and 30: s / sqrt(2) = 1.5, times t(0.975, 1) = 12.706
    assert seeds['error_y']['array'] == seeds['error_y']['arrayminus'] == [pytest.approx(19.06, abs=0.01)]
    assert seeds['error_y']['visible'] is True and long['error_y']['visible'] is False


@pytest.mark.slow
def test_cost_by_keyboard(open_runs, make_run, tmp_path):
    small = {'parameters': 2_000_000, 'multiply_adds': 9 * 10**9}
    large = {'parameters': 30_000_000, 'multiply_adds': 8 * 10**9}
    runs = [(name, last, one) for name, last, one in (('small', 20.0, small), ('large', 30.0, large))]
    page = open_runs(*(make_run(tmp_path / n, {0: 9.0, 5: last}, model=one) for n, last, one in runs))
    axis = "document.getElementById('cost-chart').layout.xaxis"
    assert page.evaluate(f'[{axis}.type, {axis}.title.text]') == [
        'linear',
        'multiply-adds of a validation image',
    ]
    page.locator('#cost-axis').focus()
    page.keyboard.press('ArrowDown')
    assert page.evaluate(f'[{axis}.type, {axis}.title.text]') == ['log', 'parameters']
    sentence = 'On the Pareto front by parameters: small (2.00 M, 20.0 %), large (30.00 M, 30.0 %).'
    assert page.locator('#cost-front').inner_text() == sentence
    assert page.evaluate("document.getElementById('cost-chart').data[0].y") == [20, 30]


@pytest.mark.slow
def test_new_classifier_or_features(open_runs, make_run, read_through, edit, tmp_path):
    runs = [make_run(tmp_path / str(s), {0: 9.0, 5: 12.0}, seed=s, config_digest='one') for s in range(2)]
    for run, lowest in zip(runs, (30, 32), strict=True):
        read_through(run, 40, (38, lowest), (40, 39))
        # Car alone is lower than the mean.
        edit(run, lambda header, rows: rows[-1]['class_iou'].update(car=20))
    page = open_runs(*runs)
    lines = page.locator('#readout-legend li').all_inner_texts()
    assert lines == [
        f'0 and 1 more, {what}' for what in ('new classifier', "source's classifier", "source's view")
    ]
    chart = "document.getElementById('readout-chart').data"
    drawn = f'{chart}.filter((t) => t.name).map((t) => [t.line.dash, t.x, t.y])'
    both = [['dash', [0, 5], [40, 39]], ['dot', [0, 5], [40, 40]]]
    assert page.evaluate(drawn) == [['solid', [0, 5], [38, 31]], *both]
    # The highest forwards, then the lowest backwards.
    assert page.evaluate(f'{chart}[0].y') == [38, 32, 30, 38]
    page.locator('#readout-score').select_option(label='car')
    assert page.evaluate(drawn) == [['solid', [0, 5], [38, 20]], *both]


@pytest.mark.slow
def test_keyboard_alone(page):
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.className') == 'skip'
    page.locator('#film-slider').focus()
    page.keyboard.press('ArrowRight')
    page.keyboard.press('ArrowRight')
    assert frame(page, 'a0')[0] == '5'
    for _ in range(3):
        page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.dataset.threshold') == '30'
    page.keyboard.press('Enter')
    assert frame(page, 'a1')[0] == '15'
    page.locator('#film-image').select_option(label='first')
    assert page.locator('#film-tiles img').nth(1).get_attribute('alt') == 'true labels of first'
    page.locator('#curve-choice input').first.focus()
    page.keyboard.press('Space')
    assert 'a0 and 1 more, mIoU' not in curve_names(page)
    page.locator('#theme').focus()
    page.keyboard.press('Enter')
    assert page.evaluate('document.documentElement.dataset.theme') == 'dark'
    page.get_by_role('button', name='Play').click()
    expect(page.locator('#film-slider')).to_have_value('2')
    page.get_by_role('button', name='Pause').click()
    assert page.get_by_role('button', name='Play').get_attribute('aria-pressed') == 'false'


@pytest.mark.slow
@both_sizes
def test_accessible(page):
    page.evaluate("document.querySelectorAll('details').forEach((element) => { element.open = true; })")
    for theme in ('light', 'dark'):
        page.evaluate(f"setTheme('{theme}')")
        violations = Axe().run(page).response['violations']
        serious = [(v['id'], v['impact']) for v in violations if v['impact'] in ('serious', 'critical')]
        assert serious == [], theme


@pytest.mark.slow
def test_theme_follows_the_system(browser, report):
    page = browser.new_page(color_scheme='dark')
    page.goto(report.as_uri())
    assert page.evaluate('document.documentElement.dataset.theme') == 'dark'
    page.close()


STRIP = {0: 9.0, 5: 6.0, 10: 14.0, 15: 21.5, 20: 30.0, 25: 33.0, 30: 35.0}


@pytest.mark.slow
def test_the_strip_has_a_row_a_run(open_runs, make_run, tmp_path):
    runs = [make_run(tmp_path / 'one', STRIP), make_run(tmp_path / 'other', {**STRIP, 30: 40.25})]
    page = open_runs(*runs)
    first, second = page.locator('#strip tr').all()
    # The truth, and below it the photograph, are there once, for both rows.
    captions = ["source's view\n7.2 %", 'iteration 0\n9.0 %', 'iteration 10\n14.0 %', 'iteration 15\n21.5 %']
    captions += ['iteration 25\n33.0 %']
    assert first.locator('td').all_inner_texts() == [*captions, 'iteration 30\n35.0 %', 'truth\nimage']
    assert second.locator('td').all_inner_texts() == [*captions, 'iteration 30\n40.2 %']
    assert first.locator('td').last.get_attribute('rowspan') == '2'
    pictures = [image.get_attribute('alt') for image in page.locator('#strip img').all()]
    assert pictures[6:9] == ['true labels of first', 'image first', "other, source's view"]
    assert len(pictures) == 14
    assert page.evaluate("[...document.querySelectorAll('#strip img')].every((image) => image.naturalWidth)")
    tops = [row.bounding_box()['y'] for row in (first, second)]
    assert tops[0] < tops[1] < page.locator('#film-slider').bounding_box()['y']
    page.locator('#film-image').select_option(label='second')
    assert page.locator('#strip img').nth(6).get_attribute('alt') == 'true labels of second'


@pytest.mark.slow
def test_the_strip_of_other_classes_and_of_fewer_pictures(open_runs, make_run, tmp_path):
    one = make_run(tmp_path / 'one', STRIP)
    other = make_run(tmp_path / 'other', {0: 9.0, 5: 12.0}, classes=('sea', 'ship'), source=False)
    shutil.rmtree(other / 'snapshots/000000')
    page = open_runs(one, other)
    # Each has its own truth; what is missing leaves its place empty.
    assert [row.locator('td').count() for row in page.locator('#strip tr').all()] == [7, 7]
    cells = page.locator('#strip tr').nth(1).locator('td').all_inner_texts()
    assert cells == ['', 'iteration 5\n12.0 %', '', '', '', '', 'truth\nimage']


@pytest.mark.slow
def test_tables_of_the_summary_fit_a_screen(open_runs, make_run, edit, tmp_path):
    """Of experiments with long names, every column and wide intervals."""

    def change(header: dict, rows: list[dict]) -> list[dict]:
        # The seeds differ in everything.
        by = 17.3 * header['seed'] + (header['config_digest'] == 'b')
        for row in rows:
            row.update(
                {key: value + by for key, value in row.items() if key.startswith('mIoU')}, BIoU=5.5 + by
            )
        rows[2]['mIoU'] = -by
        return rows + [
            dict(iter=i, kind='forgetting', subset='full', mIoU=30.0 - i / 2 + (by if i else -by))
            for i in (0, 30)
        ]

    runs = []
    for name, seed in ((name, seed) for name in ('a', 'b') for seed in (0, 1)):
        folder = tmp_path / f'{name}-deeplabv3_mobilenet-v2-os16_1xb4-200_voc2cityscapes' / f'seed{seed}'
        run = make_run(folder, STRIP, seed=seed, config_digest=name, model=model(3))
        runs.append(edit(run, change))
    page = open_runs(*runs)
    tables = page.locator('table.experiments')
    titles = [title.split(':')[0].split(',')[0] for title in tables.locator('caption').all_inner_texts()]
    assert titles == ['The experiments side by side', 'More scores', 'What each model costs']
    assert tables.nth(0).locator('thead th').count() == 9 and tables.nth(1).locator('thead th').count() == 7
    assert '\u00a0' in tables.nth(0).locator('tbody').inner_text()  # an interval
    for table in tables.all():
        assert table.evaluate('(table) => table.parentElement.scrollWidth <= table.parentElement.clientWidth')


@both_sizes
@pytest.mark.slow
def test_nothing_runs_off_the_page(page):
    page.evaluate("document.querySelectorAll('details').forEach((element) => { element.open = true; })")
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')


@pytest.mark.slow
def test_absent_classes_are_folded(open_runs, make_run, edit, tmp_path):
    def change(header: dict, rows: list[dict]) -> None:
        for row in rows:
            row['class_iou']['traffic light'] = None

    page = open_runs(edit(make_run(tmp_path / 'run', {0: 9.0, 5: 12.0}), change))
    folded = page.locator('#absent')
    expect(folded.get_by_text('traffic light')).to_be_hidden()
    assert page.locator('#classes > .scroll').get_by_text('traffic light').count() == 0
    labels = page.locator('#heat-chart .yaxislayer-above text').all_text_contents()
    assert sorted(labels) == ['road', '● car']
    assert page.locator('#heat-shown').inner_text().endswith(': run (1 absent classes left out)')
    folded.locator('summary').click()
    expect(folded.get_by_text('traffic light')).to_be_visible()


@pytest.mark.slow
def test_charts_say_what_they_show(still):
    titles = "document.getElementById('{}').layout.{}.title.text"
    for chart in ('curve-chart', 'heat-chart'):
        assert still.evaluate(titles.format(chart, 'xaxis')) == 'updates (training iterations done)'
    assert still.evaluate(titles.format('curve-chart', 'yaxis')) == 'IoU of the validation images, %'
    # A title is right above each chart, or above its control.
    above = """[...document.querySelectorAll('.chart')].map((chart) => {
        const top = (element) => element.getBoundingClientRect().top;
        const titles = [...document.querySelectorAll('h3')].filter((title) => top(title) < top(chart));
        return titles.at(-1).textContent;
    })"""
    assert still.evaluate(above) == [
        'IoU as training goes on',
        'IoU of each class as training goes on: a0',
        'Last mIoU against cost',
        "What each labelled class is predicted as: a0, source model's own view",
    ]


@pytest.mark.slow
def test_printing_unfolds_and_is_light(browser, report):
    page = browser.new_page(viewport=DESKTOP, color_scheme='dark')
    page.goto(report.as_uri())
    page.wait_for_selector('#confusion-chart .main-svg')
    state = """() => [
        document.documentElement.dataset.theme, document.querySelectorAll('details:not([open])').length,
        document.querySelector('#curve-chart .main-svg').getBoundingClientRect().width,
    ]"""
    theme, folded, width = page.evaluate(state)
    assert theme == 'dark' and folded > 3 and width > 800
    # As wide as A4 within its margins.
    page.set_viewport_size({'width': 703, 'height': 1032})
    page.emulate_media(media='print')
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(state) == ['light', 0, 700]
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    for hidden in ('nav', '#film-slider', '#film-image', '#curve-choice', '#heat-run'):
        expect(page.locator(hidden)).to_be_hidden()
    for shown in ('#strip', '#curve-chart', '#heat-chart', '#curve-legend'):
        expect(page.locator(shown)).to_be_visible()
    page.emulate_media(media='screen')
    page.set_viewport_size(DESKTOP)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(state) == ['dark', folded, width]
    page.close()


@pytest.mark.slow
def test_the_printed_pages_have_charts_and_strip(browser, report, tmp_path):
    # As its users do: by the browser itself, not by the test's tools.
    out = tmp_path / 'report.pdf'
    command = [
        shutil.which('chromium') or shutil.which('google-chrome'),
        *FLAGS,
        '--virtual-time-budget=20000',
    ]
    subprocess.run(
        [*command, f'--print-to-pdf={out}', report.as_uri()], check=True, capture_output=True, timeout=120
    )
    content = out.read_bytes()
    # What pictures and charts are is in the file as plain text.
    named = [found.decode('latin1') for found in re.findall(rb'/Alt \((.*?)\)', content)]
    assert [name for name in named if name.startswith('Scores over iterations')] != []
    strip = [name for name in named if re.fullmatch(r"a[01], (source's view|iteration \d+)", name)]
    iterations = ["source's view", *(f'iteration {i}' for i in (0, 5, 10, 15))]
    assert strip == [f'{run}, {when}' for run in ('a0', 'a1') for when in iterations]
    # The pictures are drawn: 32 by 24 pixels.
    assert len(re.findall(rb'/Width 32\s/Height 24\b', content)) >= 2
    # A4 in points
    assert {
        tuple(map(round, map(float, box.split()))) for box in re.findall(rb'/MediaBox \[(.*?)\]', content)
    } == {(0, 0, 595, 842)}
