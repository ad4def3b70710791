_base_ = ['../_base_/models/deeplabv3_mobilenet-v2-os16.py', './_base_/drawn-voc-96x96.py']
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(norm_momentum=0.1),
    decode_head=dict(num_classes=21, channels=128, dilations=(1, 2, 4, 6)),
)
