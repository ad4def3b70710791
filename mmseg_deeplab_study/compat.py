"""Upstream faults that this package has to live with: each with its reason and its end."""

import contextlib
import importlib
import importlib.util
import io
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn
from unittest import mock

if TYPE_CHECKING:
    from torch import nn

EXTENSION = 'mmcv._ext'
# Questions about the compiler, not ops: mmcv.utils.collect_env asks them and expects an answer.
BUILD_QUERIES = ('get_compiler_version', 'get_compiling_cuda_version')


# The maintained forks of OpenMMLab's packages, of the same import names.
FORK = 'onedl-'


def distribution(name: str, module: str) -> str:
    """The distribution that ``module`` is imported from: OpenMMLab's ``name``, or the fork of it.

    Both may be installed, the second over the first: the version that is imported decides. ImportError if
    there is no ``module``.
    """
    try:
        forked = version(FORK + name) == importlib.import_module(module).__version__
    except PackageNotFoundError:
        forked = False
    return FORK + name if forked else name


class MissingOpError(RuntimeError):
    """A compiled op of mmcv was called where mmcv has none."""

    def __init__(self, op: str) -> None:
        if distribution('mmcv', 'mmcv') == 'mmcv':
            installed = 'mmcv-lite, or mmcv built without ops,'
            cure = (
                'Install full mmcv in its place: pip uninstall mmcv-lite mmcv, then pip install "mmcv<2.2" '
                '(2.1.0 compiles with torch up to 2.13)'
            )
        else:
            installed = 'onedl-mmcv as pip installs it'
            cure = (
                'Compile it in its place: pip uninstall onedl-mmcv, then MMCV_WITH_OPS=1 pip install '
                '--no-build-isolation --no-binary onedl-mmcv onedl-mmcv'
            )
        super().__init__(f'mmcv.ops called the compiled op {op!r}, which {installed} does not have. {cure}.')


