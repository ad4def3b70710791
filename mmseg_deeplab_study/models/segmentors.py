"""MMSeg's encoder-decoder at the hardware's pace."""

import copy
from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from mmcv.cnn.utils import fuse_conv_bn
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from .bands import run_in_bands

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}
OUTPUTS = ('labels', 'full')
_PARTS = ('backbone', 'neck', 'decode_head')
_COLUMNS = 4096
_STRIP = 32  # rows: 5 MB of logits at a width of 2048 and 19 classes


@MODELS.register_module()
class StudyEncoderDecoder(EncoderDecoder):
    """``EncoderDecoder`` that trains in channels-last and evaluates with folded batch norm.

    State dict, losses and arguments are those of ``EncoderDecoder``. In evaluation the batch norm is folded
    into the convolutions on a copy that is made anew whenever a weight has changed; wide feature maps are
    computed in bands (`bands.py`); logits are resized once
    where the image needs no other resize; and only labels are kept, as uint8, where nothing needs the
    logits: test-time augmentation and ``mode='slide'`` get what ``EncoderDecoder`` gives them.

    Args:
        args: those of ``EncoderDecoder``.
        eval_dtype: ``'float32'`` or ``'bfloat16'``, which evaluation computes in; logits are float32 from the
            resize on.
        output: ``'labels'`` for ``pred_sem_seg`` (1, H, W) in uint8 alone, ``'full'`` for what
            ``EncoderDecoder`` gives, int64 labels and ``seg_logits`` (C, H, W).
        kwargs: those of ``EncoderDecoder``.

    Raises:
        ValueError: an unknown ``eval_dtype`` or ``output``.
    """

    def __init__(self, *args, eval_dtype: str = 'float32', output: str = 'labels', **kwargs) -> None:
        for name, value, known in (('eval_dtype', eval_dtype, DTYPES), ('output', output, OUTPUTS)):
            if value not in known:
                raise ValueError(f'{name} must be one of {", ".join(known)}, but got {value!r}')
        super().__init__(*args, **kwargs)
        self.eval_dtype = DTYPES[eval_dtype]
        self.output = output
        # Not a submodule: the state dict stays EncoderDecoder's.
        self._folded: tuple[tuple, nn.ModuleDict] | None = None
        self.to(memory_format=torch.channels_last)
        for module in self.modules():
            if isinstance(module, BaseDecodeHead):
                # Not the head, whose loss() goes round its hooks.
                module.conv_seg.register_forward_hook(_planes_for_the_loss)

    def extract_feat(self, inputs: Tensor) -> Tensor | Sequence[Tensor]:
        return super().extract_feat(inputs.contiguous(memory_format=torch.channels_last))

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        if self.training or torch.is_grad_enabled():
            return super().encode_decode(inputs, batch_img_metas)
        return self.decode_head.predict_by_feat(self._folded_logits(inputs), batch_img_metas)

    def predict(self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None) -> list:
        if not self._labels_are_enough(data_samples):
            return super().predict(inputs, data_samples)
        logits = self._folded_logits(inputs)
        # Not logits[i][None], whose strides PyTorch does not take for channels-last.
        for sample, image_logits in zip(data_samples, logits.split(1), strict=True):
            sample.pred_sem_seg = PixelData(data=self._labels(image_logits, sample.metainfo)[None])
        return data_samples

    def _labels_are_enough(self, data_samples: Sequence[SegDataSample] | None) -> bool:
        head = type(self.decode_head)
        return (
            self.output == 'labels'
            and not self.training
            and not torch.is_grad_enabled()
            and data_samples is not None
            and self.test_cfg.get('mode', 'whole') == 'whole'
            and 2 <= self.out_channels <= 256
            # A pipeline that can flip is one of test-time augmentation, which averages logits.
            and not any('flip' in sample.metainfo for sample in data_samples)
            and head.predict_by_feat is BaseDecodeHead.predict_by_feat
            and head.predict is BaseDecodeHead.predict
        )

    def _labels(self, logits: Tensor, meta: dict) -> Tensor:
        """Labels (H, W) in the image's original size, from logits (1, C, h, w)."""
        # As BaseDecodeHead.predict_by_feat and BaseSegmentor.postprocess_result, in one resize if that is
        # all.
        height, width = meta.get('pad_shape', meta['img_shape'])[:2]
        left, right, top, bottom = meta.get('img_padding_size', meta.get('padding_size', [0] * 4))
        inside = (slice(top, height - bottom), slice(left, width - right))
        size = tuple(meta['ori_shape'][:2])
        if (height - top - bottom, width - left - right) != size:
            logits = F.interpolate(logits, (height, width), mode='bilinear', align_corners=self.align_corners)
            logits = logits[(..., *inside)]
            (height, width), inside = size, (slice(None), slice(None))
        return upsampled_labels(logits, (height, width), self.align_corners)[inside]

    def _folded_logits(self, inputs: Tensor) -> Tensor:
        """Logits (N, C, h, w) in float32, at the head's own resolution."""
        parts = self._fold()
        inputs = inputs.contiguous(memory_format=torch.channels_last).to(self.eval_dtype)
        features = parts['backbone'](inputs)
        if 'neck' in parts:
            features = parts['neck'](features)
        return parts['decode_head'](features).float()

    def _fold(self) -> nn.ModuleDict:
        seen = _fingerprint([*self.parameters(), *self.buffers()])
        if self._folded is None or self._folded[0] != seen:
            parts = {name: getattr(self, name) for name in _PARTS if hasattr(self, name)}
            folded = copy.deepcopy(nn.ModuleDict(parts)).eval().requires_grad_(False)
            folded = fuse_conv_bn(folded).to(self.eval_dtype, memory_format=torch.channels_last)
            run_in_bands(folded['backbone'])
            # In 8 bits of mantissa, logits of about the same size would all be equal.
            classifier = folded['decode_head'].conv_seg.float()
            classifier.register_forward_pre_hook(_in_float32)
            self._folded = (seen, folded)
        return self._folded[1]

    def train(self, mode: bool = True) -> 'StudyEncoderDecoder':
        if mode:
            # The next update makes it worthless, and training wants the memory.
            self._folded = None
        return super().train(mode)


