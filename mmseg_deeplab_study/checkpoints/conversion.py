"""Checkpoints from one form to another; the key maps are in ``layouts``."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..digests import file_digest
from . import tflite, torchvision, vainf
from .layouts import Layout, export_state, load_peer, peer_state, recognise
from .safe_loading import load_plain

LAYOUTS = {'vainf': vainf.LAYOUTS, 'torchvision': torchvision.LAYOUTS}
# What `load_from` has before the path of a file, by whose form it is; nothing for MMSeg's.
SCHEMES = {'vainf': vainf.SCHEME, 'torchvision': torchvision.SCHEME, 'tflite': tflite.SCHEME}
# The model config that fits what was published, below configs/; its leaves have the same name and more.
CONFIGS = {
    'vainf deeplabv3_resnet50': 'deeplabv3/deeplabv3_r50-os16',
    'vainf deeplabv3_mobilenet': 'deeplabv3/deeplabv3_mobilenet-v2-padded-os16',
    'vainf deeplabv3plus_resnet50': 'deeplabv3plus/deeplabv3plus_r50-os16',
    'vainf deeplabv3plus_mobilenet': 'deeplabv3plus/deeplabv3plus_mobilenet-v2-padded-os16',
    'torchvision deeplabv3_resnet50': 'deeplabv3/deeplabv3_r50-os8-aux',
    'torchvision deeplabv3_mobilenet_v3_large': 'deeplabv3/deeplabv3_mobilenet-v3-large-os16-aux',
    'tflite x0.5 os8': 'camvid/deeplabv3_mobilenet-v2-x0p5-os8',
}


def load_any(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint of any known form, whose ``meta`` says what it was; raises as the readers."""
    name, path = path, Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'{name}: {"a folder" if path.is_dir() else "no such file"} (seen from {Path.cwd()}); expected a '
            'checkpoint of MMSeg, VainF, torchvision or TensorFlow Lite, give its path'
        )
    if tflite.is_tflite(path):
        return tflite.load_from_tflite(str(path))
    data = load_plain(path)
    state = peer_state(data)
    if any(key.startswith('decode_head.') for key in state):
        meta = data.get('meta')
        ours = {'source_format': 'mmseg', 'source_digest': file_digest(path)}
        return {'state_dict': state, 'meta': {**ours, **(meta if isinstance(meta, Mapping) else {})}}
    return load_peer(path, [*vainf.LAYOUTS, *torchvision.LAYOUTS])


def to_peer(state: Mapping[str, Tensor], peer: str) -> tuple[dict[str, Any], Layout]:
    """Put our state dict into a peer's file layout; ValueError if it has no such model."""
    for layout in LAYOUTS[peer]:
        with contextlib.suppress(ValueError):
            exported = export_state(state, layout)
            # Not so of a shallower network, whose blocks a deeper one has too.
            if recognise(exported, LAYOUTS[peer]) is layout:
                break
    else:
        raise ValueError(
            f'{peer} has no architecture for this checkpoint of {len(state)} keys, first '
            f'{list(state)[:3]}; it has {", ".join(layout.name for layout in LAYOUTS[peer])}'
        )
    if peer == 'vainf':
        return {'model_state': exported, 'cur_itrs': 0, 'best_score': 0.0}, layout
    return exported, layout
