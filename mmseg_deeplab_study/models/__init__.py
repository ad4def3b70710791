"""Backbones, heads and segmentors, registered in MMSegmentation's registry."""

from .backbones import AtrousBackbone
from .crf_segmentors import DenseCRFMixin
from .dense_crf import DEEPLABV2_RESNET101, DenseCRF
from .families import PreExpandPadMobileNetV2
from .heads import DeepLabV3Head, DeepLabV3PlusHead
from .segmentors import StudyEncoderDecoder
from .transformers import transformer_backbone

__all__ = [
    'DEEPLABV2_RESNET101',
    'AtrousBackbone',
    'DeepLabV3Head',
    'DeepLabV3PlusHead',
    'DenseCRF',
    'DenseCRFMixin',
    'PreExpandPadMobileNetV2',
    'StudyEncoderDecoder',
    'transformer_backbone',
]
