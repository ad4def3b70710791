"""SHA-256 digests, in hexadecimal: of files, lists of names, and plain data."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def file_digest(path: str | Path) -> str:
    """Digest of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).expanduser().open('rb') as file:
        # Not hashlib.file_digest, which came with Python 3.11.
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def names_digest(names: Sequence[str]) -> str:
    """Digest of names in their order, one a line."""
    return hashlib.sha256('\n'.join(names).encode()).hexdigest()


def data_digest(data: Any) -> str:
    """Digest of what JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
