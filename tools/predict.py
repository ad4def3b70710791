"""Predict photographs and videos: paint the classes over, and write label maps.

Writes OUT/NAME_overlay.jpg and OUT/NAME_labels.png (a palette PNG of class ids) for a photograph,
OUT/NAME_overlay.mp4 for a video. Images go through the config's test pipeline, labels have the image's own
size. Classes and colours are the checkpoint's where it names them, else those of the config's dataset.
"""

import argparse
from pathlib import Path

from _arguments import Parser, add_config_arguments, add_device_argument, at_least, run


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_config_arguments(parser, checkpoint=True)
    parser.add_argument(
        'inputs', nargs='+', type=Path, metavar='INPUT', help='a photograph, a video, or a folder of them'
    )
    parser.add_argument('-o', '--out', type=Path, required=True, help='folder of the results')
    parser.add_argument(
        '--opacity', type=float, default=0.55, help='of the colours, 0 to 1 (default: %(default)s)'
    )
    parser.add_argument(
        '--long-side',
        type=at_least(1),
        metavar='PIXELS',
        help='longer side of what the network sees, instead of the resize in the config: near to that of\n'
        'the training images, and less where memory is short',
    )
    add_device_argument(parser)
    parser.add_argument('--no-legend', dest='legend', action='store_false', help='the picture alone')
    parser.add_argument(
        '--no-labels', dest='labels', action='store_false', help='write no label maps of photographs'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace existing results')
    args = parser.parse_args()
    if not 0 <= args.opacity <= 1:
        parser.error(f'--opacity must be between 0 and 1, but got {args.opacity:g}')
    if args.out.exists() and not args.out.is_dir():
        parser.error(f'-o {args.out} is a file; give a folder')
    return args


def main() -> int:
    """Predict the inputs; returns an exit code."""
    args = parse_args()

    from mmseg_deeplab_study.inference.predict import run

    return run(args)


if __name__ == '__main__':
    run(main)
