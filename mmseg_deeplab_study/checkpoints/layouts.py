"""How the peers name what we name otherwise, and checks of their files."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmpretrain.models.backbones import MobileNetV2
from mmseg.registry import MODELS
from mmseg.utils import get_classes
from torch import Tensor, nn

from ..digests import file_digest
from .bare_state import bare_state
from .safe_loading import load_plain

DATASET_BY_CLASSES = {21: 'voc', 19: 'cityscapes'}
NORM = dict(type='BN', requires_grad=True)
BY_STRIDE = {8: (1, 12, 24, 36), 16: (1, 6, 12, 18)}
RESNET_PAIRS = (('backbone.', 'backbone.'),)

# (peer's prefix, our prefix); the first that fits counts.
Pairs = tuple[tuple[str, str], ...]


class Layout(NamedTuple):
    """One published architecture: the peer's names for it, and our model of it.

    ``marks`` are key prefixes that tell it from others, ``channels`` those of its first and last feature map,
    ``dilations`` ASPP's rates by output stride; a checkpoint does not say which stride it had.
    """

    peer: str
    name: str
    marks: tuple[str, ...]
    pairs: Pairs
    backbone: dict
    channels: tuple[int, int]
    output_stride: int
    dropout: float
    dilations: Mapping[int, tuple[int, ...]] = BY_STRIDE
    out_indices: tuple[int, ...] = (0, 1, 2, 3)
    plus: bool = False
    auxiliary: tuple[int, int] | None = None  # channels, in_index


def conv_norm(peer: str, ours: str, conv: str = '0', norm: str = '1') -> Pairs:
    """A convolution and its batch norm, at the peer items of a ``Sequential``."""
    return ((f'{peer}.{conv}.', f'{ours}.conv.'), (f'{peer}.{norm}.', f'{ours}.bn.'))


def aspp_pairs(peer: str) -> Pairs:
    """The four branches of ASPP, its pooling branch and its projection."""
    branches = (conv_norm(f'{peer}.convs.{i}', f'decode_head.aspp.{i}') for i in range(4))
    pool = conv_norm(f'{peer}.convs.4', 'decode_head.image_pool.1', '1', '2')
    return (*pool, *chain(*branches), *conv_norm(f'{peer}.project', 'decode_head.project'))


def v3_pairs(peer: str) -> Pairs:
    """DeepLabV3's head: ASPP, 3x3 refinement, classifier."""
    refine = conv_norm(peer, 'decode_head.refine', '1', '2')
    return (*aspp_pairs(f'{peer}.0'), *refine, (f'{peer}.4.', 'decode_head.conv_seg.'))


def mobilenet_v2_blocks() -> list[tuple[str, bool]]:
    """mmpretrain's names of MobileNetV2's blocks, and whether each expands."""
    stages = enumerate(MobileNetV2.arch_settings, 1)
    return [(f'layer{k}.{i}', expand != 1) for k, (expand, _, count, _) in stages for i in range(count)]


def model_config(
    layout: Layout, num_classes: int, output_stride: int | None = None, auxiliary: bool = False
) -> dict:
    """Our model of a published one, as an MMSeg config of its backbone and heads."""
    output_stride = output_stride or layout.output_stride
    common = dict(num_classes=num_classes, norm_cfg=NORM)
    head = dict(
        **common,
        type='DeepLabV3Head',
        in_channels=layout.channels[1],
        in_index=3,
        dilations=layout.dilations[output_stride],
        aspp_dropout_ratio=layout.dropout,
    )
    if layout.plus:
        head.update(type='DeepLabV3PlusHead', c1_in_channels=layout.channels[0])
    backbone = dict(backbone=layout.backbone, output_stride=output_stride, out_indices=layout.out_indices)
    parts = dict(backbone=dict(type='AtrousBackbone', **backbone), decode_head=head)
    if auxiliary and layout.auxiliary is not None:
        channels, index = layout.auxiliary
        parts['auxiliary_head'] = dict(
            **common,
            type='FCNHead',
            in_channels=channels,
            in_index=index,
            channels=channels // 4,
            num_convs=1,
            concat_input=False,
        )
    return parts


