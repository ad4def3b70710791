"""From a config and a checkpoint to a checked ONNX file, for tools/export_onnx.py."""

import argparse
from pathlib import Path

import cv2
import numpy as np

from ..atomic_file import write_atomically
from ..runs.config import read_config
from .files import read_photograph
from .onnx_export import PixelsToLogits, check, describe, export_onnx, load_for_export
from .trained_model import image_size

TOLERANCE = 1e-4


def batches(size: tuple[int, int], dynamic: bool, photograph: Path | None) -> list[np.ndarray]:
    """Images ``(N, H, W, 3)`` in uint8 RGB to check with; if ``dynamic``, also two of another size.

    Raises:
        OSError, ValueError: as ``read_photograph``.
    """
    random = np.random.default_rng(0)
    if photograph is None:
        first = random.integers(0, 256, (*size, 3), np.uint8)
    else:
        first = read_photograph(photograph)[..., ::-1]
        first = first if dynamic else cv2.resize(first, size[::-1], interpolation=cv2.INTER_AREA)
    # A graph may be bound to the size it was exported at.
    other = (2, size[0] * 3 // 4, size[1] * 5 // 4, 3)
    return [first[None], random.integers(0, 256, other, np.uint8)] if dynamic else [first[None]]


def run(args: argparse.Namespace) -> None:
    """Export, check and write what the flags name.

    Raises:
        OSError, ValueError, ImportError: the config, checkpoint or image cannot be read, or the file exists.
        ValueError: the model cannot be exported, or onnxruntime's logits are not torch's.
    """
    if args.out.exists():
        raise FileExistsError(f'{args.out} exists; give another file, or remove it')
    cfg = read_config(args.config, args.cfg_options)
    size = tuple(args.size or image_size(cfg) or ())
    if not size:
        raise ValueError(f'{args.config} has no image size; give --size HEIGHT WIDTH')
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
                f'{args.out} was not written: its logits differ from torch by {parity.difference:.1e} of the '
                f'largest, and at most {TOLERANCE:.0e} was expected'
            )
    write_atomically(args.out, content)
    print(f'Wrote {args.out} ({len(content) / 1e6:.1f} MB, opset {args.opset})')
