"""Learning rates of a segmentor's layers, from the depths that its backbone says."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmseg.registry import MODELS
from torch import nn

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
VIT = dict(embed_dims=48, num_layers=3, num_heads=3, feedforward_channels=96)
SWIN = dict(embed_dims=24, depths=[1, 2], num_heads=[1, 2])
BACKBONES = {
    'vit': dict(type='mmpretrain.VisionTransformer', arch=VIT),
    'swin': dict(type='mmpretrain.SwinTransformer', arch=SWIN),
    'mit': dict(type='MixVisionTransformer', embed_dims=8, num_layers=[1, 2, 1, 1], num_heads=[1, 2, 5, 8]),
    'convnext': dict(type='mmpretrain.ConvNeXt', arch=dict(depths=[1] * 4, channels=[8] * 4)),
    # These two do not say their depths.
    'mobilenet': dict(type='mmpretrain.MobileNetV2'),
    'resnet': dict(type='mmpretrain.ResNet', depth=18),
}
TRANSFORMERS = ('vit', 'swin', 'mit')
# Rates as powers of the decay, of parameters from the images to the head.
POWERS = {
    'vit': {
        'cls_token': 4,
        'patch_embed.projection.weight': 4,
        'layers.0.ln1.weight': 3,
        'layers.2.ln1.weight': 1,
    },
    'swin': {
        'patch_embed.projection.weight': 4,
        'stages.0.blocks.0.norm1.weight': 3,
        'stages.0.downsample.reduction.weight': 3,
        'stages.1.blocks.1.norm1.weight': 1,
    },
    'mit': {
        'layers.0.0.projection.weight': 6,
        'layers.0.1.0.norm1.weight': 5,
        'layers.0.2.weight': 5,
        'layers.1.0.projection.weight': 5,
        'layers.1.1.1.norm1.weight': 3,
        'layers.3.1.0.norm1.weight': 1,
        'layers.3.2.weight': 0,
    },
    'convnext': {'downsample_layers.0.0.weight': 7, 'stages.0.0.norm.weight': 6, 'stages.3.0.norm.weight': 1},
}


def build(name: str) -> nn.Module:
    kind = 'TransformerBackbone' if name in TRANSFORMERS else 'AtrousBackbone'
    backbone = dict(type=kind, backbone=BACKBONES[name], out_indices=(-1,))
    head = dict(type='FCNHead', in_channels=1, in_index=0, channels=4, num_classes=2, num_convs=1)
    return MODELS.build(dict(type='EncoderDecoder', backbone=backbone, decode_head=head))


def groups_of(model: nn.Module, **paramwise) -> dict[str, dict]:
    config = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.05))
    config['constructor'] = 'LayerDecayOptimWrapperConstructor'
    wrapper = build_optim_wrapper(model, config | dict(paramwise_cfg=dict(layer_decay_rate=0.5, **paramwise)))
    return {group['param_name']: group for group in wrapper.optimizer.param_groups}


@pytest.mark.parametrize('name', POWERS)
def test_rates_fall_from_the_head_to_the_images(name):
    model = build(name)
    groups = groups_of(model, head_lr_mult=10)
    assert set(groups) == {key for key, _ in model.named_parameters()}
    assert groups['decode_head.conv_seg.weight']['lr'] == 0.1
    assert groups['decode_head.convs.0.conv.weight']['lr'] == 0.1
    assert groups['decode_head.conv_seg.weight']['lr_scale'] == 10
    for key, power in POWERS[name].items():
        assert groups[f'backbone.{key}']['lr'] == pytest.approx(0.01 * 0.5**power), key


def test_without_a_rate_of_its_own_the_head_has_the_base_rate():
    groups = groups_of(build('mit'), norm_decay_mult=0.0)
    assert groups['decode_head.conv_seg.weight']['lr'] == 0.01
    assert groups['backbone.layers.0.1.0.norm1.weight']['weight_decay'] == 0
    assert groups['decode_head.conv_seg.weight']['weight_decay'] == 0.05


@pytest.mark.parametrize('name', POWERS)
def test_the_configs_recipe_spares_all_of_one_dimension_and_positions(name):
    recipe = Config.fromfile(CONFIGS / '_base_/schedules/adamw.py').adamw
    recipe.pop('_delete_')
    model = build(name)
    groups = build_optim_wrapper(model, recipe).optimizer.param_groups
    decays = {group['param_name']: group['weight_decay'] for group in groups}
    positions = ('cls_token', 'pos_embed', 'relative_position_bias_table')
    parameters = dict(model.named_parameters())
    spared = [key for key, value in parameters.items() if value.ndim == 1 or key.endswith(positions)]
    assert decays == {key: 0 if key in spared else 0.01 for key in parameters}
    # Not by their names alone: biases inside of torch's attention, scales of ConvNeXt.
    expected = {'mit': 'in_proj_bias', 'convnext': 'gamma', 'vit': 'pos_embed', 'swin': 'bias_table'}[name]
    assert any(key.endswith(expected) for key in spared)


def test_refuses_a_rate_that_it_would_pass_over():
    message = r"custom_keys\['head'\] has lr_mult=10.0, which LayerDecay.* does not take.*head_lr_mult"
    with pytest.raises(ValueError, match=message):
        groups_of(build('mit'), custom_keys=dict(head=dict(lr_mult=10.0)))


@pytest.mark.parametrize('name', ['mobilenet', 'resnet'])
def test_a_backbone_that_does_not_say_its_depths_has_one_rate(name):
    groups = groups_of(build(name), head_lr_mult=10)
    rates = {(key.startswith('backbone.'), group['lr']) for key, group in groups.items()}
    assert rates == {(True, 0.01), (False, 0.1)}
