"""PASCAL VOC to Cityscapes with DeepLabV3 in MMSegmentation: one import registers everything."""

from .compat import make_mmcv_ops_importable

make_mmcv_ops_importable()  # before anything that imports mmseg

from . import checkpoints, datasets, engine, evaluation, models
from .version import __version__

__all__ = ['__version__', 'checkpoints', 'datasets', 'engine', 'evaluation', 'models']
