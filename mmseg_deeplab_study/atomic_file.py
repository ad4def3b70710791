"""Files that are on the disk whole or not at all."""

import contextlib
import errno
import os
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old content or the new one.

    The data go to a temporary file in the folder, which is made if need be, and then to their name. An
    OSError names the file, whose old content is still there unless only the folder could not be synchronised.
    """
    path = Path(path)
    # Two ranks may write the same picture; a name that a resumed run uses again leaves none lying about.
    temporary = path.with_name(f'.{path.name}.{_rank()}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open('wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise explain(error, path) from error


def _rank() -> int:
    # Where MMEngine is not imported, as in the tools that read records, there is one process.
    dist = sys.modules.get('mmengine.dist')
    return dist.get_rank() if dist else 0


def write_image(path: str | Path, image: Image.Image, kind: str, **options: Any) -> None:
    """Write an image in one of Pillow's formats and with its options; raises as ``write_atomically``."""
    content = BytesIO()
    image.save(content, format=kind, **options)
    write_atomically(path, content.getvalue())


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk: without it, a renamed or new file may be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems do not take it for a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def explain(error: OSError, path: Path) -> OSError:
    """The error of a write that failed, saying which file, what is still there, and what to do."""
    return OSError(
        error.errno,
        f'{path}: could not be written ({error.strerror}). What was there before is whole: make room, or '
        'make the folder writable, and start again, a run with --resume',
    )
