"""MMSeg's encoder-decoder, fast on the hardware at hand."""

import copy
import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..compat import train_depthwise_in_planes
from ..hardware import warn_of_slow_bfloat16
from .bands import run_in_bands
from .crf_segmentors import DenseCRFMixin, unpadded
from .folding import conv_norm_pairs, fingerprint, fold

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}
OUTPUTS = ('labels', 'full')
_PARTS = ('backbone', 'neck', 'decode_head')
_STRIP = 2**18  # pixels: a class takes 1 MB
_FEW = 6  # winners, up to which it pays to look for classes that cannot win


@MODELS.register_module()
class StudyEncoderDecoder(DenseCRFMixin, EncoderDecoder):
    """``EncoderDecoder`` in channels-last, evaluating with folded batch norm.

    State dict, losses and arguments are those of ``EncoderDecoder``. In evaluation the batch norm is folded
    into the convolutions of a copy, which is renewed when a weight has changed; on the CPU, residual blocks
    of mmpretrain's ResNet and MobileNetV2 see wide feature maps in bands; logits are resized once where the
    image needs no other resize. With ``test_cfg.crf`` a dense CRF refines the output, as ``DenseCRFMixin``
    says.

    Args:
        eval_dtype: ``'float32'`` or ``'bfloat16'``, which evaluation computes in; the classifier and all
            after it are float32.
        output: ``'full'`` for what ``EncoderDecoder`` gives, int64 labels and ``seg_logits`` (C, H, W), which
            some metrics need, such as ``CityscapesMetric``; ``'labels'`` for ``pred_sem_seg`` (1, H, W) in
            uint8 alone. By default ``test_cfg.output``, which our configs set to ``'labels'``, else
            ``'full'``; always that with ``mode='slide'``, and where the samples say whether they are flipped,
            as those of most test-time augmentation do.

    Raises:
        ValueError: an unknown ``eval_dtype``, ``output`` or ``test_cfg.mode``, a head whose ``in_index`` or
            ``in_channels`` do not fit the backbone.
    """

    def __init__(self, *args, eval_dtype: str = 'float32', output: str | None = None, **kwargs) -> None:
        """See the class."""
        super().__init__(*args, **kwargs)
        self._check_parts()
        if output is None:
            output = (self.test_cfg or {}).get('output', 'full')
        for name, value, known in (('eval_dtype', eval_dtype, DTYPES), ('output', output, OUTPUTS)):
            if value not in known:
                raise ValueError(f'{name} must be one of {", ".join(known)}, but got {value!r}')
        self.eval_dtype = DTYPES[eval_dtype]
        self.output = output
        # Not a submodule: the state dict stays EncoderDecoder's.
        self._folded: tuple[tuple, nn.ModuleDict] | None = None
        self._pairs: list[tuple[str, str]] | None = None
        _to_channels_last(self)
        for module in _compiled_ops(self):
            module.register_forward_pre_hook(_contiguous_inputs)
        train_depthwise_in_planes(self)
        for module in self.modules():
            if isinstance(module, BaseDecodeHead) and getattr(module, 'conv_seg', None) is not None:
                # Not the head, whose loss() does not run its hooks.
                module.conv_seg.register_forward_hook(_planes_for_the_loss)

    def _check_parts(self) -> None:
        test_cfg = self.test_cfg or {}
        if (mode := test_cfg.get('mode', 'whole')) not in ('whole', 'slide'):
            raise ValueError(f'test_cfg.mode must be one of whole, slide, but got {mode!r}')
        if mode == 'slide' and (missing := {'crop_size', 'stride'} - set(test_cfg)):
            raise ValueError(
                f"test_cfg.mode='slide' needs {' and '.join(sorted(missing))}, such as "
                'crop_size=(768, 768), stride=(512, 512)'
            )
        # Those that declare it; a neck's, MMSeg does not.
        given = None if self.with_neck else getattr(self.backbone, 'out_channels', None)
        heads = [(name, head) for name, head in self.named_modules() if isinstance(head, BaseDecodeHead)]
        for name, head in heads if isinstance(given, tuple) else ():
            several = head.input_transform is not None
            try:
                channels = [given[i] for i in (head.in_index if several else [head.in_index])]
            except IndexError:
                raise ValueError(
                    f'{name}.in_index={head.in_index}, but the backbone gives {len(given)} feature maps: see '
                    'its out_indices'
                ) from None
            expected = sum(channels) if head.input_transform == 'resize_concat' else channels
            if head.in_channels != (expected if several else channels[0]):
                raise ValueError(
                    f'{name}.in_channels={head.in_channels}, but the backbone gives {channels} at '
                    f'in_index={head.in_index}: give these'
                )

    def extract_feat(self, inputs: Tensor) -> Tensor | Sequence[Tensor]:
        """Extract features in channels-last."""
        return super().extract_feat(inputs.contiguous(memory_format=torch.channels_last))

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Return logits of the inputs' size; without gradients, of the folded copy."""
        if self.training or torch.is_grad_enabled():
            return super().encode_decode(inputs, batch_img_metas)
        parts = self._fold(inputs)
        features = _features(parts, self._evaluated(inputs))
        return parts['decode_head'].predict(features, batch_img_metas, self.test_cfg).float()

    def predict(self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None) -> list:
        """Predict as ``output`` says."""
        if not self._labels_are_enough(data_samples):
            return super().predict(inputs, data_samples)
        if self.dense_crf is not None:
            return [_labels_alone(sample) for sample in super().predict(inputs, data_samples)]
        logits = self._folded_logits(inputs)
        # Not logits[i][None], whose strides PyTorch does not take for channels-last.
        for sample, image_logits in zip(data_samples, logits.split(1), strict=True):
            sample.pred_sem_seg = PixelData(
                data=labels_of_image(image_logits, sample.metainfo, self.align_corners)[None]
            )
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

    def _folded_logits(self, inputs: Tensor) -> Tensor:
        """Return logits (N, C, h, w) in float32, at the head's own resolution."""
        parts = self._fold(inputs)
        return parts['decode_head'](_features(parts, self._evaluated(inputs))).float()

    def _evaluated(self, inputs: Tensor) -> Tensor:
        return inputs.contiguous(memory_format=torch.channels_last).to(self.eval_dtype)

    def _fold(self, inputs: Tensor) -> nn.ModuleDict:
        seen = self.eval_dtype, *fingerprint([*self.parameters(), *self.buffers()])
        if self._folded is None or self._folded[0] != seen:
            parts = {name: getattr(self, name) for name in _PARTS if hasattr(self, name)}
            folded = copy.deepcopy(nn.ModuleDict(parts)).eval().requires_grad_(False)
            if self._pairs is None:
                if self.eval_dtype is torch.bfloat16 and inputs.device.type == 'cpu':
                    warn_of_slow_bfloat16("eval_dtype='bfloat16'")
                # The same for all weights.
                image = inputs[:1].to(next(folded.parameters()).dtype)
                self._pairs = conv_norm_pairs(folded, lambda: folded['decode_head'](_features(folded, image)))
            fold(folded, self._pairs)
            classifier = copy.deepcopy(getattr(folded['decode_head'], 'conv_seg', None))
            folded.to(self.eval_dtype)
            if classifier is not None:
                # In 8 bits of mantissa, logits of about the same size would all be equal.
                classifier.float().register_forward_pre_hook(_in_float32)
                folded['decode_head'].conv_seg = classifier
            _to_channels_last(folded)
            if inputs.device.type == 'cpu':
                run_in_bands(folded['backbone'])
            self._folded = (seen, folded)
        return self._folded[1]

    def train(self, mode: bool = True) -> 'StudyEncoderDecoder':
        """Switch the mode; training drops the folded copy."""
        if mode:
            # The next update outdates it, and training needs the memory.
            self._folded = None
        return super().train(mode)


