# The source model of DeepLabV3 on MiT-B0, from ImageNet weights.
#   python tools/train.py THIS
_base_ = [
    '../_base_/models/deeplabv3_mit-b0.py',
    '../_base_/datasets/voc12aug.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/source_30k_adamw.py',
]
checkpoint = (
    'https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer/mit_b0_20220624-7e0fe6dd.pth'
)
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    decode_head=dict(num_classes=21),
)
