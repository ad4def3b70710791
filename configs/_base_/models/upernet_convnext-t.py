# UPerNet on ConvNeXt-T.
_base_ = './upernet_swin-t.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='AtrousBackbone',
        backbone=dict(type='mmpretrain.ConvNeXt', arch='tiny', drop_path_rate=0.4),
        output_stride=32,
    ),
)
