from .backbones import AtrousBackbone, PreExpandPadMobileNetV2
from .heads import DeepLabV3Head, DeepLabV3PlusHead

__all__ = ['AtrousBackbone', 'DeepLabV3Head', 'DeepLabV3PlusHead', 'PreExpandPadMobileNetV2']
