"""Whether a state dict is that of a model."""

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

# The parts that a checkpoint must have whole, and the options by which they differ.
_OPTIONS = {
    'backbone': 'type, depth and width',
    'decode_head': 'type, num_classes, channels, dilations and refine',
}


def check_fits(state_dict: Mapping[str, Tensor], model: nn.Module) -> None:
    """Refuse a state dict that is not that of the model's backbone and decode head.

    MMEngine only warns of weights that are missing, of another shape or of no place (a deeper network's), and
    trains what is left. A missing auxiliary head and keys of other parts are left to that warning.

    Raises:
        ValueError: lists the first few keys of each kind, the modules they are in, and what to correct.
    """
    given, own = (
        {key: value for key, value in state.items() if _is_asked_for(key)}
        for state in (state_dict, model.state_dict())
    )
    missing = [key for key in own if key not in given]
    mismatched = [key for key in own if key in given and given[key].shape != own[key].shape]
    surplus = [key for key in given if key not in own]
    if not missing + mismatched + surplus:
        return
    problems = []
    if missing or mismatched:
        shapes = [f'{key} {tuple(given[key].shape)} for {tuple(own[key].shape)}' for key in mismatched[:3]]
        problems.append(f'{len(missing)} keys are missing, first {missing[:3]}')
        problems.append(f'{len(mismatched)} have another shape, first {shapes}')
    if surplus:
        problems.append(f'the model has no place for {len(surplus)} of its keys, first {surplus[:3]}')
    modules = dict.fromkeys('.'.join(key.split('.')[:2]) for key in missing + mismatched + surplus)
    parts = dict.fromkeys(module.split('.')[0] for module in modules)
    cure = ' and '.join(f'model.{part} the {_OPTIONS[part]}' for part in parts)
    raise ValueError(
        f'the checkpoint does not fit the model: {"; ".join(problems)}. They differ in '
        f'{", ".join(list(modules)[:6])}: give {cure} that it was trained with'
    )


def output_stride_of(network: Mapping[str, Any]) -> int:
    """The output stride of a network as ``check_network`` takes it."""
    return 2 * prod(network['strides'])  # the stem halves, too


def check_network(network: Mapping[str, Any], model: nn.Module) -> None:
    """Refuse a model in which a checkpoint's weights would be another network's.

    Args:
        network: what ``load_from_tflite`` says of it: MobileNetV2's ``widen_factor``, the ``strides`` and
            ``dilations`` of its depthwise convolutions, and ``normalisation`` of images, (mean, std) or None.
        model: a segmentor around ``AtrousBackbone`` of MobileNetV2.

    Raises:
        ValueError: names what differs, and the options that make the model the checkpoint's.
    """
    depthwise = [
        module
        for module in model.backbone.modules()
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
    ]
    own = {
        'strides': [conv.stride[0] for conv in depthwise],
        'dilations': [conv.dilation[0] for conv in depthwise],
    }
    for key, values in own.items():
        if network[key] != values:
            stride, width = output_stride_of(network), network['widen_factor']
            raise ValueError(
                f'the checkpoint is a MobileNetV2 of width {width} at output stride {stride}, whose '
                f'depthwise {key} are {network[key]}, and those of model.backbone are {values}: give '
                f'model.backbone.output_stride={stride}, model.backbone.dilated=all_blocks and '
                f'model.backbone.backbone.widen_factor={width}'
            )
    if network['normalisation'] is None:
        return
    preprocessor = model.data_preprocessor
    for name, expected in zip(('mean', 'std'), network['normalisation'], strict=True):
        given = getattr(preprocessor, name, torch.zeros(1)).flatten().tolist()
        if any(abs(value - expected) > 0.1 for value in given):
            raise ValueError(
                f'the checkpoint takes images as (x - {network["normalisation"][0]:g}) / '
                f'{network["normalisation"][1]:g}, and model.data_preprocessor has {name}={given}: give '
                f'model.data_preprocessor.{name}={[expected] * 3}'
            )


def _is_asked_for(name: str) -> bool:
    # Files older than PyTorch 0.4.1 do not count batches.
    return name.split('.')[0] in _OPTIONS and not name.endswith('num_batches_tracked')
