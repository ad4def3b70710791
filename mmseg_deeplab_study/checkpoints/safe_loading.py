"""Read PyTorch files without running anything that is in them."""

import contextlib
import hashlib
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

# Numbers such as VainF's best_score, saved as numpy scalars. Their constructors build plain data only;
# `builtins.getattr`, which MMEngine's own checkpoints would need, could reach anything.
_NUMPY_SCALARS = [
    (np._core.multiarray.scalar, 'numpy.core.multiarray.scalar'),
    (np._core.multiarray.scalar, 'numpy._core.multiarray.scalar'),
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
    np.dtypes.Int32DType,
]


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()


def load_plain(path: str | Path, map_location: Any = 'cpu') -> Any:
    """Load tensors and plain data from a file of ``torch.save``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, damaged, inflates, is no PyTorch file, or carries code; the code is
            named and not run.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path}: no such file')
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f'checkpoint {path}: the file is empty')
    try:
        if zipfile.is_zipfile(path):
            _refuse_inflation(path, size)
        with _numpy_scalars():
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r'(?:GLOBAL|[Uu]nsupported class) ([\w.]+)', str(error))
        if code is None:
            raise ValueError(f'checkpoint {path}: not a PyTorch file, or a damaged one') from error
        raise ValueError(
            f'checkpoint {path}: refused, because it carries code ({code[1]}) beside tensors and plain data; '
            'nothing of it was run. Save its state_dict alone where you trust it'
        ) from error
    except _RefusedError:
        raise
    # A cut or damaged file fails wherever the reader happens to be.
    except Exception as error:
        raise ValueError(f'checkpoint {path}: not a PyTorch file, or a damaged one ({error})') from error


class _RefusedError(ValueError):
    """A file that is whole, and not wanted."""


def _refuse_inflation(path: Path, size: int) -> None:
    # torch.save stores without compression; a member larger than the file is a bomb.
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    total = sum(member.file_size for member in members)
    if total > size or any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise _RefusedError(
            f'checkpoint {path}: refused, because it is compressed ({size} bytes would become {total}); '
            'torch.save does not compress'
        )


def _numpy_scalars() -> contextlib.AbstractContextManager:
    # torch before 2.6 has no such list, and refuses numpy scalars.
    allow = getattr(torch.serialization, 'safe_globals', None)
    return allow(_NUMPY_SCALARS) if allow else contextlib.nullcontext()
