# The source model of U-Net, from random weights.
#   python tools/train.py THIS
_base_ = [
    '../_base_/models/unet-s5-d16.py',
    '../_base_/datasets/voc12aug.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/source_30k.py',
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(num_classes=21),
)
# What is called backbone is all but the classifier, and nothing of it is pretrained.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0))))
