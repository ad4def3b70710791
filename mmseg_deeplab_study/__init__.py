"""PASCAL VOC to Cityscapes with DeepLabV3 in MMSegmentation: one import registers everything."""

import sys

# A script that reads records and trains nothing says so before it imports this: REGISTERS_NOTHING = True.
# The doctor is for where these imports fail, and `python -m mmseg_deeplab_study.doctor` comes through here
# first. argv[0] is '-m' only while Python looks for the module that -m names; reloaded later, all is there.
REGISTERS = not (
    getattr(sys.modules['__main__'], 'REGISTERS_NOTHING', False)
    or sys.argv[:1] == ['-m']
    and any(word.endswith('mmseg_deeplab_study.doctor') for word in getattr(sys, 'orig_argv', ()))
)
if REGISTERS:
    from .compat import (
        find_bases_by_path,
        format_configs_once,
        keep_standard_output,
        load_checkpoints_by,
        make_mmcv_ops_importable,
    )

    make_mmcv_ops_importable()  # before anything that imports mmseg
    find_bases_by_path()
    format_configs_once()
    keep_standard_output()

    from . import checkpoints, datasets, engine, evaluation, models

    load_checkpoints_by(checkpoints.load_from_local)
    from .hub import config_path, get_config, get_model
from .version import __version__

__all__ = [
    '__version__',
    'checkpoints',
    'config_path',
    'datasets',
    'engine',
    'evaluation',
    'get_config',
    'get_model',
    'models',
]
