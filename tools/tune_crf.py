"""Search the dense CRF's parameters for a trained model, on training images.

Weight and widths of the bilateral Gaussian are searched in the ranges of DeepLab's paper, first every second
value and then around the best; model.test_cfg.crf of the config sets the rest. Scores are means over the
classes that the images have labels of. Writes each trial to OUT/trials.jsonl, from which the same command
resumes, and the best to OUT/crf.py, a config that inherits CONFIG.
"""

import argparse
from pathlib import Path

from _arguments import Parser, add_config_arguments, add_device_argument, at_least, run

METRICS = ('mIoU', 'BIoU', *(f'trimap.{width}' for width in (1, 2, 4, 8, 16, 32)))


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_config_arguments(parser, checkpoint=True)
    parser.add_argument(
        '--images',
        type=at_least(1),
        default=20,
        help='of the training split, evenly spaced (default: %(default)s)',
    )
    parser.add_argument(
        '--metric',
        choices=METRICS,
        default='mIoU',
        metavar='METRIC',
        help=f'score to maximise: {", ".join(METRICS)} (default: %(default)s)',
    )
    parser.add_argument(
        '-o', '--out', type=Path, help='folder of the results (default: work_dirs/tune_crf/<config name>)'
    )
    add_device_argument(parser)
    parser.add_argument('--overwrite', action='store_true', help='search again where there are results')
    args = parser.parse_args()
    args.out = args.out or Path('work_dirs/tune_crf') / Path(args.config).stem
    return args


def main() -> None:
    """Search, and write the best setting."""
    args = parse_args()

    from mmseg_deeplab_study.inference.tune_crf import run

    run(args)


if __name__ == '__main__':
    run(main)
