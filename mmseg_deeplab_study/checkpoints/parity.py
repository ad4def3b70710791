"""Do our models compute what the peers' compute, from the same weights?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from . import torchvision
from .layouts import Layout, model_config, peer_state, recognise
from .safe_loading import load_plain

# What one verification runs on: an odd and an even size, the sizes of the golden logits.
IMAGE_SIZES = ((65, 97), (128, 160))


class Parity(NamedTuple):
    """How far two networks' logits are apart.

    ``difference`` is the largest absolute difference over the largest absolute logit, ``agreement`` the share
    of pixels with the same label, in 0..1.
    """

    difference: float
    agreement: float

    def __str__(self) -> str:
        return f'largest difference {self.difference:.1e} of the largest logit, labels agree on ' + (
            f'{100 * self.agreement:.2f} %'
        )


def measure(ours: np.ndarray, theirs: np.ndarray) -> Parity:
    """Compare logits ``(N, C, H, W)``.

    Raises:
        ValueError: the shapes differ.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f'logits must have one shape, but got {ours.shape} and {theirs.shape}')
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    return Parity(float(difference), float((ours.argmax(1) == theirs.argmax(1)).mean()))


def build(layout: Layout, state: Mapping[str, Tensor], output_stride: int | None = None) -> nn.ModuleDict:
    """Our model of a published architecture, with weights, in evaluation mode."""
    num_classes = len(state['decode_head.conv_seg.weight'])
    auxiliary = any(key.startswith('auxiliary_head.') for key in state)
    parts = model_config(layout, num_classes, output_stride, auxiliary)
    model = nn.ModuleDict({name: MODELS.build(config) for name, config in parts.items()})
    model.load_state_dict(state, strict=True)
    return model.eval()


@torch.no_grad()
def logits(model: nn.ModuleDict, image: Tensor) -> dict[str, np.ndarray]:
    """Logits of every head at the size of ``image (N, 3, H, W)``."""
    features = model['backbone'](image)
    return {
        name: functional.interpolate(
            head(features), image.shape[2:], mode='bilinear', align_corners=head.align_corners
        ).numpy()
        for name, head in model.items()
        if name != 'backbone'
    }


def compare_with_peer(path: Path, checkpoint: Mapping[str, Any]) -> str:
    """Run a peer's file in the peer's own code and in ours, on random images.

    Raises:
        ImportError: the peer is not installed; VainF's repository is no package, and its logits are checked
            by golden values in the tests instead.
    """
    source = checkpoint['meta']['source_format']
    if not source.startswith('torchvision '):
        raise ImportError(f'{source}: there is no installed peer to verify against; only torchvision can be')
    from torchvision.models import get_model

    theirs_state = peer_state(load_plain(path))
    layout = recognise(theirs_state, torchvision.LAYOUTS)
    auxiliary = any(key.startswith('aux_classifier.') for key in theirs_state)
    state = checkpoint['state_dict']
    peer = get_model(
        layout.name,
        weights=None,
        weights_backbone=None,
        num_classes=len(state['decode_head.conv_seg.weight']),
        aux_loss=auxiliary,
    ).eval()
    peer.load_state_dict(theirs_state)
    model, lines = build(layout, state), []
    for height, width in IMAGE_SIZES:
        image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            theirs = peer(image)
        for name, ours in logits(model, image).items():
            output = theirs['out' if name == 'decode_head' else 'aux'].numpy()
            lines.append(f'{layout.name} {name} {height}x{width}: {measure(ours, output)}')
    return '\n'.join(lines)
