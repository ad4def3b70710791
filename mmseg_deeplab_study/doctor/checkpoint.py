"""Say what a checkpoint is and how to load it, and check what a config names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .findings import Finding
from .packages import NAME, ROOT, is_clone, load_alone

SCHEMES = ('vainf', 'tvseg', 'tflite')  # as in checkpoints.conversion, which needs torch
LABEL_SPACES = {21: 'as many as PASCAL VOC has', 19: 'as many as Cityscapes has'}


def check_checkpoint(load_from: str | Path, config: Path | None = None) -> Iterator[Finding]:
    """Say what a checkpoint is, and whether its scheme is right.

    Unpickles tensors and plain data alone. The scheme can be left out, unless a ``config`` names the file.
    """
    where = '' if config is None else f'{config}: load_from='
    scheme, _, name = str(load_from).rpartition('://')
    if scheme not in ('', *SCHEMES):
        text = f'{where}{load_from} is downloaded by the run, and was not checked'
        yield Finding('info', 'checkpoint', text, 'download it, and give the file to --checkpoint')
        return
    finding, right = examine(Path(name).expanduser())
    yield finding
    if right is not None and right.rpartition('://')[0] != scheme and (scheme or config):
        text = f'{where}{load_from} does not say what the file is'
        yield Finding('error', 'checkpoint', text, f'load_from={right}')


def examine(path: Path) -> tuple[Finding, str | None]:
    """Say what a checkpoint is, and the ``load_from`` that takes it, or None."""
    stranger = load_alone('checkpoints/strangers.py').what_it_is_not(path)
    if stranger:
        return Finding('error', 'checkpoint', f'{path}: {stranger[0]}', stranger[1]), None
    if finding := import_package('checkpoint', path):
        return finding, None
    try:
        form, load_from, state = read(path)
    except ImportError as error:
        return Finding('error', 'checkpoint', f'{path}: {error}', 'install what it names'), None
    except ValueError as error:
        return refusal(path, error), None
    if load_from is None or not any(key.startswith('decode_head.') for key in state):
        text = f'{path}: {form}, {len(state)} tensors, first {list(state)[:3]}'
        cure = 'docs/checkpoints.md lists what can be read'
        if any(key.startswith('backbone.') for key in state):
            init_cfg = f"dict(type='Pretrained', checkpoint={(load_from or str(path))!r}, prefix='backbone.')"
            cure = f'as a backbone: init_cfg={init_cfg}'
        return Finding('warning', 'checkpoint', text, cure), None
    text = f'{path}: {form}, {classes_of(state)}: load_from={load_from}'
    return Finding('ok', 'checkpoint', text), load_from


def import_package(check: str, path: Path) -> Finding | None:
    """Import the whole package; returns a finding about ``path`` where that fails."""
    if is_clone() and str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    try:
        package = importlib.import_module(NAME)
        if not hasattr(package, 'engine'):
            # `python -m mmseg_deeplab_study.doctor` registers nothing.
            importlib.reload(package)
    except Exception as error:
        text = f'{path}: not checked, because {NAME} cannot be imported ({type(error).__name__}: {error})'
        return Finding('warning', check, text, 'cure that first')
    return None


def read(path: Path) -> tuple[str, str | None, Mapping[str, Any]]:
    """Read what a checkpoint is, its ``load_from`` or None, and its state dict.

    ImportError without the reader's package; ValueError if it is damaged, carries code, or lacks keys.
    """
    from mmseg_deeplab_study.checkpoints import layouts, safe_loading, tflite
    from mmseg_deeplab_study.checkpoints.conversion import CONFIGS, LAYOUTS, SCHEMES

    if tflite.is_tflite(path):
        checkpoint = tflite.load_from_tflite(str(path))
        form = describe_network(checkpoint['meta'].get('network'))
        return form, f'{tflite.SCHEME}{path}', checkpoint['state_dict']
    data = safe_loading.load_plain(path)
    safe_loading.check_sums(path)
    state = layouts.peer_state(data)
    if any(key.startswith('decode_head.') for key in state):
        return describe_mmseg(data), str(path), state
    try:
        layout = layouts.recognise(state, [layout for peer in LAYOUTS.values() for layout in peer])
    except ValueError:
        return 'a state dict of none of the known DeepLabs', None, state
    state = layouts.import_state(state, layout)
    form = f'{layout.peer} {layout.name}'
    fits = f' (configs/{CONFIGS[form]}_*)' if form in CONFIGS else ''
    return form + fits, f'{SCHEMES[layout.peer]}{path}', state


def describe_network(network: Mapping[str, Any] | None) -> str:
    """Say which network of TensorFlow's a file has; without a description, a classifier."""
    from mmseg_deeplab_study.checkpoints.conversion import CONFIGS
    from mmseg_deeplab_study.checkpoints.fitting import output_stride_of

    if network is None:
        return "TensorFlow's MobileNetV2, a classifier of images"
    width, stride = network['widen_factor'], output_stride_of(network)
    name = f'tflite x{width} os{stride}'
    fits = f' (configs/{CONFIGS[name]}_*)' if name in CONFIGS else ''
    form = f"TensorFlow's mobile DeepLabV3 on MobileNetV2 x{width} at output stride {stride}{fits}"
    if network['normalisation'] is None:
        return form
    mean, std = network['normalisation']
    return f'{form}, quantised, images as (x - {mean:g}) / {std:g}'