class _OpsPlaceholder(ModuleType):
    """Stands in for the compiled `mmcv._ext`: has every op, and each raises when called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        # Python itself asks modules for __path__, __file__ and the like.
        if name.startswith('__'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        if name in BUILD_QUERIES:
            return lambda: 'n/a'

        def missing_op(*args: Any, **kwargs: Any) -> NoReturn:
            raise MissingOpError(name)

        missing_op.__name__ = name
        return missing_op


def make_mmcv_ops_importable() -> bool:
    """Import `mmcv.ops`, with a placeholder where it has no compiled ops; ImportError without it.

    Upstream fault: mmsegmentation 1.2.2 imports `mmcv.ops` at module level, so that `import mmseg.models`
    fails with mmcv-lite, though no DeepLab or SegFormer uses a compiled op; and with torch newer than 2.1,
    full mmcv has no prebuilt wheel. Can go when mmsegmentation imports `mmcv.ops` only where it is used.

    Returns whether the placeholder was needed; it is out of `sys.modules` again by then, so that
    `mmengine.utils.dl_utils.mmcv_full_available` keeps telling the truth.
    """
    # find_spec raises for a module that is in sys.modules without a spec, as others' stubs do.
    if 'mmcv.ops' in sys.modules or EXTENSION in sys.modules:
        return False
    for module in ('mmengine', 'mmcv', 'mmseg', 'mmpretrain'):
        if importlib.util.find_spec(module) is None:
            raise ImportError(
                f'{module} is not installed: it comes with an extra of this package, pip install '
                '"CLONE[lite]", or [mim] with full mmcv, or [onedl] (docs/install.md)',
                name=module,
            )
    importlib.import_module('mmcv')
    if importlib.util.find_spec(EXTENSION) is not None:
        return False

    sys.modules[EXTENSION] = _OpsPlaceholder(EXTENSION)
    try:
        # If this fails, Python drops mmcv.ops and keeps those of its modules that were complete.
        # They stay: they have registered their layers, and a second import would do so again.
        importlib.import_module('mmcv.ops')
    finally:
        del sys.modules[EXTENSION]
    return True


def find_bases_by_path() -> None:
    """Have ``_base_ = 'mmseg::FOLDER/FILE.py'`` found by its path in the package's folder.

    Upstream fault: MMEngine 0.10.7 parses all 53 metafiles of mmseg first, which never have that path, and
    finds the package's folder by pkg_resources, which setuptools deprecates. Can go when it looks for the
    path first. Where there is no such file or package, MMEngine looks, and says so.
    """
    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    original = Config._get_cfg_path
    if original.__module__ == __name__:
        return
    # The fork of MMEngine looks for OpenMMLab's distributions.
    for module in ('mmseg', 'mmpretrain'):
        MODULE2PACKAGE[module] = distribution(MODULE2PACKAGE[module], module)

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, _, path = cfg_path.partition('::')
        if path and package in MODULE2PACKAGE:
            spec = importlib.util.find_spec(package)
            if spec and spec.origin and (file := Path(spec.origin).parent / '.mim/configs' / path).is_file():
                return str(file), package
        return original(cfg_path, filename)

    Config._get_cfg_path = staticmethod(get_cfg_path)


def keep_standard_output() -> None:
    """Import the data sets of mmseg's fork without what it prints.

    Upstream fault: onedl-mmsegmentation 1.4.2 and onedl-mmpretrain 1.3.6 print "Could not import OneDL" on
    standard output, in the middle of what a tool writes there. Can go when they log it.
    """
    if distribution('mmsegmentation', 'mmseg') == 'mmsegmentation':
        return
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            importlib.import_module('mmseg.datasets')
    finally:
        sys.stdout.write(printed.getvalue().replace('Could not import OneDL\n', ''))


def expects_rgb(preprocessor: 'nn.Module') -> bool:
    """Whether a ``SegDataPreProcessor`` swaps the channels of images, which are read in BGR."""
    # The attribute's name in onedl-mmsegmentation 1.4.2 and in mmsegmentation 1.2.2.
    for name in ('_channel_conversion', 'channel_conversion'):
        if hasattr(preprocessor, name):
            return getattr(preprocessor, name)
    raise ValueError(
        f'data_preprocessor of type {type(preprocessor).__name__} does not say whether it swaps channels; '
        'expected a SegDataPreProcessor, which has channel_conversion'
    )


def load_checkpoints_by(load: Callable[[str, Any], Any]) -> None:
    """Have MMEngine load checkpoints, from URLs and model zoos too, by ``load(path, map_location)``.

    Upstream fault: MMEngine 0.10.7 runs the code that a file carries before torch 2.6, and from a URL with
    any torch; its fork, onedl-mmengine 0.10.12, runs it where a safe reading fails. Can go when both ask for
    ``weights_only=True`` everywhere.
    """
    import torch
    from mmengine.runner.checkpoint import CheckpointLoader

    original = CheckpointLoader.load_checkpoint
    if original.__module__ == __name__:
        return
    lock = threading.RLock()

    def load_checkpoint(cls: type, filename: str, *args: Any, **kwargs: Any) -> Any:
        loading = threading.get_ident()

        def torch_load(f: Any, map_location: Any = None, *more: Any, **options: Any) -> Any:
            if threading.get_ident() != loading:
                return torch.serialization.load(f, map_location, *more, **options)
            if isinstance(f, str | os.PathLike):
                return load(str(f), map_location)
            with tempfile.NamedTemporaryFile(suffix='.pth') as copy:  # a buffer, from a bucket
                shutil.copyfileobj(f, copy)
                copy.flush()
                try:
                    return load(copy.name, map_location)
                except ValueError as error:
                    raise ValueError(str(error).replace(copy.name, filename)) from error

        # The whole process sees what is replaced: one load at a time.
        with lock, mock.patch.object(torch, 'load', torch_load):
            return original(filename, *args, **kwargs)

    CheckpointLoader.load_checkpoint = classmethod(load_checkpoint)


def format_configs_once() -> None:
    """Have MMEngine keep the formatted texts of the last few configs.

    Upstream fault: MMEngine 0.10.7, and its fork, format the same config by yapf four times before the first
    iteration and again for every checkpoint, up to a second each. Can go when they keep what they formatted.
    """
    from mmengine.config import Config

    original = Config.pretty_text.fget
    if original.__module__ == __name__:
        return
    texts: dict[tuple, str] = {}

    def pretty_text(self: Config) -> str:
        key = repr(self._cfg_dict), self._format_python_code
        if key not in texts:
            while len(texts) > 3:
                del texts[next(iter(texts))]
            texts[key] = original(self)
        return texts[key]

    Config.pretty_text = property(pretty_text, doc=original.__doc__)


def set_up_consoles(is_shown: Callable[[logging.LogRecord], bool], formatter: logging.Formatter) -> None:
    """Have MMEngine's loggers, those of later too, filter and format what they write on the console.

    Upstream fault: MMEngine 0.10.7 writes the same to console and log file, hundreds of lines before a run's
    first number, and makes its loggers where nobody can set their handlers before. Can go when it takes a
    filter for the console. Log files stay as they are.
    """
    from mmengine.logging import MMLogger

    def set_up(logger: MMLogger) -> None:
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(is_shown)
                handler.setFormatter(formatter)

    original = MMLogger.__init__
    if original.__module__ == __name__:
        return

    def init(self: MMLogger, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        set_up(self)

    MMLogger.__init__ = init
    for logger in MMLogger._instance_dict.values():
        set_up(logger)


def train_depthwise_in_planes(model: 'nn.Module') -> None:
    """Have dilated depthwise convolutions of a channels-last model learn from contiguous images in bfloat16.

    Upstream fault: on the CPU, torch 2.14.1 computes the bfloat16 weight gradient of a depthwise convolution
    with dilation 2 or more and stride 1 wrongly in channels-last, by a factor of 1.5 to infinity; all else is
    right. Can go when torch computes it rightly.
    """
    import torch

    for conv in model.modules():
        if (
            isinstance(conv, torch.nn.Conv2d)
            and 1 < conv.groups == conv.in_channels
            and max(conv.dilation) > 1
        ):
            # Weights in channels-last make it that, too. These, of one input channel, are contiguous in both.
            conv.weight.data = conv.weight.data.flatten().view(conv.weight.shape)
            conv.register_forward_pre_hook(_in_planes)


def _in_planes(conv: 'nn.Module', inputs: tuple) -> tuple | None:
    import torch

    if not inputs:
        return None  # given by name
    (images,) = inputs
    in_bfloat16 = images.dtype is torch.bfloat16 or _autocasts_on_the_cpu()
    if in_bfloat16 and images.device.type == 'cpu' and torch.is_grad_enabled():
        return (images.contiguous(),)
    return None


def _autocasts_on_the_cpu() -> bool:
    import torch

    try:
        return torch.is_autocast_enabled('cpu')
    except TypeError:  # before torch 2.4
        return torch.is_autocast_cpu_enabled()
