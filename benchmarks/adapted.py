"""bfloat16 on a real run: PASCAL's weights on CamVid, validated in either precision."""

import subprocess
import sys
from pathlib import Path

from benchmarks import setups
from mmseg_deeplab_study.evaluation.history import read_history

LEAF = 'configs/camvid/deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid.py'


def measure(weights: str, folder: Path) -> dict[str, list[float]]:
    """mIoU at every validation of two runs that differ in ``eval_dtype`` alone, and so train alike."""
    result = {}
    for dtype in ('float32', 'bfloat16'):
        work_dir = folder / f'camvid_{dtype}'
        command = [sys.executable, 'tools/train.py', LEAF, '--work-dir', str(work_dir), '--overwrite']
        options = ['--cfg-options', f'load_from=tflite://{weights}', f'model.eval_dtype={dtype}']
        subprocess.run([*command, *options], cwd=setups.ROOT, check=True, stdout=subprocess.DEVNULL)
        history = read_history(work_dir / 'adaptation.jsonl')
        result[dtype] = [row['mIoU'] for row in history.rows if row['kind'] == 'validation']
    return result
