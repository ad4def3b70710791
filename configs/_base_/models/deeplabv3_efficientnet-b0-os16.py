# DeepLabV3 on EfficientNet-B0.
_base_ = './deeplabv3_r50-os16.py'
model = dict(
    backbone=dict(backbone=dict(_delete_=True, type='mmpretrain.EfficientNet', arch='b0'), out_indices=(5,)),
    decode_head=dict(in_channels=320),
)
