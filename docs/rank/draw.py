"""Make drawn sources, rank them, adapt each, and keep what validate.py reads, beside this file.

python docs/rank/draw.py [--work-dir work_dirs/rank] [--jobs 2] [--backbones NAME ...] [--quick]

Sources are checkpoints of the demonstration's source stages at several lengths. What is done is not done
again. --quick tries everything with a few pictures and iterations, and keeps it in the work_dir.
"""

import argparse
import gzip
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmseg_deeplab_study.atomic_file import write_atomically
from mmseg_deeplab_study.datasets.drawn.scenes import write_cityscapes_like, write_voc_like
from mmseg_deeplab_study.runs.history import FILE_NAME
from mmseg_deeplab_study.studies.demo import IMAGES, QUICK_IMAGES, SOURCE_SIZE, TARGET_SIZE

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
CONFIGS = REPO / 'configs/demo'
# Eighths of the source stage, and all of it.
EIGHTHS = (1, 2, 4)
# By name the leaves' beginning, and what is changed in both of them.
BACKBONES = {
    'MobileNetV2': ('deeplabv3_mobilenet-v2-os16', {}),
    'MobileNetV2-x0.5': (
        'deeplabv3_mobilenet-v2-os16',
        {'model.backbone.backbone.widen_factor': 0.5, 'model.decode_head.in_channels': 160},
    ),
    # A step of ResNet-50 takes four times as long.
    'ResNet-18': (
        'deeplabv3_r??-os16',
        {'model.backbone.backbone.depth': 18, 'model.decode_head.in_channels': 512},
    ),
    'SegFormer-B0': ('segformer_mit-b0', {}),
}
QUICK = 8  # iterations
# What an adaptation records beside its scores would take longer than its training.
LEAN = {
    'custom_hooks.1.forgetting': None,
    'custom_hooks.1.snapshots': 0,
    'val_evaluator': [{'type': 'AdaptationMetric', 'source': 'voc'}],
    'default_hooks.checkpoint.interval': 10**6,
    'default_hooks.checkpoint.save_last': False,
}


def leaves(beginning: str) -> tuple[Path, Path]:
    """The demonstration's leaves of a source stage and of the adaptation."""
    (source,) = CONFIGS.glob(f'{beginning}_1xb*_drawn-voc-*.py')
    (target,) = CONFIGS.glob(f'{beginning}_1xb*_drawn-voc2drawn-cityscapes-*.py')
    return source, target


def call(command: list, environment: Mapping[str, str], log: Path) -> None:
    """Run a tool, its output to a file; an error names the end of it."""
    with log.open('a') as file:
        done = subprocess.run(
            [sys.executable, *map(str, command)], env=environment, cwd=REPO, stdout=file, stderr=file
        )
    if done.returncode:
        end = '\n'.join(log.read_text(errors='replace').splitlines()[-12:])
        raise SystemExit(f'{shlex.join(map(str, command))} failed; the end of {log}:\n{end}')


def flags(options: Mapping[str, Any]) -> list[str]:
    """Options as --cfg-options takes them."""
    return ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]


def main() -> None:
    """Draw, train the sources, rank, adapt, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/rank'))
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--backbones', nargs='+', choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument('--quick', action='store_true')
    args = parser.parse_args()
    folder = args.work_dir.resolve()
    kept = folder / 'kept' if args.quick else HERE
    data, images = folder / 'data', QUICK_IMAGES if args.quick else IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    write_voc_like(data / 'drawn-voc', *images[:2], size=SOURCE_SIZE)
    write_cityscapes_like(data / 'drawn-cityscapes', *images[2:], size=TARGET_SIZE)
    environment = {**os.environ, 'DEMO_ROOT': str(data), 'OMP_NUM_THREADS': '1'}
    runs: dict[str, Any] = {}
    stages = []
    for name in args.backbones:
        beginning, options = BACKBONES[name]
        source, target = leaves(beginning)
        iterations = QUICK if args.quick else Config.fromfile(source).train_cfg.max_iters
        place = folder / 'sources' / name
        steps = [*(iterations // 8 * eighths for eighths in EIGHTHS), iterations]
        for step in steps:
            runs[f'{name}-{step}'] = dict(
                config=str(target), options={**options, 'load_from': str(place / f'iter_{step}.pth')}
            )
        if not (place / f'iter_{iterations}.pth').exists():
            every = {'interval': steps[0], 'max_keep_ckpts': -1, 'save_optimizer': False}
            changes = {f'default_hooks.checkpoint.{key}': value for key, value in every.items()}
            changes |= {'train_cfg.max_iters': iterations, 'train_cfg.val_interval': iterations}
            command = [REPO / 'tools/train.py', source, '--work-dir', place, '--overwrite']
            stages.append((command + flags({**options, **changes}), place))
    place_of = {name: run['options']['load_from'] for name, run in runs.items()}

    def train(stage: tuple[list, Path]) -> None:
        call(stage[0], environment, folder / f'{stage[1].name}.log')

    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(train, stages))
    assert all(Path(path).exists() for path in place_of.values()), 'a checkpoint is missing'
    seconds = {'sources': time.monotonic() - begun}

    options = {**LEAN, **({'train_cfg.max_iters': QUICK} if args.quick else {})}
    parts = {'runs': runs, 'options': options, 'environment': {'DEMO_ROOT': str(data)}}
    study = folder / 'drawn.py'
    study.write_text(''.join(f'{key} = {value!r}\n' for key, value in parts.items()))
    begun = time.monotonic()
    call([REPO / 'tools/rank.py', study, '-o', folder / 'drawn.json'], environment, folder / 'rank.log')
    seconds['rank'] = time.monotonic() - begun
    ranking = (folder / 'drawn.json').read_bytes()
    write_atomically(kept / 'drawn.json', ranking.replace(f'{folder}/'.encode(), b''))
    begun = time.monotonic()
    command = [REPO / 'tools/study.py', study, '--work-dir', folder / 'adapted', '--jobs', args.jobs]
    call(command, environment, folder / 'adapted.log')
    seconds['adaptations'] = time.monotonic() - begun
    seconds['of_each'] = {}
    for name in runs:
        run = folder / 'adapted' / name / 'seed0'
        # Without the folder of this machine.
        content = (run / FILE_NAME).read_bytes().replace(f'{folder}/'.encode(), b'')
        place = kept / 'records' / name / 'seed0' / f'{FILE_NAME}.gz'
        write_atomically(place, gzip.compress(content, mtime=0))
        seconds['of_each'][name] = json.loads((run / 'run.json').read_text())['seconds']
    write_atomically(kept / 'seconds.json', (json.dumps(seconds, indent=1) + '\n').encode())


if __name__ == '__main__':
    main()
