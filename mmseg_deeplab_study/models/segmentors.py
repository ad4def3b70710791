"""MMSeg's encoder-decoder at the hardware's pace."""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.utils import fuse_conv_bn
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}
OUTPUTS = ('labels', 'full')
_PARTS = ('backbone', 'neck', 'decode_head')


@MODELS.register_module()
class StudyEncoderDecoder(EncoderDecoder):
    """``EncoderDecoder`` that trains in channels-last and evaluates with folded batch norm.

    State dict, losses and arguments are those of ``EncoderDecoder``. In evaluation the batch norm is folded
    into the convolutions on a copy that is made anew whenever a weight has changed; logits are resized once
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
        self._folded: tuple[list[Tensor], nn.ModuleDict] | None = None
        self.to(memory_format=torch.channels_last)

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
        for sample, logit in zip(data_samples, logits, strict=True):
            sample.pred_sem_seg = PixelData(data=self._labels(logit, sample.metainfo))
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
        """Labels (1, H, W) in the image's original size, from logits (C, h, w)."""
        # As BaseDecodeHead.predict_by_feat and BaseSegmentor.postprocess_result, in one resize if that is
        # all.
        height, width = meta.get('pad_shape', meta['img_shape'])[:2]
        left, right, top, bottom = meta.get('img_padding_size', meta.get('padding_size', [0] * 4))
        # Over the last axis both the resize and the argmax run at the speed of memory.
        logits = logits[None].contiguous(memory_format=torch.channels_last)
        logits = self._resize(logits, (height, width))[..., top : height - bottom, left : width - right]
        logits = self._resize(logits, tuple(meta['ori_shape'][:2]))
        return logits.permute(0, 2, 3, 1).argmax(dim=-1).to(torch.uint8)

    def _resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        if logits.shape[2:] == size:
            return logits
        return F.interpolate(logits, size, mode='bilinear', align_corners=self.align_corners)

    def _folded_logits(self, inputs: Tensor) -> Tensor:
        """Logits (N, C, h, w) in float32, at the head's own resolution."""
        parts = self._fold()
        inputs = inputs.contiguous(memory_format=torch.channels_last).to(self.eval_dtype)
        features = parts['backbone'](inputs)
        if 'neck' in parts:
            features = parts['neck'](features)
        return parts['decode_head'](features).float()

    def _fold(self) -> nn.ModuleDict:
        # A version counter does not see changes through ``.data``; comparing does, in the time of reading the
        # weights twice.
        tensors = [*self.parameters(), *self.buffers()]
        if self._folded is None or not _all_equal(self._folded[0], tensors):
            parts = {name: getattr(self, name) for name in _PARTS if hasattr(self, name)}
            folded = copy.deepcopy(nn.ModuleDict(parts)).eval().requires_grad_(False)
            folded = fuse_conv_bn(folded).to(self.eval_dtype, memory_format=torch.channels_last)
            self._folded = ([tensor.detach().clone() for tensor in tensors], folded)
        return self._folded[1]


def _all_equal(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return len(first) == len(second) and all(
        a.device == b.device and torch.equal(a, b) for a, b in zip(first, second, strict=True)
    )