def describe_mmseg(data: Mapping[str, Any]) -> str:
    """Say what a checkpoint of MMSegmentation's is, and whether it can be resumed."""
    if 'state_dict' not in data:
        wrapped = any(isinstance(value, Mapping) for value in data.values())
        origin = "a training script's" if wrapped else 'a bare'
        return f'{origin} state dict of an MMSegmentation model'
    meta = data['meta'] if isinstance(data.get('meta'), Mapping) else {}
    where = f' at iteration {meta["iter"]}' if 'iter' in meta else ''
    if 'random_states' in data:
        return f'a checkpoint of a run with this project{where}, can be resumed'
    resumable = 'optimizer' in data and 'message_hub' in data
    return f'an MMEngine checkpoint{where}, {"with" if resumable else "without"} what --resume needs'


def classes_of(state: Mapping[str, Any]) -> str:
    """Say how many classes a state dict has."""
    rows = state.get('decode_head.conv_seg.weight')
    if rows is None:
        return 'no decode_head.conv_seg'
    note = f' ({LABEL_SPACES[len(rows)]})' if len(rows) in LABEL_SPACES else ''
    return f'{len(rows)} classes{note}'


def refusal(path: Path, error: ValueError) -> Finding:
    """Say why a file was not read: it has code, is damaged, or is another form."""
    text = str(error)
    if 'HistoryBuffer' in text:
        text += '. This is how MMEngine saves checkpoints without ExactCheckpointHook'
        cure = 'where you trust its maker, save its state_dict alone: docs/troubleshooting.md has the line'
    elif 'carries code' in text:
        cure = 'ask its maker for the state_dict alone, saved by torch.save'
    elif 'TorchScript' in text:
        text, _, cure = text.partition('. Where')
        cure = f'where{cure}'
    elif 'is compressed' in text:
        cure = 'ask its maker for the file as torch.save wrote it'
    elif str(path) in text:
        cure = 'copy or download it again, and compare its size'
    else:
        text, cure = f'{path}: {text}', 'docs/checkpoints.md lists what can be read'
    return Finding('error', 'checkpoint', text.removeprefix('checkpoint '), cure)


def check_config(path: Path) -> Iterator[Finding]:
    """Check that the data roots and the checkpoint that a config names exist."""
    if not path.is_file():
        yield Finding('error', 'config', f'{path}: no such file', 'give the path of a config')
        return
    if finding := import_package('config', path):
        yield finding
        return
    from mmseg_deeplab_study.runs.config import read_config
    from mmseg_deeplab_study.runs.inputs import check_data_roots

    try:
        config = read_config(path)
    except Exception as error:  # it is code
        text = f'{path}: cannot be read as a config ({type(error).__name__}: {error})'
        yield Finding('error', 'config', text, 'correct it')
        return
    try:
        check_data_roots(config, option_prefix=None)
    except (FileNotFoundError, ValueError) as error:
        yield Finding(
            'error', 'config', f'{path}: {error}', 'correct it, then check the data with --data-root DIR'
        )
    else:
        yield Finding('ok', 'config', f'{path}: its data roots are there')
    load_from = config.get('load_from')
    if not load_from:
        cure = 'an adaptation needs its source model: tools/train.py --load-from FILE'
        yield Finding('info', 'config', f'{path}: no load_from', cure)
    else:
        yield from check_checkpoint(load_from, path)
