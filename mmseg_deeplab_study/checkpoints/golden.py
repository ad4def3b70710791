"""Our logits beside golden ones of the peers, for tools/parity.py."""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmseg.registry import MODELS
from rich.console import Console
from rich.table import Table

from . import load_from_tflite, torchvision, vainf
from .layouts import import_state, recognise
from .parity import Parity, build, logits, measure

LAYOUTS = {'vainf': vainf.LAYOUTS, 'torchvision': torchvision.LAYOUTS}
TOLERANCE = 1e-4
TFLITE = dict(
    backbone=dict(
        type='AtrousBackbone',
        backbone=dict(type='mmpretrain.MobileNetV2', widen_factor=0.5),
        output_stride=8,
        out_indices=(6,),
    ),
    decode_head=dict(
        type='DeepLabV3Head',
        in_channels=160,
        in_index=0,
        dilations=(1,),
        refine=False,
        num_classes=21,
        align_corners=True,
    ),
)
STEP = 4  # golden logits hold every 4th pixel


def compare_golden(keys_file: Path, reference) -> Iterator[tuple[str, str, Parity]]:
    """Input, output and parity for each of a peer's golden logits."""
    name = keys_file.name.removesuffix('.keys.json')
    golden = np.load(keys_file.with_name(f'{name}.npz'))
    theirs = {
        key: torch.from_numpy(reference.reference_array(key, shape))
        for key, shape in json.loads(keys_file.read_text()).items()
    }
    layout = recognise(theirs, LAYOUTS[name.split('_')[0]])
    stride = re.search(r'_os(\d+)$', name)
    model = build(layout, import_state(theirs, layout), int(stride[1]) if stride else None)
    for entry in sorted(golden):
        output, size = entry.split('_')
        height, width = map(int, size.split('x'))
        image = torch.from_numpy(reference.reference_image(height, width))
        head = 'decode_head' if output == 'logits' else 'auxiliary_head'
        ours = logits(model, image)[head][:, :, ::STEP, ::STEP]
        yield size, output, measure(ours, golden[entry])


def compare_tflite(golden_file: Path) -> tuple[str, str, Parity]:
    """Input, output and parity for LiteRT's logits of real weights, which lie in data/voc_weights."""
    name = golden_file.stem.removeprefix('tflite_')
    weights = golden_file.parents[1] / 'data' / 'voc_weights' / f'{name}.tflite'
    golden = np.load(golden_file)
    model = torch.nn.ModuleDict({part: MODELS.build(config) for part, config in TFLITE.items()})
    model.load_state_dict(load_from_tflite(str(weights))['state_dict'])
    image = torch.from_numpy(golden['voc_bird_image']).permute(2, 0, 1)[None] / 127.5 - 1
    ours = logits(model.eval(), image)['decode_head'][:, :, ::STEP, ::STEP]
    return 'x'.join(map(str, image.shape[2:])), 'logits', measure(ours, golden['voc_bird_logits'])


def compare_all(folder: Path) -> int:
    """Print a table of all golden logits in a folder; returns an exit code."""
    files = sorted(folder.glob('*.keys.json'))
    if not files:
        raise FileNotFoundError(f'{folder}: no golden logits (PEER_MODEL.keys.json)')
    spec = importlib.util.spec_from_file_location('reference_weights', folder / 'reference_weights.py')
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    rows = [
        (file.name.removesuffix('.keys.json'), *row)
        for file in files
        for row in compare_golden(file, reference)
    ]
    # Not those of quantised files, which are labels and scores.
    tflite = sorted(folder.glob('tflite_deeplabv3_*.npz'))
    rows += [(file.stem, *compare_tflite(file)) for file in tflite]
    table = Table('peer', 'input', 'output', 'difference / largest logit', 'labels that agree')
    worst = Parity(0.0, 1.0)
    for name, size, output, parity in rows:
        table.add_row(name, size, output, f'{parity.difference:.1e}', f'{100 * parity.agreement:.2f} %')
        worst = Parity(max(worst.difference, parity.difference), min(worst.agreement, parity.agreement))
    Console(width=120).print(table)
    print(f'worst: {worst}')
    return int(worst.difference > TOLERANCE or worst.agreement < 1)
