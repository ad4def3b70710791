# DeepLabV3+ on mmpretrain's ResNet-50 with VainF's head.
_base_ = './deeplabv3_r50-os16.py'
model = dict(
    backbone=dict(out_indices=(0, 3)),
    decode_head=dict(type='DeepLabV3PlusHead', in_index=1, c1_in_channels=256),
)
