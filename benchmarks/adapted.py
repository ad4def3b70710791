"""A real run on CamVid: does it train and validate as with stock's segmentor?"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import setups
from mmseg_deeplab_study.runs.history import Kind, read_history

LEAF = 'configs/camvid/deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid.py'
OPTIONS = {setups.STOCK: 'model.type=EncoderDecoder'} | {
    name: f'model.eval_dtype={name}' for name in setups.DTYPES
}


def measure(weights: str, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Losses and validations of runs that differ in the segmentor alone."""
    result = {}
    for name, option in OPTIONS.items():
        work_dir = folder / f'camvid_{name}'
        command = [sys.executable, 'tools/train.py', LEAF, '--work-dir', str(work_dir), '--cfg-options']
        # Dropout draws its masks in the order of memory, which is what differs.
        options = [f'load_from=tflite://{weights}', option, 'model.decode_head.aspp_dropout_ratio=0']
        options += ['default_hooks.logger.interval=1']
        subprocess.run([*command, *options], cwd=setups.ROOT, check=True, stdout=subprocess.DEVNULL)
        lines = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
        rows = read_history(work_dir / 'adaptation.jsonl').rows
        result[name] = {
            'loss': [line['loss'] for line in map(json.loads, lines) if 'loss' in line],
            'miou': [row['mIoU'] for row in rows if row['kind'] == Kind.VALIDATION],
            'labelled': [_labelled(row) for row in rows if row['kind'] == Kind.VALIDATION],
        }
    return result


def _labelled(row: dict) -> float:
    """mIoU over the classes with labelled pixels: no jump at another's first."""
    confusion = np.array(row['confusion'])
    hits, labelled = confusion.diagonal(), confusion.sum(axis=1)
    union = labelled + confusion.sum(axis=0) - hits
    return float(100 * (hits[labelled > 0] / union[labelled > 0]).mean())
