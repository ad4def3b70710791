from .backbones import AtrousBackbone
from .heads import DeepLabV3Head

__all__ = ['AtrousBackbone', 'DeepLabV3Head']