def bare_model(model: nn.Module) -> nn.Module:
    """Return the segmentor inside what distributed training or TTA wraps around it."""
    wrapped = is_model_wrapper(model) or isinstance(model, BaseTTAModel)
    return bare_model(model.module) if wrapped else model


def _labels_alone(sample: SegDataSample) -> SegDataSample:
    for name in ('pred_sem_seg', 'unrefined_sem_seg'):
        sample.set_data({name: PixelData(data=sample.get(name).data.to(torch.uint8))})
    del sample.seg_logits
    return sample


def _features(parts: nn.ModuleDict, inputs: Tensor) -> Sequence[Tensor]:
    features = parts['backbone'](inputs)
    return parts['neck'](features) if 'neck' in parts else features


def _compiled_ops(model: nn.Module) -> list[nn.Module]:
    def is_op(kind: type) -> bool:
        return any(base.__module__.startswith('mmcv.ops.') for base in kind.__mro__)

    return [module for module in model.modules() if is_op(type(module))]


def _to_channels_last(model: nn.Module) -> None:
    model.to(memory_format=torch.channels_last)
    # mmcv's compiled ops refuse such tensors, also those that a convolution inside of an op returns.
    for module in _compiled_ops(model):
        module.to(memory_format=torch.contiguous_format)


def _contiguous_inputs(op: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.contiguous() if isinstance(value, Tensor) else value for value in inputs)


