"""Segmentors whose predictions a dense CRF refines."""

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from .dense_crf import build_dense_crf


class DenseCRFMixin:
    """Refine a segmentor's predictions; for its class to put first among its bases.

    With ``test_cfg=dict(crf=dict(...))``, the arguments of ``DenseCRF``, every prediction is refined in the
    image's original size: ``pred_sem_seg`` are the refined labels, ``seg_logits`` the logarithm of the
    marginals, ``unrefined_sem_seg`` the labels without. Colours come from the network's input by the data
    preprocessor's mean and std; a pipeline that normalises by itself hides them. ``dense_crf``, what refines
    or None, may be set.

    Raises:
        ValueError: a wrong argument of the CRF, or a segmentor of a single logit.
    """

    def __init__(self, *args, **kwargs) -> None:
        """See the class."""
        super().__init__(*args, **kwargs)
        config = (getattr(self, 'test_cfg', None) or {}).get('crf')
        self.dense_crf = None if config is None else build_dense_crf(config)
        if self.dense_crf is not None and getattr(self, 'out_channels', None) == 1:
            raise ValueError(
                'model.test_cfg.crf with a single logit for two classes, but it needs one for each class: '
                'give decode_head.out_channels=2'
            )

    def predict(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None
    ) -> Sequence[SegDataSample]:
        """Predict as the segmentor does, then refine."""
        samples = super().predict(inputs, data_samples)
        if self.dense_crf is not None:
            for image, sample in zip(inputs, samples, strict=True):
                self._refine(image, sample)
        return samples

    def _refine(self, image: Tensor, sample: SegDataSample) -> None:
        logits, preprocessor = sample.seg_logits.data, self.data_preprocessor
        colours = image.float()
        if getattr(preprocessor, '_enable_normalize', False):
            colours = colours * preprocessor.std + preprocessor.mean
        colours = _original_image(colours, sample.metainfo, logits.shape[1:])
        marginals = self.dense_crf(logits[None], colours)[0]
        labels = marginals.argmax(dim=0, keepdim=True)
        sample.unrefined_sem_seg = sample.pred_sem_seg
        sample.seg_logits = PixelData(data=marginals.clamp_(min=1e-20).log_())
        sample.pred_sem_seg = PixelData(data=labels)


def unpadded(meta: dict, size: Sequence[int]) -> tuple[slice, slice]:
    """Return the rows and columns of a padded image of ``size`` that are the image's."""
    left, right, top, bottom = meta.get('img_padding_size', meta.get('padding_size', [0] * 4))
    return slice(top, size[0] - bottom), slice(left, size[1] - right)


def _original_image(image: Tensor, meta: dict, size: Sequence[int]) -> Tensor:
    """Resize to ``(1, 3, H, W)`` uint8, as ``postprocess_result`` does with logits."""
    image = image[(None, ..., *unpadded(meta, image.shape[1:]))]
    if meta.get('flip'):
        image = image.flip(dims=(3 if meta['flip_direction'] == 'horizontal' else 2,))
    if image.shape[2:] != torch.Size(size):
        image = F.interpolate(image, tuple(size), mode='bilinear', align_corners=False)
    return image.round().clamp(0, 255).to(torch.uint8)


@MODELS.register_module(name='DenseCRFSegmentor')
def dense_crf_segmentor(segmentor: str | type = 'EncoderDecoder', **kwargs) -> BaseSegmentor:
    """Build any registered segmentor as it is, but refining by ``test_cfg.crf``.

    The state dict is the segmentor's own. To an MMSeg config that exists, add ``model =
    dict(type='DenseCRFSegmentor', segmentor='EncoderDecoder', test_cfg=dict(crf=dict()))``.

    Raises:
        ValueError: ``segmentor`` is no segmentor or its registered name; or as ``DenseCRFMixin``.
    """
    base = MODELS.get(segmentor) if isinstance(segmentor, str) else segmentor
    if base is None or not (isinstance(base, type) and issubclass(base, BaseSegmentor)):
        raise ValueError(f'DenseCRFSegmentor: segmentor={segmentor!r} is not a segmentor of MMSegmentation')
    return _refining(base)(**kwargs)


@cache
def _refining(base: type[BaseSegmentor]) -> type[BaseSegmentor]:
    if issubclass(base, DenseCRFMixin):
        return base

    def reduce(model: BaseSegmentor) -> tuple:
        # Nobody finds the class by its name.
        return _blank, (base,), model.__dict__

    return type(f'DenseCRF{base.__name__}', (DenseCRFMixin, base), {'__reduce__': reduce})


def _blank(base: type[BaseSegmentor]) -> BaseSegmentor:
    cls = _refining(base)
    return cls.__new__(cls)


def refining_model(cfg: Config) -> None:
    """Have the config's model refine its predictions by a dense CRF, ``test_cfg.crf``.

    Raises:
        ValueError: the model's class is not registered.
    """
    model = cfg.model
    if model.get('test_cfg') is None:
        model.test_cfg = dict()
    if model.test_cfg.get('crf') is None:
        model.test_cfg.crf = dict()
    known = MODELS.get(model.type) if isinstance(model.type, str) else model.type
    if known is None:
        raise ValueError(f'model.type={model.type!r} is not registered; does the config want custom_imports?')
    if known is not dense_crf_segmentor and not issubclass(known, DenseCRFMixin):
        model.segmentor, model.type = model.type, 'DenseCRFSegmentor'
