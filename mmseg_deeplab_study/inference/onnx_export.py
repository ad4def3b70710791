"""Export a trained model as ONNX, and check its logits, for tools/export_onnx.py."""

import argparse
import copy
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..atomic_file import write_atomically
from ..checkpoints.parity import Parity, measure
from ..checkpoints.safe_loading import TORCH
from ..compat import expects_rgb
from ..models.folding import conv_norm_pairs, fold
from ..runs.config import read_config
from .files import read_photograph
from .trained_model import image_size, load_model

TOLERANCE = 1e-4
INPUT, OUTPUT = 'images', 'logits'
DESCRIPTION = (
    f'{INPUT}: float32, RGB, 0 to 255, (N, 3, H, W); {OUTPUT}: (N, classes, H, W) at the size of the images. '
    'Normalisation is inside. classes and palette are in the metadata, as JSON'
)


def load_for_export(cfg: Config, checkpoint: str) -> EncoderDecoder:
    """Load a model as it is exported: with logits of whole images in float32.

    Raises:
        FileNotFoundError, ImportError, ValueError: as ``load_model``.
    """
    cfg = copy.deepcopy(cfg)
    cfg.model.test_cfg = dict(mode='whole')
    if cfg.model.type == 'StudyEncoderDecoder':
        cfg.model.update(output='full', eval_dtype='float32')
    return load_model(cfg, checkpoint).requires_grad_(False)


class PixelsToLogits(nn.Module):
    """A segmentor's inference as one network that an exporter can follow.

    Images ``(N, 3, H, W)`` in RGB from 0 to 255 give logits ``(N, classes, H, W)``; batch norm is folded.
    Small images are padded as the segmentor pads them (``data_preprocessor.test_cfg``), and cut again.
    ``StudyEncoderDecoder``'s own evaluation is left out: its bands and strips are loops over the image's
    size, which a graph of any size cannot have.

    Args:
        model: a segmentor of one decode head, in evaluation mode; it is left as it is.
        size: height and width of an image that is run to find the order of the layers.

    Raises:
        ValueError: the model is another, or pads its images to multiples.
    """

    def __init__(self, model: EncoderDecoder, size: tuple[int, int]) -> None:
        super().__init__()
        _check_exportable(model)
        parts = [getattr(model, name, None) for name in ('backbone', 'neck', 'decode_head')]
        self.backbone, self.neck, self.decode_head = copy.deepcopy(
            nn.ModuleList(p or nn.Identity() for p in parts)
        )
        preprocessor = model.data_preprocessor
        normalises = getattr(preprocessor, '_enable_normalize', False)
        # The exporter of torch 2.6 confuses a buffer called `mean` with the operator.
        self.register_buffer('pixel_mean', preprocessor.mean if normalises else torch.zeros(3, 1, 1))
        self.register_buffer('pixel_std', preprocessor.std if normalises else torch.ones(3, 1, 1))
        self.expects_rgb = expects_rgb(preprocessor)
        self.smallest = (preprocessor.test_cfg or {}).get('size') or (0, 0)
        self.pad_value = preprocessor.pad_val
        self.eval().requires_grad_(False)
        for module in self.modules():
            if getattr(module, 'inplace', False):
                module.inplace = False  # the exporter takes half of its time to undo it
        fold(self, conv_norm_pairs(self, lambda: self(torch.zeros(1, 3, *size))))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, classes, H, W)`` of images ``(N, 3, H, W)``."""
        height, width = images.shape[2:]
        x = images if self.expects_rgb else images.flip(1)
        x = (x - self.pixel_mean) / self.pixel_std
        if self.smallest != (0, 0):
            rows, columns = (
                torch.sym_max(smallest - side, 0)
                for smallest, side in zip(self.smallest, (height, width), strict=True)
            )
            x = F.pad(x, (0, columns, 0, rows), value=self.pad_value)
        logits = self.decode_head(self.neck(self.backbone(x)))
        logits = F.interpolate(
            logits, x.shape[2:], mode='bilinear', align_corners=self.decode_head.align_corners
        )
        return logits[:, :, :height, :width]


def _check_exportable(model: nn.Module) -> None:
    head = getattr(model, 'decode_head', None)
    if not isinstance(model, EncoderDecoder) or not isinstance(head, BaseDecodeHead) or head.out_channels < 2:
        raise ValueError(
            f'export takes an EncoderDecoder with one decode head of two classes or more, but got '
            f'{type(model).__name__} with {type(head).__name__} of {getattr(head, "out_channels", "?")}'
        )
    own = {
        name
        for name in ('predict', 'predict_by_feat')
        if getattr(type(head), name) is not getattr(BaseDecodeHead, name)
    }
    if own:
        raise ValueError(f'export cannot follow {type(head).__name__}: it has its own {sorted(own)[0]}')
    if 'size_divisor' in (model.data_preprocessor.test_cfg or {}):
        raise ValueError(
            'export follows data_preprocessor.test_cfg.size, but not size_divisor; give '
            '--cfg-options model.data_preprocessor.test_cfg=None and pad the images'
        )


def export_onnx(network: PixelsToLogits, size: tuple[int, int], dynamic: bool, opset: int) -> Any:
    """Export for one image of a size, or, if ``dynamic``, for any images of any size.

    Returns:
        an ``onnx.ModelProto``.

    Raises:
        ImportError: onnx or onnxscript is not installed, or torch is older than 2.6.
        ValueError: the exporter does not give that opset.
    """
    _import_onnx()
    # By torch.export, in ten to thirty seconds. TorchScript takes one, but is deprecated since torch 2.9 and
    # cannot follow a padding that depends on the size.
    sides = {0: 'batch', 2: 'height', 3: 'width'} if dynamic else None
    # torch.export takes a batch of one for a constant.
    example = torch.zeros(2 if dynamic else 1, 3, *size)
    logging.disable(logging.WARNING)  # onnxscript logs a traceback where it cannot convert, and goes on
    try:
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            dynamic_shapes=(sides,) if dynamic else None,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=opset,
            verbose=False,
        )
    finally:
        logging.disable(logging.NOTSET)
    proto = program.model_proto
    given = next(entry.version for entry in proto.opset_import if not entry.domain)
    if given != opset:
        raise ValueError(
            f'--opset {opset}: torch exported opset {given} and could not convert it; give {given}'
        )
    return proto


def describe(proto: Any, **properties: Any) -> None:
    """Write what the tensors are, and properties as JSON, into a model's metadata."""
    proto.doc_string = DESCRIPTION
    texts = {name: json.dumps(value) for name, value in properties.items() if value is not None}
    _import_onnx()[0].helper.set_model_props(proto, texts)