def _in_float32(classifier: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0].float(),)


def _planes_for_the_loss(classifier: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> Tensor | None:
    # Cross entropy over maps needs planes, which are cheaper to make before the resize than after it.
    return logits.contiguous() if classifier.training else None


def labels_of_image(logits: Tensor, meta: dict, align_corners: bool = False) -> Tensor:
    """Turn logits (1, C, h, w) into labels (H, W), uint8, of the image's original size.

    ``meta`` is the image's ``metainfo``; at most 256 classes.
    """
    # As BaseDecodeHead.predict_by_feat and BaseSegmentor.postprocess_result, if possible in one resize.
    height, width = meta.get('pad_shape', meta['img_shape'])[:2]
    rows, columns = unpadded(meta, (height, width))
    size = tuple(meta['ori_shape'][:2])
    if (rows.stop - rows.start, columns.stop - columns.start) != size:
        logits = F.interpolate(logits, (height, width), mode='bilinear', align_corners=align_corners)
        logits = logits[..., rows, columns]
        (height, width), rows, columns = size, slice(None), slice(None)
    return upsampled_labels(logits, (height, width), align_corners)[rows, columns]


def upsampled_labels(logits: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Return labels (H, W), uint8, of logits (1, C, h, w) resized to ``size``.

    The same as bilinear ``F.interpolate`` and ``argmax``, for at most 256 classes. Where one of two logits is
    the larger at all pixels, it is so between them too: rows with one winner are not resized, and of the
    others, where few classes win, only those that can. Classes are compared one after the other, on the CPU
    in strips of rows that fit its cache: the resized logits, 159 MB for 19 classes at 1024x2048, never exist.
    """
    rows = logits[0].permute(1, 2, 0).contiguous()  # (h, w, C): the maximum runs along memory
    upper, lower, share = _resized_rows(len(rows), size[0], align_corners, logits.device)
    winners = rows.argmax(dim=-1)
    first = winners[:, 0].to(torch.uint8)
    # Source rows that have one winner, and so has the next.
    pure = (winners == winners[:, :1]).all(dim=1)
    pure[:-1] &= pure[1:] & (first[:-1] == first[1:])
    labels = first[upper, None].repeat(1, size[1])
    mixed = (~pure[upper]).nonzero()
    if not len(mixed):
        return labels
    start, end = int(mixed[0]), int(mixed[-1]) + 1
    between = slice(upper[start], lower[end - 1] + 1)
    classes = _contenders(rows[between].flatten(0, 1), winners[between].unique())
    planes = rows[between][..., classes].permute(2, 0, 1).contiguous()  # (C, between, w)
    planes = F.interpolate(planes, size[1], mode='linear', align_corners=align_corners)
    upper, lower = upper - between.start, lower - between.start
    step = max(_STRIP // size[1], 1) if logits.device.type == 'cpu' else size[0]
    for top in range(start, end, step):
        strip = slice(top, min(top + step, end))
        above, below, weight = upper[strip], lower[strip], share[strip].to(rows.dtype)
        resized = (torch.lerp(p.index_select(0, above), p.index_select(0, below), weight) for p in planes)
        best, winner = next(resized), torch.full_like(labels[strip], classes[0])
        for name, plane in zip(classes[1:], resized, strict=True):
            # Names ascend: the last that exceeded all before it is the largest.
            winner = torch.maximum(winner, (plane > best).view(torch.uint8) * name)
            best = torch.maximum(best, plane)
        labels[strip] = winner
    return labels


@functools.lru_cache(maxsize=8)
def _resized_rows(old: int, new: int, align_corners: bool, device: torch.device) -> tuple[Tensor, ...]:
    """For each of ``new`` rows the two ``old`` ones around it (new,) and the second's weight (new, 1)."""
    target = torch.arange(new, dtype=torch.float64, device=device)
    if align_corners:
        source = target * ((old - 1) / max(new - 1, 1))
    else:
        source = ((target + 0.5) * (old / new) - 0.5).clamp(min=0)
    upper = source.long().clamp(max=old - 1)
    lower = (upper + 1).clamp(max=old - 1)
    return upper, lower, (source - upper)[:, None]


def _contenders(pixels: Tensor, winners: Tensor) -> list[int]:
    """Columns of (n, C) that no column of ``winners`` exceeds in every row; all if these are many."""
    if len(winners) > _FEW:
        return list(range(pixels.shape[1]))
    planes = pixels.t().contiguous()
    beaten = (planes < planes[winners][:, None]).all(dim=2).any(dim=0)
    return (~beaten).nonzero()[:, 0].tolist()
