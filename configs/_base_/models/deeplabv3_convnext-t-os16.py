# DeepLabV3 on ConvNeXt-T.
_base_ = './deeplabv3_r50-os16.py'
model = dict(
    backbone=dict(
        backbone=dict(_delete_=True, type='mmpretrain.ConvNeXt', arch='tiny', drop_path_rate=0.4),
    ),
    decode_head=dict(in_channels=768),
)
