"""The whole study on drawn data, from pictures to report, for tools/demo.py."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ..atomic_file import write_atomically
from ..datasets.drawn.scenes import write_cityscapes_like, write_voc_like
from ..evaluation.adaptation import summarise_forgetting
from ..evaluation.score_curves import Adaptation, summarise_adaptation
from ..hardware import usable_cores
from ..hub import config_path
from ..report.analysis import analyse
from ..report.comparisons import SHOWN, SIDE_BY_SIDE, compare
from ..report.page import render_page
from ..report.paper import draw_adaptation
from ..report.runs import RunFolder
from ..runs.history import FILE_NAME, History, read_history
from .carry_out import carry_out_study
from .plan import Study, StudyRun, read_study
from .progress import duration_text

SOURCE_SIZE, TARGET_SIZE = (96, 96), (96, 192)
ROWS = {'all': 'mIoU', 'seen': 'mIoU.seen', 'unseen': 'mIoU.unseen'}
DRAWN = 'drawn data (not photographs): its scores show how a network adapts, not how good it is'
# images of: source train, source val, target train, target val
IMAGES, QUICK_IMAGES = (1500, 42, 200, 24), (32, 8, 16, 4)
QUICK_OPTIONS = {'train_cfg.max_iters': 10, 'default_hooks.logger.interval': 1}

console = Console(highlight=False, markup=False, soft_wrap=True)


def runs_at_a_time(args: argparse.Namespace) -> int | None:
    """How many the flags ask for; None leaves it to GPUs or cluster."""
    if args.jobs is None and args.cluster is None and not torch.cuda.is_available():
        # Steps as short as these are no faster on many cores: runs side by side use them better.
        return min(len(args.backbones), usable_cores())
    return args.jobs


def draw_data(root: Path, images: Sequence[int]) -> None:
    """Write both sets under ``root``, unless they are there."""
    console.print(f'Drawing the data in {root}: procedural pictures, not photographs')
    write_voc_like(root / 'drawn-voc', *images[:2], size=SOURCE_SIZE)
    write_cityscapes_like(root / 'drawn-cityscapes', *images[2:], size=TARGET_SIZE)


def make_study(args: argparse.Namespace, data: Path) -> Study:
    """configs/studies/demo.py with what the flags say."""
    overrides = {'seeds': args.seeds, 'source_seed': args.seeds[0], 'environment': {'DEMO_ROOT': str(data)}}
    if args.quick:
        overrides['options'] = QUICK_OPTIONS
        overrides |= {f'runs.{name}.source_options': QUICK_OPTIONS for name in args.backbones}
    folder = args.work_dir / ('quick' if args.quick else 'full')
    study = read_study(Path(config_path('studies/demo.py')), folder, overrides)
    return replace(study, runs=[run for run in study.runs if run.name.split('/')[0] in args.backbones])


def _recovery(found: Adaptation) -> str:
    if (found.dip or 0) < SHOWN:
        return '-'
    return 'not yet' if found.recovery_iter is None else str(found.recovery_iter)


def make_table(histories: dict[str, History]) -> Table:
    """The figures of each adaptation in percent, and their iterations."""
    table = Table('backbone', 'classes', title='mIoU (%) on the drawn streets (not photographs)')
    for column in ('at 0', 'lowest', 'at iter', 'recovered', 'last', 'best'):
        table.add_column(column, justify='right')
    for name, history in histories.items():
        for title, score in ROWS.items():
            found = summarise_adaptation(history.validations, score)
            table.add_row(
                name if score == 'mIoU' else '',
                title,
                '-' if found.start is None else f'{found.start:.1f}',
                f'{found.lowest:.1f}',
                str(found.lowest_iter),
                _recovery(found),
                '-' if found.last is None else f'{found.last:.1f}',
                f'{found.best:.1f}',
            )
        table.add_section()
    return table


def conclude(study: Study, runs: Sequence[StudyRun]) -> Path:
    """Print the table, draw the figure and write the report; returns its path."""
    one_seed = len({run.seed for run in runs}) == 1
    names = {run.name: run.name.split('/')[0] if one_seed else run.name for run in runs}
    folders = {names[run.name]: RunFolder(run.folder, read_history(run.folder / FILE_NAME)) for run in runs}
    histories = {name: folder.history for name, folder in folders.items()}
    console.print(make_table(histories))
    console.print(
        'recovered: the first validation after the lowest point at or above iteration 0; - if it never fell'
    )
    for name, history in histories.items():
        forgotten = summarise_forgetting(history)
        console.print(
            f'{name} on the drawn objects it comes from, mIoU of the shared classes: '
            f'{forgotten.start:.1f} at iteration 0, {forgotten.last:.1f} at {forgotten.last_iter}'
        )
    analysis = analyse(histories)
    if compared := compare(analysis.groups):
        console.print(f'{SIDE_BY_SIDE}:', *compared, sep='\n')
    figure = study.folder / 'adaptation.png'
    draw_adaptation(histories, figure, 'PASCAL-like to Cityscapes-like, on drawn data (not photographs)')
    for run in runs:
        console.print(f'Record and label maps of {names[run.name]}: {run.folder}')
    console.print(f'Figure: {figure}')
    report = study.folder / 'report.html'
    page = render_page(analysis, folders, notes=[f'These runs are on {DRAWN}.'])
    write_atomically(report, page.encode())
    return report


def run(args: argparse.Namespace) -> int:
    """Draw the data, carry out the study and report; returns an exit code."""
    started = time.monotonic()
    given = {**vars(args), 'work_dir': args.work_dir.resolve(), 'jobs': runs_at_a_time(args)}
    args = argparse.Namespace(**given)
    data = args.work_dir / ('data-quick' if args.quick else 'data-full')

    def draw_and_plan() -> Study:
        draw_data(data, QUICK_IMAGES if args.quick else IMAGES)
        return make_study(args, data)

    def report(study: Study, runs: Sequence[StudyRun]) -> int:
        page = conclude(study, runs)
        console.print(f'All in {duration_text(time.monotonic() - started)}. Report: {page}')
        return 0

    return carry_out_study(draw_and_plan, report, args, console)
