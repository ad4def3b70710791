# DeepLabV3+ on mmpretrain's ResNet-50 with VainF's head.
_base_ = './deeplabv3_r50-os16.py'
model = dict(decode_head=dict(type='DeepLabV3PlusHead', c1_in_channels=256))
