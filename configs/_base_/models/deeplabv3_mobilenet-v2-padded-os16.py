# VainF's MobileNetV2, which pads before the expansion: for its checkpoints.
_base_ = './deeplabv3_mobilenet-v2-os16.py'
model = dict(backbone=dict(backbone=dict(type='PreExpandPadMobileNetV2')))
