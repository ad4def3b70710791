"""Show how one or more runs adapted, on one HTML page that needs no network.

Takes the work_dirs of runs with AdaptationHook, also while they are going on, or their records. Runs that
differ in nothing but the seed are one experiment: mean and band. The numbers are those of
tools/analyze.py.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mmseg_deeplab_study.atomic_file import write_atomically
from mmseg_deeplab_study.evaluation.adaptation import rows_with
from mmseg_deeplab_study.evaluation.history import FILE_NAME
from mmseg_deeplab_study.report.analysis import analyse
from mmseg_deeplab_study.report.film import Film
from mmseg_deeplab_study.report.page import render_page
from mmseg_deeplab_study.report.paper import write_figures
from mmseg_deeplab_study.report.runs import RunFolder, read_runs


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR', help=f'or its {FILE_NAME}')
    parser.add_argument(
        '-o', '--out', type=Path, default=Path('report.html'), help='the page (default: report.html)'
    )
    parser.add_argument(
        '--figures',
        type=Path,
        metavar='DIR',
        help='also write figures for a paper, as PDF and PNG, and every series as CSV',
    )
    parser.add_argument(
        '--frames',
        type=int,
        default=Film().frames,
        help='iterations in the film strip of a run, about; fewer where the page is too large (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--width', type=int, default=Film().width, help='of its pictures, in pixels (default: %(default)s)'
    )
    parser.add_argument(
        '--watch',
        action='store_true',
        help='make the page again whenever a record has grown, until all runs are at their end',
    )
    parser.add_argument(
        '--watch-interval',
        type=float,
        default=10,
        metavar='SECONDS',
        help='how often --watch looks (default: %(default)s)',
    )
    args = parser.parse_args()
    for option in ('frames', 'width'):
        if getattr(args, option) < 1:
            parser.error(f'--{option} must be at least 1, but got {getattr(args, option)}')
    if args.watch_interval <= 0:
        parser.error(f'--watch-interval must be more than 0 seconds, but got {args.watch_interval:g}')
    if args.out.is_dir():
        parser.error(f'-o {args.out} is a folder; give the name of a file')
    return args


def make_report(args: argparse.Namespace) -> dict[str, RunFolder]:
    """Write the page, and the figures if asked for; returns the runs, those without a validation left out.

    Raises:
        FileNotFoundError, ValueError: as ``read_runs``; also if no run has a validation.
    """
    runs = read_runs(args.work_dirs)
    shown = {name: run for name, run in runs.items() if rows_with(run.history.validations, 'mIoU')}
    for name in (name for name in runs if name not in shown):
        print(f'warning: {name} has no validation with an mIoU yet and is left out', file=sys.stderr)
    if not shown:
        raise ValueError(f'none of {", ".join(runs)} has a validation with an mIoU yet')
    analysis = analyse({name: run.history for name, run in shown.items()})
    page = render_page(analysis, shown, Film(args.frames, args.width))
    write_atomically(args.out, page.encode())
    print(f'Wrote {args.out} ({len(page.encode()) / 1e6:.1f} MB)')
    if args.figures:
        for path in write_figures(analysis, shown, args.figures):
            print(f'Wrote {path}')
    return runs


def sizes(paths: Sequence[Path]) -> list[int]:
    """Bytes of each record, 0 where there is none yet."""
    records = [path / FILE_NAME if path.is_dir() else path for path in paths]
    return [record.stat().st_size if record.is_file() else 0 for record in records]


def watch(args: argparse.Namespace) -> None:
    """Make the report again whenever a record has grown, until every run is at its end."""
    while True:
        # Before they are read: what is written meanwhile is seen the next time.
        seen = sizes(args.work_dirs)
        try:
            runs = make_report(args)
        except (FileNotFoundError, ValueError) as error:
            # A run that has only just begun has no record, or no validation.
            print(f'waiting: {error}', file=sys.stderr)
        else:
            behind = [name for name, run in runs.items() if run.finished is False]
            if not behind:
                return
            print(f'watching {", ".join(behind)}, which is not at its end; Ctrl-C ends this', file=sys.stderr)
        while sizes(args.work_dirs) == seen:
            time.sleep(args.watch_interval)


def main() -> int:
    args = parse_args()
    try:
        (watch if args.watch else make_report)(args)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
