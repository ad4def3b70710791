# The source model of UPerNet on DeiT-S, from ImageNet weights.
#   python tools/train.py THIS
_base_ = [
    '../_base_/models/upernet_deit-s16.py',
    '../_base_/datasets/voc12aug.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/source_30k_adamw.py',
]
checkpoint = (
    'https://download.openmmlab.com/mmclassification/v0/deit/deit-small_pt-4xb256_in1k_20220218-9425b9bb.pth'
)
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')),
    decode_head=dict(num_classes=21),
    auxiliary_head=dict(num_classes=21),
)
