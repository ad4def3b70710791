import pytest

from mmseg_deeplab_study.models.atrous import AtrousStep, plan_atrous

# The stem's stride, then one per block: stages of 3, 4, 6 and 3 bottlenecks.
RESNET50 = [4, *(1, 1, 1), *(2, 1, 1, 1), *(2, 1, 1, 1, 1, 1), *(2, 1, 1)]
# The stem's stride, then one per inverted residual: stages of 1, 2, 3, 4, 3, 3 and 1, and conv2.
MOBILENET_V2 = [2, 1, *(2, 1), *(2, 1, 1), *(2, 1, 1, 1), *(1, 1, 1), *(2, 1, 1), 1, 1]


def runs(*steps: tuple[int, tuple[int, int, int, int]]) -> list[AtrousStep]:
    """`(times, (stride, dilation, next_dilation, output_stride))` written out."""
    return [AtrousStep(*step) for times, step in steps for _ in range(times)]


# Columns: stride kept, dilation up to the strided convolution, dilation after it, output stride.
GOLDEN = {
    ('resnet50', 16): runs(
        (1, (4, 1, 1, 4)),
        (3, (1, 1, 1, 4)),
        (1, (2, 1, 1, 8)),
        (3, (1, 1, 1, 8)),
        (1, (2, 1, 1, 16)),
        (5, (1, 1, 1, 16)),
        (1, (1, 1, 2, 16)),  # 16 * 2 > 16: the first block of layer4 keeps dilation 1, then 1 * 2
        (2, (1, 2, 2, 16)),
    ),
    ('resnet50', 8): runs(
        (1, (4, 1, 1, 4)),
        (3, (1, 1, 1, 4)),
        (1, (2, 1, 1, 8)),
        (3, (1, 1, 1, 8)),
        (1, (1, 1, 2, 8)),  # 8 * 2 > 8: layer3 goes from 1 to 1 * 2
        (5, (1, 2, 2, 8)),
        (1, (1, 2, 4, 8)),  # layer4 from 2 to 2 * 2
        (2, (1, 4, 4, 8)),
    ),
    ('mobilenet_v2', 8): runs(
        (1, (2, 1, 1, 2)),
        (1, (1, 1, 1, 2)),
        (1, (2, 1, 1, 4)),
        (1, (1, 1, 1, 4)),
        (1, (2, 1, 1, 8)),
        (2, (1, 1, 1, 8)),
        (1, (1, 1, 2, 8)),  # 8 * 2 > 8
        (6, (1, 2, 2, 8)),
        (1, (1, 2, 4, 8)),
        (4, (1, 4, 4, 8)),
    ),
}


@pytest.mark.parametrize(('name', 'output_stride'), GOLDEN)
def test_golden_plan(name: str, output_stride: int):
    strides = {'resnet50': RESNET50, 'mobilenet_v2': MOBILENET_V2}[name]
    assert plan_atrous(strides, output_stride) == GOLDEN[name, output_stride]


def test_stride_four_becomes_dilation_four():
    # 8 * 4 > 8: dilation 1 * 4, then 4 * 2.
    assert plan_atrous([8, 4, 1, 2, 1], 8) == runs(
        (1, (8, 1, 1, 8)), (1, (1, 1, 4, 8)), (1, (1, 4, 4, 8)), (1, (1, 4, 8, 8)), (1, (1, 8, 8, 8))
    )


@pytest.mark.parametrize('output_stride', [4, 12, 64, None, '16'])
def test_unsupported_output_stride(output_stride: object):
    with pytest.raises(ValueError, match=rf'must be one of \(8, 16, 32\), but got {output_stride!r}'):
        plan_atrous(RESNET50, output_stride)


@pytest.mark.parametrize(
    ('strides', 'output_stride', 'reached'),
    [
        ([4, 2, 2], 32, 16),  # 4 * 2 * 2 = 16
        ([2, 3], 8, 6),  # 2 * 3 = 6
        ([16], 8, 1),  # the first stride already goes beyond
        ([], 8, 1),
    ],
)
def test_strides_that_do_not_reach(strides: list[int], output_stride: int, reached: int):
    with pytest.raises(ValueError, match=rf'cannot have output_stride {output_stride}: they reach {reached}'):
        plan_atrous(strides, output_stride)
