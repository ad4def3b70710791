"""Classification backbones of mmpretrain as dense feature extractors."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from math import prod

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from .atrous import AtrousStep, plan_atrous
from .families import FAMILIES, build_network, stride_of, windows

# What the adapter sets itself: in the backbone's own dict they would contradict it.
ADAPTER_OPTIONS = ('strides', 'dilations', 'out_indices', 'norm_eval', 'frozen_stages', 'init_cfg')
DILATED = ('all_blocks', 'first_block')


def dilate_block(block: nn.Module, step: AtrousStep, dilate_strided: bool = False) -> None:
    """Give a block's convolutions the stride and the dilations of ``step``, in place.

    With ``dilate_strided`` a convolution that loses its stride gets ``step.next_dilation`` at once.

    Raises:
        ValueError: something other than a convolution downsamples.
    """
    dilation = step.dilation
    for window in windows(block):
        if not isinstance(window, nn.Conv2d):
            raise ValueError(
                f'a stride can become dilation only in a convolution, but got {window} in '
                f'{type(block).__name__} (avg_down=True?)'
            )
        if stride_of(window) > 1:
            # Parallel branches each have a strided convolution: all read the same grid.
            _set_window(window, step.next_dilation if dilate_strided else step.dilation, step.stride)
            dilation = step.next_dilation
        else:
            _set_window(window, dilation, 1)


def _set_window(conv: nn.Conv2d, dilation: int, stride: int) -> None:
    lost = conv.stride[0] // stride
    # A patch convolution's windows met edge to edge; now they begin at every pixel, the last ones over the
    # right and lower edge.
    if lost > 1 and conv.kernel_size == conv.stride:
        conv.register_forward_pre_hook(partial(_pad_right_and_below, dilation * (lost - 1)))
    conv.stride = (stride, stride)
    if conv.kernel_size != (1, 1):
        conv.dilation = (dilation, dilation)
        # "Same" padding grows with the dilation; where there is none, the network pads by itself.
        conv.padding = tuple(padding * dilation for padding in conv.padding)


def _pad_right_and_below(amount: int, conv: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (functional.pad(inputs[0], (0, amount, 0, amount)),)


@MODELS.register_module()
class AtrousBackbone(BaseModule):
    """Give a classification backbone of mmpretrain another output stride.

    The network is built through the registry and its convolutions are given dilations; its state-dict keys
    and shapes stay mmpretrain's, without a prefix. Images of shape ``(N, 3, H, W)`` give one feature map of
    shape ``(N, out_channels[i], H / out_strides[i], W / out_strides[i])``, rounded up, per entry of
    ``out_indices``.

    Args:
        backbone: config of the network, such as ``dict(type='mmpretrain.ResNet', depth=50)``.
        output_stride: stride of the last feature map to the image: 8, 16 or 32.
        dilated: ``'all_blocks'`` of a converted stage, as DeepLab means it, or ``'first_block'`` alone, as
            MMSeg's MobileNetV2 does: for the checkpoints of its zoo, whose keys are mmpretrain's.
        out_indices: the stages to return in rising order, as mmpretrain counts them; -1 is the last.
        norm_eval: keep batch-norm statistics fixed; needed where batch norm was folded into the weights.
        norm_momentum: momentum of the batch-norm statistics in PyTorch's sense; None keeps the network's.
        frozen_stages: -1 trains everything, 0 freezes the stem, n also the first n stages.
        init_cfg: as mmpretrain's; for one of its checkpoints
            ``dict(type='Pretrained', checkpoint=..., prefix='backbone.')``.

    Raises:
        ValueError: an unsupported family or option, or one inside ``backbone`` that is the adapter's.
    """

    def __init__(
        self,
        backbone: dict,
        output_stride: int = 16,
        dilated: str = 'all_blocks',
        out_indices: Sequence[int] = (0, 1, 2, 3),
        norm_eval: bool = False,
        norm_momentum: float | None = None,
        frozen_stages: int = -1,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        """See the class."""
        super().__init__()
        if dilated not in DILATED:
            raise ValueError(f'dilated must be one of {DILATED}, but got {dilated!r}')
        # Before anything is built: a wrong output stride should not cost a ResNet-152.
        plan_atrous((output_stride,), output_stride)
        network, family, wanted = build_network(
            'AtrousBackbone', FAMILIES, ADAPTER_OPTIONS, backbone, out_indices, init_cfg
        )
        # Both share one table of modules, so that the state dict, the optimizer and what swaps a module
        # (SyncBN) see mmpretrain's own names. As a child, the network would put a prefix before every key.
        object.__setattr__(self, 'network', network)
        self._modules = network._modules
        family.keep(network, wanted[-1] + 1)
        stem, stages = family.stem(network), family.blocks(network)
        if not -1 <= frozen_stages <= len(stages):
            raise ValueError(f'frozen_stages must be in [-1, {len(stages)}], but got {frozen_stages}')
        strides = [prod(map(stride_of, windows(*stem)))]
        strides += [max(map(stride_of, windows(block)), default=1) for block in chain(*stages)]
        steps, reached = iter(plan_atrous(strides, output_stride)[1:]), []
        for stage in stages:
            for i, block in enumerate(stage):
                step = next(steps)
                if dilated == 'first_block':
                    dilation = step.next_dilation if i == 0 else 1
                    step = step._replace(dilation=dilation, next_dilation=dilation)
                dilate_block(block, step, family.dilate_strided)
            reached.append(step.output_stride)
        self.out_strides = tuple(reached[i] for i in wanted)
        self.out_channels = tuple(family.channels(stages[i]) for i in wanted)
        self.norm_eval = norm_eval
        frozen = [*stem, *chain(*stages[:frozen_stages])] if frozen_stages >= 0 else []
        for module in frozen:
            module.requires_grad_(False)
        # By name: conversion to SyncBN puts another module in the place of the stem's norm.
        self._frozen = tuple(name for name, module in self.named_modules() if module in frozen)
        if norm_momentum is not None:
            for norm in self._norms():
                norm.momentum = norm_momentum

    def _norms(self) -> Iterator[_BatchNorm]:
        return (module for module in self.modules() if isinstance(module, _BatchNorm))

    def init_weights(self) -> None:
        """Initialise as mmpretrain does, ``init_cfg`` included."""
        # Inside a model BaseModule keeps a list of initialised parameters. The network is not registered, so
        # it does not get that by itself.
        if initialised := self.__dict__.get('_params_init_info'):
            self.network._params_init_info = initialised
        self.network.init_weights()
        self.network.__dict__.pop('_params_init_info', None)

    def train(self, mode: bool = True) -> 'AtrousBackbone':
        """Switch the mode; frozen stages and norms under ``norm_eval`` stay evaluating."""
        super().train(mode)
        self.network.training = mode
        for name in self._frozen:
            self.get_submodule(name).eval()
        if self.norm_eval:
            for norm in self._norms():
                norm.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return one map per entry of ``out_indices``."""
        return self.network(images)
