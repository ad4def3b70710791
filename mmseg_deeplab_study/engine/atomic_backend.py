"""MMEngine's storage on files that are whole or not there."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ..atomic_file import write_atomically


@register_backend('atomic')
class AtomicBackend(LocalBackend):
    """MMEngine's local storage, atomically: ``backend_args=dict(backend='atomic')``.

    MMEngine's own ``put`` is a plain write: a kill cuts the newest checkpoint.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes, whole or not at all."""
        write_atomically(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text, whole or not at all."""
        write_atomically(filepath, obj.encode(encoding))
