"""Files with a JSON object a line, read while another process writes them."""

import contextlib
import json
from pathlib import Path
from typing import Any


def read_objects(path: Path, tail: int | None = None) -> list[dict[str, Any]]:
    """Read the objects of a file, or of its last ``tail`` bytes; none of no file.

    Torn lines are left out: the first of a tail, the last of a file that is being written.
    """
    objects = []
    # NotADirectoryError: a file is in the place of a folder.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), path.open('rb') as file:
        file.seek(0 if tail is None else max(0, path.stat().st_size - tail))
        for line in file.read().splitlines():
            with contextlib.suppress(ValueError):
                objects.append(json.loads(line))
    return [found for found in objects if isinstance(found, dict)]
