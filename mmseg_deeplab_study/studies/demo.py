"""The whole study on drawn data, from pictures to report, for tools/demo.py."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..atomic_file import write_atomically
from ..datasets.drawn.scenes import write_cityscapes_like, write_voc_like
from ..hardware import usable_cores
from ..hub import config_path
from ..report.analysis import analyse
from ..report.analysis_text import lines, score_table
from ..report.comparisons import SIDE_BY_SIDE, compare
from ..report.page import render_page
from ..report.paper import draw_adaptation
from ..report.runs import RunFolder
from ..runs.history import read_history
from ..tables import duration_text, table_text
from .carry_out import REPORT, carry_out_study
from .plan import Study, StudyRun, read_study
from .progress import console

SOURCE_SIZE, TARGET_SIZE = (96, 96), (96, 192)
DRAWN = 'drawn data (not photographs): its scores show how a network adapts, not how good it is'
# images of: source train, source val, target train, target val
IMAGES, QUICK_IMAGES = (1200, 42, 200, 24), (32, 8, 16, 4)
QUICK_OPTIONS = {'train_cfg.max_iters': 10, 'default_hooks.logger.interval': 1}


def runs_at_a_time(args: argparse.Namespace) -> int | None:
    """How many the flags ask for; None leaves it to GPUs or cluster."""
    if args.jobs is None and args.cluster is None and not torch.cuda.is_available():
        # Steps as short as these are no faster on many cores: runs side by side use them better.
        return min(len(args.backbones), usable_cores())
    return args.jobs


def make_study(args: argparse.Namespace, data: Path) -> Study:
    """configs/studies/demo.py with what the flags say."""
    overrides = {'seeds': args.seeds, 'source_seed': args.seeds[0], 'environment': {'DEMO_ROOT': str(data)}}
    if args.quick:
        overrides['options'] = QUICK_OPTIONS
        overrides |= {f'runs.{name}.source_options': QUICK_OPTIONS for name in args.backbones}
    folder = args.work_dir / ('quick' if args.quick else 'full')
    study = read_study(Path(config_path('studies/demo.py')), folder, overrides)
    return replace(study, runs=[run for run in study.runs if run.name.split('/')[0] in args.backbones])


def conclude(study: Study, runs: Sequence[StudyRun]) -> Path:
    """Print tables, draw the figure and write the report; returns its path."""
    one_seed = len({run.seed for run in runs}) == 1
    names = {run.name: run.name.split('/')[0] if one_seed else run.name for run in runs}
    folders = {names[run.name]: RunFolder(run.folder, read_history(run.folder)) for run in runs}
    analysis = analyse(folders)
    console.print(f'On {DRAWN}.')
    for group in analysis.groups:
        console.print('', group.name, table_text(score_table(group)), *lines(group, analysis), sep='\n')
    if compared := compare(analysis.groups):
        console.print(f'{SIDE_BY_SIDE}:', *compared, sep='\n')
    figure = study.folder / 'adaptation.png'
    draw_adaptation(analysis, figure, 'PASCAL-like to Cityscapes-like, on drawn data (not photographs)')
    for run in runs:
        console.print(f'Record and label maps of {names[run.name]}: {run.folder}')
    console.print(f'Figure: {figure}')
    report = study.folder / REPORT
    page = render_page(analysis, notes=[f'These runs are on {DRAWN}.'])
    write_atomically(report, page.encode())
    return report


def run(args: argparse.Namespace) -> int:
    """Draw the data, carry out the study and report; returns an exit code."""
    started = time.monotonic()
    given = {**vars(args), 'work_dir': args.work_dir.resolve(), 'jobs': runs_at_a_time(args)}
    args = argparse.Namespace(**given)
    data = args.work_dir / ('data-quick' if args.quick else 'data-full')

    def draw_and_plan() -> Study:
        console.print(f'Drawing the data in {data}: procedural pictures, not photographs')
        images = QUICK_IMAGES if args.quick else IMAGES
        write_voc_like(data / 'drawn-voc', *images[:2], size=SOURCE_SIZE)
        write_cityscapes_like(data / 'drawn-cityscapes', *images[2:], size=TARGET_SIZE)
        return make_study(args, data)

    def report(study: Study, runs: Sequence[StudyRun]) -> int:
        page = conclude(study, runs)
        console.print(f'All in {duration_text(time.monotonic() - started)}. Report: {page}')
        return 0

    return carry_out_study(draw_and_plan, report, args)
