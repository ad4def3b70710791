"""Show how one or more runs adapted, on one HTML page that needs no network.

Takes the work_dirs of runs with AdaptationHook, also while they train, or their records. Runs that differ
only in the seed are one experiment: mean and band. The numbers are those of tools/analyze.py.
"""

import argparse
from pathlib import Path

from _arguments import Parser, at_least, run

REGISTERS_NOTHING = True


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR', help='or its adaptation.jsonl')
    parser.add_argument(
        '-o',
        '--out',
        type=Path,
        help='the page (default: report.html in WORK_DIR, or in the folder that holds them all)',
    )
    parser.add_argument(
        '--figures',
        type=Path,
        metavar='DIR',
        help='also write figures for a paper, as PDF and PNG, and every series as CSV',
    )
    parser.add_argument(
        '--frames',
        type=at_least(1),
        default=60,
        help='about how many iterations the film strip of a run has; fewer where the page is too large '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--width', type=at_least(1), default=480, help='of its pictures, in pixels (default: %(default)s)'
    )
    parser.add_argument(
        '--watch',
        action='store_true',
        help='write the page again whenever a record has grown, until all runs have ended',
    )
    parser.add_argument(
        '--watch-interval',
        type=float,
        default=10,
        metavar='SECONDS',
        help='how often --watch looks (default: %(default)s)',
    )
    args = parser.parse_args()
    if args.watch_interval <= 0:
        parser.error(f'--watch-interval must be more than 0 seconds, but got {args.watch_interval:g}')
    if args.out and args.out.is_dir():
        parser.error(f'-o {args.out} is a folder; give the name of a file')
    return args


def main() -> None:
    """Write the page, once or again and again."""
    args = parse_args()

    from mmseg_deeplab_study.report.command import make_report, watch

    (watch if args.watch else make_report)(args)


if __name__ == '__main__':
    run(main)