def rename(state: Mapping[str, Tensor], pairs: Pairs) -> tuple[dict[str, Tensor], list[str]]:
    """Rename keys by prefix; return the state and the keys without a new name."""
    renamed, unknown = {}, []
    for key, value in state.items():
        new = next((new + key[len(old) :] for old, new in pairs if key.startswith(old)), None)
        if new is None:
            unknown.append(key)
        else:
            renamed[new] = value
    return renamed, unknown


def recognise(keys: Iterable[str], layouts: Sequence[Layout]) -> Layout:
    """Find the published architecture that keys belong to; ValueError lists what is known."""
    keys = tuple(keys)
    fitting = [x for x in layouts if all(any(key.startswith(mark) for key in keys) for mark in x.marks)]
    if not fitting:
        known = ', '.join(f'{layout.peer} {layout.name}' for layout in layouts)
        raise ValueError(f'none of the known checkpoints ({known}): {len(keys)} keys, first {list(keys[:3])}')
    return fitting[-1]


def peer_state(checkpoint: Any) -> dict[str, Tensor]:
    """Take the state dict out of a peer's file; ValueError if it is not a dict of tensors."""
    state = bare_state(checkpoint)
    if not state:
        raise ValueError('expected a state dict, got dict without entries')
    if strange := [key for key, value in state.items() if not isinstance(value, Tensor)]:
        raise ValueError(
            f'expected a state dict of tensors, but {len(strange)} entries are not, first {strange[:3]}'
        )
    return state


def build_parts(parts: Mapping[str, dict]) -> nn.ModuleDict:
    """A backbone and heads, without the segmentor around them, from their configs."""
    return nn.ModuleDict({name: MODELS.build(config) for name, config in parts.items()})


def expected_shapes(parts: Mapping[str, dict]) -> dict[str, torch.Size]:
    """Keys and shapes of a model given by the configs of its parts."""
    # Not on the meta device, where mmpretrain's ResNet cannot be built; loading draws no random numbers.
    with torch.random.fork_rng(devices=[]):
        return {key: value.shape for key, value in build_parts(parts).state_dict().items()}


def import_state(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Rename a peer's state dict to ours; ValueError unless all keys and shapes fit."""
    renamed, surplus = rename(state, layout.pairs)
    rows = renamed.get('decode_head.conv_seg.weight')
    num_classes = 21 if rows is None else len(rows)
    auxiliary = any(key.startswith('auxiliary_head.') for key in renamed)
    expected = expected_shapes(model_config(layout, num_classes, auxiliary=auxiliary))
    surplus += [key for key in renamed if key not in expected]
    # Files older than PyTorch 0.4.1 do not count batches.
    missing = [k for k in expected if k not in renamed and not k.endswith('num_batches_tracked')]
    strange = [
        f'{key} {tuple(value.shape)} for {tuple(expected[key])}'
        for key, value in renamed.items()
        if key in expected and value.shape != expected[key]
    ]
    if missing or surplus or strange:
        raise ValueError(
            f'not a {layout.peer} {layout.name}: {len(missing)} keys are missing, first {missing[:3]}; '
            f'{len(surplus)} are surplus, first {surplus[:3]}; {len(strange)} have another shape, first '
            f'{strange[:3]}'
        )
    return renamed


def export_state(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Rename one of our state dicts to the peer's names; ValueError for keys without one."""
    back = tuple((ours, theirs) for theirs, ours in layout.pairs)
    renamed, unknown = rename(state, back)
    if unknown:
        raise ValueError(
            f'{layout.peer} {layout.name} has no place for {len(unknown)} keys, first {unknown[:3]}'
        )
    return renamed


def load_peer(path: str | Path, layouts: Sequence[Layout], map_location: Any = 'cpu') -> dict:
    """Load a peer's file as an MMSeg checkpoint; raises as ``load_plain`` and ``import_state``."""
    path = Path(path).expanduser()
    data = load_plain(path, map_location or 'cpu')
    try:
        state = peer_state(data)
        layout = recognise(state, layouts)
        state = import_state(state, layout)
    except ValueError as error:
        raise ValueError(f'checkpoint {path}: {error}') from error
    num_classes = len(state['decode_head.conv_seg.weight'])
    meta = {'source_format': f'{layout.peer} {layout.name}', 'source_digest': file_digest(path)}
    if num_classes in DATASET_BY_CLASSES:
        meta['dataset_meta'] = {'classes': tuple(get_classes(DATASET_BY_CLASSES[num_classes]))}
    return {'state_dict': state, 'meta': meta}
