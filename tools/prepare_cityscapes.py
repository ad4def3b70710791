"""Bring Cityscapes, as one downloads it, to what the configs read.

Takes the folder that holds leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, or what is extracted
from them (leftImg8bit/, gtFine/); an archive that is there is preferred. OUT then holds the photographs and
gtFine/SPLIT/CITY/NAME_gtFine_labelTrainIds.png; nothing else of the archives is unpacked, and photographs of
a folder become links to it. Where OUT is that folder itself, only label maps are added. Nothing that is
there is written over, so calling it again goes on where it stopped, and checks.
"""

import argparse
from pathlib import Path

from _arguments import Parser, run


def parse_args() -> argparse.Namespace:
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
    parser.add_argument('--copy', action='store_true', help='copy photographs of a folder, do not link them')
    return parser.parse_args()


def main() -> int:
    args = parse_args()

    from mmseg_deeplab_study.datasets.downloads import plan_cityscapes
    from mmseg_deeplab_study.datasets.preparation import run_command

    return run_command(plan_cityscapes(args.source, args.splits), args.out, args.copy)


if __name__ == '__main__':
    run(main)