def _in_float32(classifier: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0].float(),)


def _planes_for_the_loss(classifier: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> Tensor | None:
    # Cross entropy over maps wants planes, and it is cheaper to make them before the resize than behind it.
    return logits.contiguous() if classifier.training else None


def upsampled_labels(logits: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Labels (H, W) in uint8 of logits (1, C, h, w) resized bilinearly to ``size``, at most 256 classes.

    The same as ``F.interpolate`` and ``argmax``, a strip of rows at a time: what is between them stays in the
    processor's cache, and the resized logits, 159 MB for 19 classes at 1024x2048, never exist.
    """
    rows = logits[0].permute(1, 2, 0).contiguous()  # (h, w, C): the argmax runs along memory
    upper, lower, weight = _source_rows(len(rows), size[0], align_corners, logits.device)
    labels = torch.empty(size, dtype=torch.uint8, device=logits.device)
    for start in range(0, size[0], _STRIP):
        strip = slice(start, start + _STRIP)
        part = torch.lerp(rows[upper[strip]], rows[lower[strip]], weight[strip, None, None])
        part = part[None].permute(0, 3, 1, 2)  # (1, C, strip, w), channels-last
        shape = (part.shape[2], size[1])
        part = F.interpolate(part, shape, mode='bilinear', align_corners=align_corners)
        labels[strip] = part[0].permute(1, 2, 0).argmax(dim=-1)
    return labels


def _source_rows(
    number: int, wanted: int, align_corners: bool, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ``wanted`` rows: the two of ``number`` that it lies between, and the second's weight."""
    target = torch.arange(wanted, dtype=torch.float64, device=device)
    if align_corners:
        source = target * ((number - 1) / max(wanted - 1, 1))
    else:
        source = ((target + 0.5) * (number / wanted) - 0.5).clamp(min=0)
    upper = source.long().clamp(max=number - 1)
    lower = (upper + 1).clamp(max=number - 1)
    return upper, lower, (source - upper).float()


def _fingerprint(tensors: Sequence[Tensor]) -> tuple[list[tuple], list[float]]:
    """What differs once any of the tensors has changed, in the time of reading them once."""
    floating = [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
    # PyTorch counts a tensor's changes, but for those through ``.data``: these the products see.
    counted = [(t.data_ptr(), t.shape, 0 if t.is_inference() else t._version) for t in floating]
    return counted, torch.stack([_product(t) for t in floating]).tolist()


def _product(tensor: Tensor) -> Tensor:
    """A tensor's product with fixed numbers, another for each place."""
    dense = tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)
    flat = tensor.as_strided((tensor.numel(),), (1,)) if dense else tensor.reshape(-1)
    columns = _numbers(_COLUMNS, tensor.dtype, tensor.device)
    whole = flat.numel() // _COLUMNS * _COLUMNS
    total = flat[whole:] @ columns[: flat.numel() - whole]
    if whole:
        rows = _numbers(whole // _COLUMNS, tensor.dtype, tensor.device)
        total = total + (flat[:whole].view(-1, _COLUMNS) @ columns) @ rows
    return total.float()


@cache
def _numbers(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    numbers = torch.rand(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    return (numbers + 0.5).to(device, dtype)
