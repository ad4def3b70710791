"""Turn stride into dilation: the arithmetic of atrous convolution."""

from collections.abc import Sequence
from typing import NamedTuple

SUPPORTED_OUTPUT_STRIDES = (8, 16, 32)


class AtrousStep(NamedTuple):
    """A downsampling step (a stem or a block) of a backbone.

    It keeps ``stride``; its convolutions up to and including the strided one have ``dilation``, those after
    it ``next_dilation``. ``output_stride`` is the stride of its output to the image.
    """

    stride: int
    dilation: int
    next_dilation: int
    output_stride: int


def plan_atrous(strides: Sequence[int], output_stride: int) -> list[AtrousStep]:
    """Turn every stride beyond ``output_stride`` into dilation.

    ``strides`` are those of a backbone's stem and blocks, in the order the data takes. A convolution that
    lost its stride still reads the old grid, so it keeps the previous dilation; all that follows is dilated
    more. The network then computes the strided one's output at more places: ``dilated(x)[..., ::s, ::s] ==
    strided(x)``.

    Source: Chen et al. 2017, https://arxiv.org/abs/1706.05587, section 3.1.

    Raises:
        ValueError: the output stride is not supported, or the strides do not multiply to it.
    """
    if output_stride not in SUPPORTED_OUTPUT_STRIDES:
        raise ValueError(
            f'output_stride must be one of {SUPPORTED_OUTPUT_STRIDES}, but got {output_stride!r}'
        )
    steps, reached, dilation = [], 1, 1
    for stride in strides:
        if reached * stride <= output_stride:
            reached *= stride
            steps.append(AtrousStep(stride, dilation, dilation, reached))
        else:
            steps.append(AtrousStep(1, dilation, dilation * stride, reached))
            dilation *= stride
    if reached != output_stride:
        raise ValueError(
            f'a backbone with strides {tuple(strides)} cannot have output_stride {output_stride}: '
            f'they reach {reached}'
        )
    return steps
