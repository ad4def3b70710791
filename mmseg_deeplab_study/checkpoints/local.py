"""Files without a scheme."""

from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from .bare_state import unwrap
from .safe_loading import load_plain


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a file in the place of MMEngine's loader, for ``load_from``, ``init_cfg`` and resuming alike.

    MMEngine 0.10.7 runs whatever code a file carries before torch 2.6, refuses the options of a training
    script (``argparse.Namespace``) since, and knows no key but ``state_dict`` and no prefix but ``module.``.

    Raises:
        FileNotFoundError, ValueError: as ``load_plain``.
    """
    checkpoint = load_plain(filename, map_location)
    if isinstance(checkpoint, dict) and all(isinstance(key, str) for key in checkpoint):
        unwrap(checkpoint)
    return checkpoint
