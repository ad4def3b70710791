"""How large the report of a long study gets, and how soon a browser shows it.

Writes records of a made-up study, whose label maps are CamVid's enlarged, and makes the report of it. Needs
CAMVID_ROOT, chromium and the extra `test`.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.setups import label_of, make_streets
from mmseg_deeplab_study.datasets.label_maps import write_label_map
from mmseg_deeplab_study.evaluation.metrics.scores import scores_from_confusion
from mmseg_deeplab_study.report.analysis import analyse
from mmseg_deeplab_study.report.page import render_page
from mmseg_deeplab_study.report.runs import read_runs
from mmseg_deeplab_study.runs.history import FILE_NAME, HistoryWriter, Kind, SubsetName, make_row

SIZES = {'validations': 1000, 'classes': 19, 'images': 8, 'seeds': 3, 'height': 1024}
VARIANTS = 20  # label maps of each image
SEEN = ('class 11', 'class 13')
PALETTE = [(i, 255 - i, 13 * i % 256) for i in range(256)]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in SIZES.items():
        parser.add_argument(f'--{name}', type=int, default=value, help='default: %(default)s')
    return parser.parse_args()


def write_run(folder: Path, seed: int, args: argparse.Namespace) -> Path:
    """A record and snapshots, which are links to a few files that differ."""
    classes = [f'class {i}' for i in range(args.classes)]
    random = np.random.default_rng(seed)
    folder.mkdir()
    writer = HistoryWriter(folder / FILE_NAME)
    header = {'target_classes': classes, 'seen_classes': SEEN, 'seed': seed, 'config_digest': 'one'}
    digests = {key: {'digest': key} for key in ('source_checkpoint', 'validation', 'train')}
    writer.start({**header, **digests, 'max_iters': 5 * args.validations - 5})
    for place in range(args.validations):
        right = 0.05 + 0.6 * place / args.validations
        counts = random.integers(0, 1_000_000, (args.classes, args.classes))
        counts = (counts * (1 - right)).astype(int) + np.diag(counts.sum(axis=1) * right).astype(int)
        scores = scores_from_confusion(counts, classes, SEEN)
        writer.append(make_row(5 * place, Kind.VALIDATION, SubsetName.FULL, scores, counts, 500, 250.0))
    write_snapshots(folder / 'snapshots', args)
    return folder


def write_snapshots(folder: Path, args: argparse.Namespace) -> None:
    """Photographs, truths and, for each validation, a label map of each: the truth moved to the right."""
    (folder / 'reference').mkdir(parents=True)
    streets = make_streets(folder.parent, args.images, args.height)
    for photograph in sorted((streets / 'leftImg8bit/val').rglob('*.png')):
        shutil.copy(photograph, folder / 'reference' / photograph.name)
        truth = np.asarray(Image.open(label_of(photograph)).convert('L'))
        write_label_map(folder / f'reference/{photograph.stem}_truth.png', truth, PALETTE)
        for place in range(args.validations):
            path = folder / f'{5 * place:06d}' / photograph.name
            if place < VARIANTS:
                write_label_map(path, np.roll(truth, 20 * place, axis=1), PALETTE)
            else:
                path.parent.mkdir(exist_ok=True)
                os.link(folder / f'{5 * (place % VARIANTS):06d}' / photograph.name, path)


def seconds_to_open(page: Path) -> float:
    """From the request to the last chart, in headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which('chromium'), args=['--headless', '--no-sandbox', '--disable-gpu']
        )
        view = browser.new_page(viewport={'width': 1280, 'height': 900})
        started = time.perf_counter()
        view.goto(page.as_uri())
        view.wait_for_selector('#confusion-chart .main-svg')
        seconds = time.perf_counter() - started
        browser.close()
    return seconds


def main() -> None:
    """Measure, then print what was found."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as name:
        folders = [write_run(Path(name) / f'seed{seed}', seed, args) for seed in range(args.seeds)]
        started = time.perf_counter()
        page = render_page(analyse(read_runs(folders)))
        seconds = time.perf_counter() - started
        path = Path(name) / 'report.html'
        path.write_text(page)
        opened = median(seconds_to_open(path) for _ in range(5))
        sizes = ', '.join(f'{getattr(args, name)} {name}' for name in SIZES if name != 'height')
        size = len(page.encode()) / 1e6
        print(f'{sizes}: {size:.1f} MB, made in {seconds:.0f} s, open in {opened:.1f} s (median of 5)')


if __name__ == '__main__':
    main()
