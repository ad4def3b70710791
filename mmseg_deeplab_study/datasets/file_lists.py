"""Which files of a folder a dataset of MMSegmentation reads.

Needs nothing but Python: the doctor loads this file by its path.
"""

from __future__ import annotations

import os
from pathlib import Path


def list_files(folder: str | Path, suffix: str | tuple[str, ...] = '', recursive: bool = True) -> list[Path]:
    """Files that ``list_dir_or_file`` of MMEngine gives, sorted by path; links are followed.

    Left out are links to nothing and files whose name begins with a dot, such as macOS' ``._a.png``; folders
    of such a name are searched.
    """
    found = []
    for entry in os.scandir(folder):
        if not entry.name.startswith('.') and entry.is_file():
            if entry.name.endswith(suffix):
                found.append(Path(entry.path))
        elif recursive and os.path.isdir(entry.path):
            found += list_files(entry.path, suffix)
    return sorted(found)


def nothing_in(folder: str | Path, suffix: str) -> str:
    """Say that a folder has no photographs of a suffix, and what it has instead."""
    if not os.path.isdir(folder):
        return f'{folder}: no such folder'
    others = list_files(folder)
    there = f'{len(others)} other files are there, such as {others[0].name}' if others else 'it has no files'
    return f'{folder}: no photograph whose name ends in {suffix}; {there}'
