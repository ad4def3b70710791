from collections.abc import Callable

import pytest
from mmengine.config import ConfigDict

BACKBONES = {
    'mobilenet-v2': (dict(type='mmpretrain.MobileNetV2', widen_factor=0.35), (6,), 112),
    'resnet-18': (dict(type='mmpretrain.ResNet', depth=18), (3,), 512),
    'mobilenet-v3': (dict(type='mmpretrain.MobileNetV3', arch='small_075'), (12,), 432),
}


@pytest.fixture(scope='session')
def model_config() -> Callable[..., ConfigDict]:
    """A function that makes the config of a small segmentor; ``changes`` are keys at its top."""

    def config(
        backbone: str = 'mobilenet-v2', head: str = 'DeepLabV3Head', classes: int = 19, **changes
    ) -> ConfigDict:
        network, out_indices, channels = BACKBONES[backbone]
        decode_head = dict(type=head, in_channels=channels, in_index=0, channels=16, num_classes=classes)
        decode_head |= dict(norm_cfg=dict(type='BN'), loss_decode=dict(type='CrossEntropyLoss'))
        if 'ASPP' in head or 'DeepLab' in head:
            decode_head['dilations'] = (1, 2)
        model = dict(
            type='StudyEncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)),
            backbone=dict(type='AtrousBackbone', backbone=network, out_indices=out_indices),
            decode_head=decode_head,
            train_cfg=dict(),
            test_cfg=dict(mode='whole', output='labels'),
        )
        return ConfigDict(model | changes)

    return config
