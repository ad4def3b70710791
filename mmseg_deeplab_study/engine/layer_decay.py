"""Learning rates that fall from the head through the layers of the backbone."""

from collections.abc import Callable
from functools import partial

from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from mmseg.models.backbones import MixVisionTransformer
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(LearningRateDecayOptimWrapperConstructor):
    """mmpretrain's layer-wise learning rate decay for a segmentor, with a rate of its own for the head.

    ``paramwise_cfg`` is as mmpretrain's and has ``head_lr_mult`` (default 1) as well, which the rate of all
    that is not the backbone is multiplied with. Layer l of a backbone, counted from 0 for the stem, has the
    rate ``lr * layer_decay_rate ** (L - l)``: ``lr`` at depth L, of the last norm, and once decayed in the
    last block. mmpretrain's networks say their depths themselves, MMSeg's ``MixVisionTransformer`` is counted
    here, its norms with their stages; a backbone that does not say (MobileNetV2, a ResNet of another depth
    than mmpretrain knows) has the rate ``lr`` throughout.
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        get_layer_depth: Callable[[str], tuple[int, int]] | None = None,
        **kwargs,
    ) -> None:
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
    """The depth of a segmentor's parameter, from 0 for the first patches or the stem, and how many there are.

    What is not the backbone's lies deepest.
    """
    network = getattr(backbone, 'network', backbone)  # inside AtrousBackbone
    if isinstance(network, MixVisionTransformer):
        return _depth_in_mit(network, name)
    if not hasattr(network, 'get_layer_depth'):
        return 1, 2
    try:
        return network.get_layer_depth(name, 'backbone.')
    except NotImplementedError:  # mmpretrain's ResNet, of a depth that it has no table for
        return 1, 2


def _depth_in_mit(network: MixVisionTransformer, name: str) -> tuple[int, int]:
    depths = sum(network.num_layers) + 2
    if not name.startswith('backbone.layers.'):
        return depths - 1, depths
    stage, part, *block = name.removeprefix('backbone.layers.').split('.')
    before = sum(network.num_layers[: int(stage)])
    within = {'0': 0, '1': int(block[0]) + 1 if part == '1' else 0, '2': network.num_layers[int(stage)]}
    return before + within[part], depths
