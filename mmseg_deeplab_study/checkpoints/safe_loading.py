"""Read PyTorch files without running anything that is in them."""

import argparse
import contextlib
import pickle
import re
import types
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch

from .strangers import what_it_is_not

# What training scripts save beside tensors, by its name in the file: options, paths, numpy's numbers and
# arrays of numbers. Building these holds data and does nothing; a path is read as a pure one, which touches
# no disk. `builtins.getattr`, which MMEngine's own checkpoints would need, could reach anything.
_PLAIN = {
    'argparse.Namespace': argparse.Namespace,
    'types.SimpleNamespace': types.SimpleNamespace,
    'numpy.dtype': np.dtype,
    'numpy.ndarray': np.ndarray,
    **{f'numpy.dtypes.{kind.__name__}': kind for kind in map(type, map(np.dtype, '?bhilqBHILQefdFD'))},
    # numpy 2 renamed the module, Python 3.13 the other.
    **{f'numpy.{core}.multiarray.scalar': np.float64().__reduce__()[0] for core in ('core', '_core')},
    **{f'numpy.{core}.multiarray._reconstruct': np.empty(0).__reduce__()[0] for core in ('core', '_core')},
    **{
        f'{module}.{prefix}{kind.__name__[4:]}': kind
        for module in ('pathlib', 'pathlib._local')
        for prefix in ('', 'Pure')
        for kind in (PurePosixPath, PureWindowsPath)
    },
}


def load_plain(path: str | Path, map_location: Any = 'cpu', mmap: bool = False) -> Any:
    """Load tensors and plain data, such as a training script's options, from a file of ``torch.save``.

    With ``mmap`` tensors are read when they are looked at, and files of torch before 1.6 refused.
    FileNotFoundError without the file; ValueError if it is damaged, inflates, or carries code, which is not
    run.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path}: no such file')
    allowed = contextlib.nullcontext()
    # Before 2.6 torch cannot be told what is plain data by its name in the file, and refuses it.
    if tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 6):
        allowed = torch.serialization.safe_globals([(plain, name) for name, plain in _PLAIN.items()])
    try:
        refused = _other_archive(path) if zipfile.is_zipfile(path) else None
        if refused is None:
            with allowed:
                return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap or None)
    # A cut or damaged file fails wherever the reader happens to be.
    except Exception as error:
        pickled = isinstance(error, pickle.UnpicklingError)
        code = re.search(r'(?:GLOBAL|[Uu]nsupported class) ([\w.]+)', str(error)) if pickled else None
        if code is not None:
            refused = (
                f'refused, because it carries code ({code[1]}) beside tensors and plain data; nothing of it '
                'was run. Save its state_dict alone where you trust it'
            )
        else:
            found = what_it_is_not(path) or ([] if pickled else [str(error).partition(':')[0]])
            reason = f' ({"; ".join(found)})' if any(found) else ''
            refused = f'not a PyTorch file, or a damaged one{reason}'
        raise ValueError(f'checkpoint {path}: {refused}') from error
    raise ValueError(f'checkpoint {path}: {refused}')


def check_sums(path: Path) -> None:
    """Raise ValueError where bits of a file have flipped, at which torch does not look."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f'checkpoint {path}: damaged, the check sum of {damaged} is wrong')


def _other_archive(path: Path) -> str | None:
    """Why a zip archive that is whole is refused; None if torch.save wrote it."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    # Below the archive's own folder.
    names = {member.filename.partition('/')[2] for member in members}
    if 'constants.pkl' in names and any(name.startswith('code/') for name in names):
        return (
            'a TorchScript file (torch.jit.save), a program with its weights; expected a state dict. Where '
            'you trust its maker, torch.save(torch.jit.load(FILE).state_dict(), NEW) makes one'
        )
    if 'data.pkl' not in names:
        kind = 'a program of torch.export' if 'archive_format' in names else 'a zip file of something else'
        return (
            f'not a PyTorch file of weights, but {kind}: it has no data.pkl, which torch.save writes. First '
            f'of what it has: {[member.filename for member in members[:3]]}'
        )
    # torch.save stores without compression; a member larger than the file is a bomb.
    size, total = path.stat().st_size, sum(member.file_size for member in members)
    if total > size or any(member.compress_type != zipfile.ZIP_STORED for member in members):
        return (
            f'refused, because it is compressed ({size} bytes would become {total}); torch.save does not '
            'compress'
        )
    return None
