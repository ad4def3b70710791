"""A real run on CamVid: does it train and validate as with stock's segmentor?"""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import setups
from mmseg_deeplab_study.runs.history import read_history

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
        rows = read_history(work_dir).validations
        result[name] = {
            'loss': [line['loss'] for line in map(json.loads, lines) if 'loss' in line],
            'miou': [row['mIoU'] for row in rows],
            'labelled': [row['mIoU.labelled'] for row in rows],
        }
    return result
