"""Search the dense CRF's parameters for a trained model, on training images.

Weight and widths of the bilateral Gaussian are searched in the ranges of DeepLab's paper, first every second
value and then around the best; model.test_cfg.crf of the config sets the rest. Scores are means over the
classes that the images have labels of. Writes each trial to OUT/trials.jsonl, from which the same command
resumes, and the best to OUT/crf.py, a config that inherits CONFIG.
"""

import argparse
from pathlib import Path

from _arguments import Parser, add_config_arguments, add_device_argument, check_device, run

METRICS = ('mIoU', 'BIoU', *(f'trimap.{width}' for width in (1, 2, 4, 8, 16, 32)))


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file, or scheme and path such as tflite://FILE')
    parser.add_argument(
        '--images', type=int, default=20, help='of the training split, evenly spaced (default: %(default)s)'
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
    if args.images < 1:
        parser.error(f'--images must be at least 1, but got {args.images}')
    args.out = args.out or Path('work_dirs/tune_crf') / Path(args.config).stem
    check_device(parser, args.device)
    return args


def main() -> None:
    """Search, and write the best setting."""
    args = parse_args()

    from mmseg_deeplab_study.inference.tune_crf import run

    run(args)


if __name__ == '__main__':
    run(main)