class OnnxNetwork:
    """An exported model in onnxruntime, on the CPU: uint8 RGB images to logits."""

    def __init__(self, content: bytes) -> None:
        runtime = _import_onnx()[1]
        self._session = runtime.InferenceSession(content, providers=['CPUExecutionProvider'])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits ``(N, classes, H, W)`` of images ``(N, H, W, 3)``; ValueError if it cannot be run."""
        planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
        try:
            return self._session.run([OUTPUT], {INPUT: planes})[0]
        except Exception as error:  # onnxruntime's have no base of their own
            shape = 'x'.join(map(str, images.shape))
            raise ValueError(
                f'onnxruntime cannot run what torch {torch.__version__} exported on images of {shape} '
                f'({str(error).partition(chr(10))[0]}); update torch, or export without --dynamic'
            ) from error


def torch_logits(model: EncoderDecoder, images: np.ndarray) -> np.ndarray:
    """Logits ``(N, C, H, W)`` of uint8 RGB images, from the model's own test step."""
    size = images.shape[1:3]
    data = {
        # As LoadImageFromFile reads and PackSegInputs packs.
        'inputs': [torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy()) for image in images],
        'data_samples': [SegDataSample(metainfo=dict(ori_shape=size, img_shape=size)) for _ in images],
    }
    # With gradients StudyEncoderDecoder neither folds nor cuts: the check shares no trick with the export.
    with torch.enable_grad():
        samples = model.test_step(data)
    return np.stack([sample.seg_logits.data.numpy() for sample in samples])


def check(content: bytes, model: EncoderDecoder, batches: Sequence[np.ndarray]) -> list[Parity]:
    """How far onnxruntime's logits are from torch's, for each batch of images."""
    network = OnnxNetwork(content)
    return [measure(network(images), torch_logits(model, images)) for images in batches]


def _import_onnx() -> tuple[Any, Any]:
    if TORCH < (2, 6):
        raise ImportError(
            f'ONNX export needs torch 2.6 or later, not {torch.__version__}; update torch', name='torch'
        )
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ModuleNotFoundError as error:
        raise ImportError(
            f'ONNX export needs {error.name}: pip install onnx onnxruntime onnxscript', name=error.name
        ) from error
    return onnx, onnxruntime


def images_to_check_with(size: tuple[int, int], dynamic: bool, photograph: Path | None) -> list[np.ndarray]:
    """Images ``(N, H, W, 3)`` in uint8 RGB; if ``dynamic``, also two of another size.

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
    _import_onnx()
    cfg = read_config(args.config, args.cfg_options)
    size = tuple(args.size or image_size(cfg) or ())
    if not size:
        raise ValueError(f'{args.config} has no image size; give --size HEIGHT WIDTH')
    images = images_to_check_with(size, args.dynamic, args.image)
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
