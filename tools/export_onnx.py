"""Export a trained model as ONNX, and check onnxruntime's logits against torch's.

The network takes float32 images (N, 3, H, W) in RGB from 0 to 255 and gives logits (N, classes, H, W) at
their size; normalisation is inside, class names, palette and the checkpoint's digest are in the metadata.
Nothing is written where the logits differ by more than 1e-4 of the largest.
"""

import argparse
from pathlib import Path

from _arguments import Parser, add_config_arguments, at_least, run

SMALLEST = 32


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_config_arguments(parser, checkpoint=True)
    parser.add_argument('-o', '--out', type=Path, required=True, help='file to write; never an existing one')
    parser.add_argument(
        '--size',
        type=at_least(SMALLEST),
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='of the images (default: what the config pads test images to, else its training crop)',
    )
    parser.add_argument('--dynamic', action='store_true', help='any number of images of any size')
    parser.add_argument('--image', type=Path, help='photograph to check with (default: a fixed random image)')
    parser.add_argument('--opset', type=int, default=18, help='of ONNX (default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    """Export the model."""
    args = parse_args()

    from mmseg_deeplab_study.inference.onnx_export import run

    run(args)


if __name__ == '__main__':
    run(main)
