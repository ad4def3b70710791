# DeepLabV3+ on VainF's MobileNetV2 with its head.
_base_ = './deeplabv3_mobilenet-v2-padded-os16.py'
model = dict(
    backbone=dict(out_indices=(1, 6)),
    decode_head=dict(type='DeepLabV3PlusHead', in_index=1, c1_in_channels=24),
)
