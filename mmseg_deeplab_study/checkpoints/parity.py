"""Do our models compute what the peers' compute, from the same weights?"""

import json
import re
import runpy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..tables import make_table, table_text
from . import load_from_tflite, torchvision
from .conversion import LAYOUTS
from .layouts import Layout, build_parts, import_state, model_config, peer_state, recognise
from .safe_loading import load_plain

# What one verification runs on: an odd and an even size, the sizes of the golden logits.
IMAGE_SIZES = ((65, 97), (128, 160))
TOLERANCE = 1e-4
_BACKBONE = dict(type='mmpretrain.MobileNetV2', widen_factor=0.5)
_HEAD = dict(in_channels=160, in_index=0, dilations=(1,), refine=False, num_classes=21, align_corners=True)
TFLITE = dict(
    backbone=dict(type='AtrousBackbone', backbone=_BACKBONE, output_stride=8, out_indices=(6,)),
    decode_head=dict(type='DeepLabV3Head', **_HEAD),
)
STEP = 4  # golden logits hold every 4th pixel


class Parity(NamedTuple):
    """How near logits are to golden ones.

    ``difference`` is the largest difference over the largest logit, ``agreement`` the share of pixels with
    the same label, in 0..1.
    """

    difference: float
    agreement: float

    def __str__(self) -> str:
        """Both figures in words."""
        agreement = f'labels agree on {100 * self.agreement:.2f} %'
        return f'largest difference {self.difference:.1e} of the largest logit, {agreement}'


Row = tuple[str, str, str, Parity]  # peer, input, output


def measure(ours: np.ndarray, theirs: np.ndarray) -> Parity:
    """Compare logits ``(N, C, H, W)``; ValueError if the shapes differ."""
    if ours.shape != theirs.shape:
        raise ValueError(f'logits must have one shape, but got {ours.shape} and {theirs.shape}')
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    return Parity(float(difference), float((ours.argmax(1) == theirs.argmax(1)).mean()))


def build(layout: Layout, state: Mapping[str, Tensor], output_stride: int | None = None) -> nn.ModuleDict:
    """Our model of a published architecture, with weights, in evaluation mode."""
    num_classes = len(state['decode_head.conv_seg.weight'])
    auxiliary = any(key.startswith('auxiliary_head.') for key in state)
    model = build_parts(model_config(layout, num_classes, output_stride, auxiliary))
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
    """Run torchvision's file in its own code and in ours, on random images; ImportError for other peers."""
    source = checkpoint['meta']['source_format']
    if not source.startswith('torchvision '):
        raise ImportError(f'{source}: there is no installed peer to verify against; only torchvision can be')
    from torchvision.models import get_model

    theirs_state = peer_state(load_plain(path))
    layout = recognise(theirs_state, torchvision.LAYOUTS)
    auxiliary = any(key.startswith('aux_classifier.') for key in theirs_state)
    state = checkpoint['state_dict']
    num_classes, none = len(state['decode_head.conv_seg.weight']), dict(weights=None, weights_backbone=None)
    peer = get_model(layout.name, num_classes=num_classes, aux_loss=auxiliary, **none)
    peer.eval().load_state_dict(theirs_state)
    model, lines = build(layout, state), []
    for height, width in IMAGE_SIZES:
        image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            theirs = peer(image)
        for name, ours in logits(model, image).items():
            output = theirs['out' if name == 'decode_head' else 'aux'].numpy()
            lines.append(f'{layout.name} {name} {height}x{width}: {measure(ours, output)}')
    return '\n'.join(lines)


def compare_golden(keys_file: Path, reference: Mapping[str, Callable]) -> Iterator[Row]:
    """Peer, input, output and parity for each of a peer's golden logits."""
    name = keys_file.name.removesuffix('.keys.json')
    golden = np.load(keys_file.with_name(f'{name}.npz'))
    theirs = {
        key: torch.from_numpy(reference['reference_array'](key, shape))
        for key, shape in json.loads(keys_file.read_text()).items()
    }
    layout = recognise(theirs, LAYOUTS[name.split('_')[0]])
    stride = re.search(r'_os(\d+)$', name)
    model = build(layout, import_state(theirs, layout), int(stride[1]) if stride else None)
    for entry in sorted(golden):
        output, size = entry.split('_')
        height, width = map(int, size.split('x'))
        image = torch.from_numpy(reference['reference_image'](height, width))
        head = 'decode_head' if output == 'logits' else 'auxiliary_head'
        ours = logits(model, image)[head][:, :, ::STEP, ::STEP]
        yield name, size, output, measure(ours, golden[entry])


def compare_tflite(golden_file: Path) -> Row:
    """Peer, input, output and parity for LiteRT's logits of real weights."""
    name = golden_file.stem.removeprefix('tflite_')
    weights = golden_file.parents[1] / 'data' / 'voc_weights' / f'{name}.tflite'
    golden = np.load(golden_file)
    model = build_parts(TFLITE)
    model.load_state_dict(load_from_tflite(str(weights))['state_dict'])
    image = torch.from_numpy(golden['voc_bird_image']).permute(2, 0, 1)[None] / 127.5 - 1
    ours = logits(model.eval(), image)['decode_head'][:, :, ::STEP, ::STEP]
    height, width = image.shape[2:]
    return golden_file.stem, f'{height}x{width}', 'logits', measure(ours, golden['voc_bird_logits'])


def compare_all(folder: Path) -> int:
    """Print a table of all golden logits in a folder; returns an exit code."""
    files = sorted(folder.glob('*.keys.json'))
    if not files:
        raise FileNotFoundError(f'{folder}: no golden logits (PEER_MODEL.keys.json)')
    reference = runpy.run_path(str(folder / 'reference_weights.py'))
    rows = [row for file in files for row in compare_golden(file, reference)]
    # Not those of quantised files, which are labels and scores.
    rows += map(compare_tflite, sorted(folder.glob('tflite_deeplabv3_*.npz')))
    columns = ('peer', 'input', 'output', 'difference / largest logit', 'labels that agree')
    table = make_table(columns, left=3)
    for *cells, parity in rows:
        table.add_row(*cells, f'{parity.difference:.1e}', f'{100 * parity.agreement:.2f} %')
    difference, agreement = zip(*(parity for *_, parity in rows), strict=True)
    worst = Parity(max(difference), min(agreement))
    print(table_text(table), f'worst: {worst}', sep='\n')
    return int(worst.difference > TOLERANCE or worst.agreement < 1)
