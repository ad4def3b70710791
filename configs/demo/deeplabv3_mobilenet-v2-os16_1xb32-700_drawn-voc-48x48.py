_base_ = ['../_base_/models/deeplabv3_mobilenet-v2-os16.py', './_base_/drawn-voc-48x48.py']
model = dict(
    data_preprocessor=dict(size=(48, 48)),
    # 0.01 would leave the running statistics behind weights that change as fast as at the start.
    backbone=dict(norm_momentum=0.1),
    decode_head=dict(num_classes=21, channels=128, dilations=(1, 2)),
)
