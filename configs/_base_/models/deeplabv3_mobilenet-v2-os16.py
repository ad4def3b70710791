# DeepLabV3 on mmpretrain's MobileNetV2: the ResNet-50 model with another backbone.
_base_ = './deeplabv3_r50-os16.py'
model = dict(
    backbone=dict(backbone=dict(_delete_=True, type='mmpretrain.MobileNetV2'), out_indices=(6,)),
    decode_head=dict(in_channels=320),
)
