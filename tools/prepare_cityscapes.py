"""Prepare Cityscapes, as it is downloaded, for the configs.

Takes the folder with leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, or what is extracted from them
(leftImg8bit/, gtFine/); archives are preferred. OUT then has the photographs and
gtFine/SPLIT/CITY/NAME_gtFine_labelTrainIds.png; nothing else of the archives is unpacked, and photographs of
a folder become links to it. Where OUT is that folder itself, only label maps are added. Existing files are
checked and kept, so the same command resumes where it stopped.
"""

import argparse
from pathlib import Path

from _arguments import Parser, run


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__)
    parser.add_argument('source', type=Path, metavar='SOURCE', help='folder of the archives, or extracted')
    parser.add_argument(
        '-o', '--out', type=Path, default=Path('data/cityscapes'), help='default: %(default)s'
    )
    parser.add_argument(
        '--splits',
        nargs='+',
        choices=['train', 'val'],
        default=['train', 'val'],
        help="default: train val; test's labels are not public",
    )
    parser.add_argument('--copy', action='store_true', help='copy photographs of a folder instead of linking')
    return parser.parse_args()


def main() -> int:
    """Prepare the data; returns an exit code."""
    args = parse_args()

    from mmseg_deeplab_study.datasets.downloads import plan_cityscapes
    from mmseg_deeplab_study.datasets.preparation import run_command

    return run_command(plan_cityscapes(args.source, args.splits), args.out, args.copy)


if __name__ == '__main__':
    run(main)
