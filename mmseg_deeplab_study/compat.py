"""Upstream faults that this package has to live with: each with its reason and its end."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

EXTENSION = 'mmcv._ext'
# Questions about the compiler, not ops: mmcv.utils.collect_env asks them and expects an answer.
BUILD_QUERIES = ('get_compiler_version', 'get_compiling_cuda_version')


class MissingOpError(RuntimeError):
    """A compiled op of full mmcv was called where only mmcv-lite is installed."""

    def __init__(self, op: str) -> None:
        super().__init__(
            f'mmcv.ops called the compiled op {op!r}, which mmcv-lite does not have. '
            'Install full mmcv in its place: pip uninstall mmcv-lite, then '
            'pip install "mmcv<2.2" (2.1.0 compiles with torch up to 2.13).'
        )


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
    """Import `mmcv.ops`, with a placeholder for its compiled ops if mmcv-lite is what is installed.

    Upstream fault: mmsegmentation 1.2.2 imports `mmcv.ops` at module level in
    `mmseg/utils/mask_classification.py` and `mmseg/models/decode_heads/san_head.py`, so that
    `import mmseg.models` fails with mmcv-lite, though no DeepLab or SegFormer uses a compiled op;
    and with torch newer than 2.1, full mmcv has no prebuilt wheel.
    Can go when mmsegmentation imports `mmcv.ops` only where it is used.

    Full mmcv is left alone, and so is an `mmcv.ops` or `mmcv._ext` that is already imported.

    Returns:
        Whether the placeholder was needed. It is out of `sys.modules` again by then, so that
        `mmengine.utils.dl_utils.mmcv_full_available` keeps telling the truth.

    Raises:
        ImportError: if neither mmcv nor mmcv-lite is installed.
    """
    # find_spec raises for a module that stands in sys.modules without a spec, as others' stubs do.
    if 'mmcv.ops' in sys.modules or EXTENSION in sys.modules:
        return False
    try:
        importlib.import_module('mmcv')
    except ModuleNotFoundError as error:
        if error.name != 'mmcv':  # mmcv is there; what it lacks is something else
            raise
        raise ImportError(
            'mmsegmentation needs mmcv, and neither mmcv nor mmcv-lite is installed: '
            'pip install "mmcv-lite<2.2"',
            name='mmcv',
        ) from error
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
