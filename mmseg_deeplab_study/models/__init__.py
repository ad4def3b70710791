from .backbones import AtrousBackbone
from .families import PreExpandPadMobileNetV2
from .heads import DeepLabV3Head, DeepLabV3PlusHead
from .segmentors import StudyEncoderDecoder

__all__ = [
    'AtrousBackbone',
    'DeepLabV3Head',
    'DeepLabV3PlusHead',
    'PreExpandPadMobileNetV2',
    'StudyEncoderDecoder',
]
