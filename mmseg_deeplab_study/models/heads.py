"""DeepLab heads that hold the weights published outside MMSegmentation."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.aspp_head import ASPPModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class DeepLabV3Head(BaseDecodeHead):
    """DeepLabV3's head, as torchvision, VainF and TensorFlow build it.

    Atrous branches and, last, the image pooling branch; a 1x1 projection of their concatenation to
    ``channels``; dropout; optionally a 3x3 refinement; the classifier. MMSeg's ``ASPPHead`` pools first and
    projects by a 3x3 convolution, so their weights do not fit it. A feature map ``(N, in_channels, H, W)``
    gives logits ``(N, num_classes, H, W)``.

    Source: Chen et al. 2017, https://arxiv.org/abs/1706.05587.

    Args:
        dilations: rate of each branch, as in ``ASPPHead``: 1 is a 1x1 convolution, any other a 3x3.
            TensorFlow's mobile DeepLabV3 has ``(1,)``.
        refine: whether a 3x3 convolution follows the projection (torchvision, VainF: yes; TensorFlow: no).
        aspp_dropout_ratio: elementwise, after the projection (torchvision 0.5; VainF and TensorFlow 0.1).
        dropout_ratio: channelwise, before the classifier, as in MMSeg; the heads above have none.
        kwargs: those of ``BaseDecodeHead``; ``norm_cfg=None`` gives convolutions a bias.
    """

    def __init__(
        self,
        dilations: Sequence[int] = (1, 6, 12, 18),
        refine: bool = True,
        aspp_dropout_ratio: float = 0.1,
        channels: int = 256,
        dropout_ratio: float = 0.0,
        **kwargs,
    ) -> None:
        """See the class."""
        super().__init__(channels=channels, dropout_ratio=dropout_ratio, **kwargs)
        if not dilations:
            raise ValueError('dilations must name at least one branch, such as (1,), but got none')
        layers = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        self.aspp = ASPPModule(dilations, self.in_channels, self.channels, **layers)
        self.image_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), ConvModule(self.in_channels, self.channels, 1, **layers)
        )
        self.project = ConvModule((len(dilations) + 1) * self.channels, self.channels, 1, **layers)
        self.aspp_dropout = nn.Dropout(aspp_dropout_ratio)
        self.refine = (
            ConvModule(self.channels, self.channels, 3, padding=1, **layers) if refine else nn.Identity()
        )

    def _pyramid(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return features ``(N, channels, H, W)`` before refinement."""
        x = self._transform_inputs(inputs)
        # Bilinear resizing of a single pixel is a constant map, with any align_corners.
        pooled = self.image_pool(x).expand(-1, -1, *x.shape[2:])
        return self.aspp_dropout(self.project(torch.cat([*self.aspp(x), pooled], dim=1)))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return logits of the size of the input map."""
        return self.cls_seg(self.refine(self._pyramid(inputs)))


@MODELS.register_module()
class DeepLabV3PlusHead(DeepLabV3Head):
    """DeepLabV3+'s head, as VainF builds it.

    ``DeepLabV3Head``'s pyramid is joined with the first feature map, of ``c1_in_channels`` as MMSeg calls
    them, projected to ``c1_channels``. MMSeg's ``DepthwiseSeparableASPPHead`` has separable convolutions, two
    of them after the join, and pools first. The logits have the size of the first feature map. ``kwargs`` are
    those of ``DeepLabV3Head`` but ``refine``: the 3x3 convolution comes after the join.

    Source: Chen et al. 2018, https://arxiv.org/abs/1802.02611.
    """

    def __init__(self, c1_in_channels: int, c1_channels: int = 48, **kwargs) -> None:
        """See the class."""
        super().__init__(refine=False, **kwargs)
        layers = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        self.low_level = ConvModule(c1_in_channels, c1_channels, 1, **layers)
        self.fuse = ConvModule(c1_channels + self.channels, self.channels, 3, padding=1, **layers)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return logits of the size of the first map."""
        low = self.low_level(inputs[0])
        size = dict(size=low.shape[2:], mode='bilinear', align_corners=self.align_corners)
        high = resize(self._pyramid(inputs), **size, warning=False)
        return self.cls_seg(self.fuse(torch.cat([low, high], dim=1)))
