"""Learning rates that fall from the head through the layers of the backbone."""

from collections.abc import Callable
from functools import partial

from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from mmseg.models.backbones import MixVisionTransformer
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(LearningRateDecayOptimWrapperConstructor):
    """mmpretrain's layer-wise learning rate decay, with a rate for the head.

    Beside MMSeg's ``LayerDecayOptimizerConstructor`` (now ``LearningRateDecayOptimizerConstructor``), which
    knows the layers of ConvNeXt, BEiT and MAE, this one adds every backbone that says its depths, SegFormer's
    MiT, and ``head_lr_mult``.

    ``paramwise_cfg`` is mmpretrain's, and ``head_lr_mult`` (default 1) multiplies the rate of all that is not
    the backbone. Layer l of a backbone, from 0 for the stem, has the rate
    ``lr * layer_decay_rate ** (L - l)``: ``lr`` at depth L, of the last norm, and once decayed in the last
    block. A norm of ``MixVisionTransformer`` but the last is of its stage's depth. A backbone that does not
    say its depths (MobileNetV2, a ResNet that mmpretrain has no table for) has the rate ``lr`` throughout.

    Raises:
        ValueError: a rate in ``custom_keys``, which this constructor would ignore.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        for key, custom in ((paramwise_cfg or {}).get('custom_keys') or {}).items():
            if 'lr_mult' in custom:
                raise ValueError(
                    f'paramwise_cfg.custom_keys[{key!r}] has lr_mult={custom["lr_mult"]}, which '
                    f"{type(self).__name__} does not take: the backbone's rates go by layer_decay_rate, the "
                    "head's by head_lr_mult"
                )
        super().__init__(optim_wrapper_cfg, paramwise_cfg)

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        get_layer_depth: Callable[[str], tuple[int, int]] | None = None,
        **kwargs,
    ) -> None:
        """Add the parameters of a module named ``prefix`` to ``params`` with their rates."""
        if get_layer_depth is None:
            get_layer_depth = partial(layer_depth, module.backbone)
        super().add_params(params, module, prefix, get_layer_depth, **kwargs)
        if prefix == '':
            multiplier = self.paramwise_cfg.get('head_lr_mult', 1)
            for group in params:
                if not group['param_name'].startswith('backbone.'):
                    group['lr'] *= multiplier
                    group['lr_scale'] *= multiplier


def layer_depth(backbone: nn.Module, name: str) -> tuple[int, int]:
    """The depth of a segmentor's parameter, from 0, and the number of depths.

    The stem or first patches are at 0, what is not the backbone's is deepest.
    """
    network = getattr(backbone, 'network', backbone)  # inside AtrousBackbone
    if isinstance(network, MixVisionTransformer):
        return _depth_in_mit(network, name)
    if not hasattr(network, 'get_layer_depth'):
        return 1, 2
    try:
        return network.get_layer_depth(name, 'backbone.')
    except NotImplementedError:  # a ResNet that mmpretrain has no table for
        return 1, 2


def _depth_in_mit(network: MixVisionTransformer, name: str) -> tuple[int, int]:
    depths = sum(network.num_layers) + 2
    if not name.startswith('backbone.layers.'):
        return depths - 1, depths
    stage, part, *block = name.removeprefix('backbone.layers.').split('.')
    before, blocks = sum(network.num_layers[: int(stage)]), network.num_layers[int(stage)]
    if part == '0':
        return before, depths
    if part == '1':
        return before + int(block[0]) + 1, depths
    is_last = int(stage) == network.num_stages - 1
    return before + blocks + is_last, depths
