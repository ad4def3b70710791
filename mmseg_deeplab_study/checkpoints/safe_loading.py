"""Read PyTorch files without running anything that is in them."""

import argparse
import codecs
import contextlib
import pickle
import re
import tarfile
import threading
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch

from .strangers import what_it_is_not

# Major and minor release.
TORCH = tuple(map(int, torch.__version__.split('.')[:2]))
# What training scripts save beside tensors, by its name in the file: options, paths, numpy's numbers and
# arrays of numbers. Building these holds data and does nothing; a path is read as a pure one, which touches
# no disk. `builtins.getattr`, which MMEngine's own checkpoints would need, could reach anything.
_PLAIN = {
    'argparse.Namespace': argparse.Namespace,
    'types.SimpleNamespace': types.SimpleNamespace,
    'numpy.dtype': np.dtype,
    'numpy.ndarray': np.ndarray,
    # The bytes of an array; torch allows it itself since 2.6.
    '_codecs.encode': codecs.encode,
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

# What torch is told for the whole process while a file is loaded.
LOADING = threading.RLock()
_SCRIPT = (
    'a TorchScript file (torch.jit.save), a program with its weights; expected a state dict. Where you trust '
    'its maker, torch.save(torch.jit.load(FILE).state_dict(), NEW) makes one'
)


def load_plain(path: str | Path, map_location: Any = 'cpu', mmap: bool = False) -> Any:
    """Load tensors and plain data, such as a training script's options, from a file of ``torch.save``.

    With ``mmap`` tensors are read when they are looked at, and files of torch before 1.6 refused.
    FileNotFoundError without the file; ValueError if it is damaged, inflates, or carries code, which is not
    run.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path}: no such file')
    try:
        refused = _other_archive(path)
        if refused is None:
            with _plain_data_allowed():
                # Not torch.load, which MMEngine's loaders find replaced by this function. The path as a text:
                # before torch 2.2 mmap takes nothing else.
                return torch.serialization.load(
                    str(path), map_location=map_location, weights_only=True, mmap=mmap or None
                )
    # A cut or damaged file fails wherever the reader happens to be.
    except Exception as error:
        pickled = isinstance(error, pickle.UnpicklingError)
        code = re.search(r'(?:GLOBAL|[Uu]nsupported class) ([\w.]+)', str(error)) if pickled else None
        if code is not None and code[1] in _PLAIN:
            refused = (
                f'holds {code[1]}, which is read with torch 2.4 or later, not {torch.__version__}. Update '
                'torch, or save its state_dict alone there'
            )
        elif code is not None:
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


@contextlib.contextmanager
def _plain_data_allowed() -> Iterator[None]:
    """Have torch take what is plain data; before 2.4 it takes nothing that it does not know itself."""
    if TORCH < (2, 4):
        yield
        return
    named = _named if TORCH < (2, 6) else lambda plain, name: (plain, name)
    with LOADING:
        before = list(torch.serialization.get_safe_globals())
        torch.serialization.clear_safe_globals()
        # The fork of MMEngine adds getattr around its own loading.
        torch.serialization.add_safe_globals([plain for plain in before if plain is not getattr])
        torch.serialization.add_safe_globals([named(plain, name) for name, plain in _PLAIN.items()])
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)


def _named(plain: Callable, name: str) -> Callable:
    """``plain`` under the name that a file calls it by: before 2.6 torch asks the object, not a list."""
    module, _, attribute = name.rpartition('.')
    if (plain.__module__, plain.__qualname__) == (module, attribute):
        return plain

    def stand_in(*args: Any) -> Any:
        return plain(*args)

    stand_in.__module__, stand_in.__name__, stand_in.__qualname__ = module, attribute, attribute
    return stand_in


def _other_archive(path: Path) -> str | None:
    """Why an archive that is whole is refused; None if torch.save wrote it, or if it is none.

    Before 2.6 torch would run a TorchScript file, and unpack a tar file wherever it says, whatever
    ``weights_only`` is (CVE-2025-32434).
    """
    with path.open('rb') as file:
        # As torch tells; zipfile looks at the end alone, and would find a zip file behind another.
        is_zip = file.read(4) == b'PK\x03\x04'
    if not is_zip:
        tar = tarfile.is_tarfile(path)
        return 'a tar file, not one of torch.save; unpack it, and give the file inside' if tar else None
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    # Below the archive's own folder.
    names = {member.filename.partition('/')[2] for member in members}
    if 'constants.pkl' in names:
        return _SCRIPT
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
    # In a file made for that, torch may find what zipfile does not.
    if 'constants.pkl' in torch._C.PyTorchFileReader(str(path)).get_all_records():
        return _SCRIPT
    return None
