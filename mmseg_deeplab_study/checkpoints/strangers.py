"""Recognise files that are no checkpoints; by the standard library alone, for the doctor."""

import re
import zipfile
from pathlib import Path

# What is often found under a checkpoint's name, by its first bytes.
STRANGERS = (
    (rb'\s*<', 'a web page, not a checkpoint', 'download it again: what was saved is an error or login page'),
    (rb'version https://git-lfs', 'a pointer of Git LFS, not the checkpoint itself', 'git lfs pull'),
)


def what_it_is_not(path: Path) -> tuple[str, str] | None:
    """What is wrong with a file that is no checkpoint at all, and the cure; None if it may be one."""
    if not path.is_file():
        return 'no such file', 'give the path of a file'
    with path.open('rb') as file:
        head = file.read(64)
    if not head:
        return 'the file is empty', 'copy or download it again'
    for pattern, what, cure in STRANGERS:
        if re.match(pattern, head):
            return what, cure
    # The table of contents of a zip file is at its end.
    if head.startswith(b'PK') and not zipfile.is_zipfile(path):
        what = f'cut short: it begins as a checkpoint, and has no end ({path.stat().st_size} bytes)'
        return what, 'copy or download it again'
    if not head.startswith((b'PK', b'\x80')) and head[4:8] != b'TFL3':
        what = f'not a checkpoint: neither PyTorch nor TensorFlow Lite (begins with {head[:8]!r})'
        return what, 'give another'
    return None
