"""Run the whole study on drawn data: from PASCAL-like objects to streets.

Draws the data, runs configs/studies/demo.py as tools/study.py would, and ends with a table, a figure and the
report of all adaptations. The data are procedural pictures, not photographs: the scores show how a network
adapts, not how good it is. Complete runs are not run again, interrupted ones are resumed.
"""

import argparse
from pathlib import Path

from _arguments import Parser, add_study_arguments, parse_study_arguments, run

BACKBONES = ('MobileNetV2', 'ResNet-50', 'SegFormer-B0')


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'), help='default: %(default)s')
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        default=[0],
        help='each backbone adapts under each seed; the source stage has the first (default: 0)',
    )
    parser.add_argument(
        '--backbones',
        nargs='+',
        choices=BACKBONES,
        default=list(BACKBONES[:2]),
        help="default: the study's two, MobileNetV2 and ResNet-50",
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='10 iterations on a few pictures: does everything run? Its scores say nothing.',
    )
    add_study_arguments(parser, jobs='as many as the GPUs take, on the CPU one per core')
    return parse_study_arguments(parser)


def main() -> int:
    """Run the demo; returns an exit code."""
    args = parse_args()

    from mmseg_deeplab_study.studies.demo import run

    return run(args)


if __name__ == '__main__':
    run(main)
