"""Export a trained model as ONNX, and check what onnxruntime makes of it against torch.

The network takes float32 images (N, 3, H, W) in RGB from 0 to 255 and gives logits (N, classes, H, W) at
their size; normalisation is inside, class names, palette and the checkpoint's digest are in the metadata.
Nothing is written where the logits differ by more than 1e-4 of the largest.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

import mmseg_deeplab_study  # noqa: F401  (registers everything)
from mmseg_deeplab_study.atomic_file import write_atomically
from mmseg_deeplab_study.engine.launch import add_config_arguments, read_config
from mmseg_deeplab_study.inference.files import read_photograph
from mmseg_deeplab_study.inference.onnx_export import (
    PixelsToLogits,
    check,
    describe,
    export_onnx,
    load_for_export,
)
from mmseg_deeplab_study.inference.trained_model import image_size

TOLERANCE = 1e-4
SMALLEST = 32


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file, or scheme and path such as tflite://FILE')
    parser.add_argument('-o', '--out', type=Path, required=True, help='file to write; never an existing one')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='of the images (default: what the config pads test images to, else the crop it trains on)',
    )
    parser.add_argument(
        '--dynamic',
        action='store_true',
        help='any number of images of any size',
    )
    parser.add_argument('--image', type=Path, help='photograph to check with (default: a fixed random image)')
    parser.add_argument('--opset', type=int, default=18, help='of ONNX (default: %(default)s)')
    args = parser.parse_args()
    if args.size and min(args.size) < SMALLEST:
        parser.error(f'--size must be at least {SMALLEST} {SMALLEST}, but got {args.size[0]} {args.size[1]}')
    return args


def batches(size: tuple[int, int], dynamic: bool, photograph: Path | None) -> list[np.ndarray]:
    """Images ``(N, H, W, 3)`` in uint8 RGB to check with; if dynamic, also two of another size.

    Raises:
        OSError, ValueError: as ``read_photograph``.
    """
    random = np.random.default_rng(0)
    if photograph is None:
        first = random.integers(0, 256, (*size, 3), np.uint8)
    else:
        first = read_photograph(photograph)[..., ::-1]
        first = first if dynamic else cv2.resize(first, size[::-1], interpolation=cv2.INTER_AREA)
    # A graph may hold on to the size it was exported at.
    other = (2, size[0] * 3 // 4, size[1] * 5 // 4, 3)
    return [first[None], random.integers(0, 256, other, np.uint8)] if dynamic else [first[None]]


def export(args: argparse.Namespace) -> None:
    """Export, check and write.

    Raises:
        OSError, ValueError, ImportError: the config, checkpoint or image cannot be had, or the file exists.
        ValueError: the model cannot be exported, or onnxruntime's logits are not torch's.
    """
    if args.out.exists():
        raise FileExistsError(f'{args.out} exists; give another file, or remove it')
    cfg = read_config(args.config, args.cfg_options)
    size = tuple(args.size or image_size(cfg) or ())
    if not size:
        raise ValueError(f'{args.config} names no size of images; give --size HEIGHT WIDTH')
    images = batches(size, args.dynamic, args.image)
    model = load_for_export(cfg, args.checkpoint)
    proto = export_onnx(PixelsToLogits(model, size), size, args.dynamic, args.opset)
    describe(proto, **model.dataset_meta)
    content = proto.SerializeToString()
    for batch, parity in zip(images, check(content, model, images), strict=True):
        print(f'{"x".join(map(str, batch.shape[:3]))}: {parity}')
        # Not `>`, which is false of NaN.
        if not parity.difference <= TOLERANCE:
            raise ValueError(
                f'{args.out} was not written: the logits differ by {parity.difference:.1e} of the largest, '
                f'which is more than {TOLERANCE:.0e}'
            )
    write_atomically(args.out, content)
    print(f'Wrote {args.out} ({len(content) / 1e6:.1f} MB, opset {args.opset})')


def main() -> int:
    args = parse_args()
    try:
        export(args)
    except (OSError, ValueError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
