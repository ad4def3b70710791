# VainF's DeepLabV3+ on its MobileNetV2 on PASCAL VOC, from ImageNet weights.
#   python tools/train.py THIS
_base_ = [
    '../_base_/models/deeplabv3plus_mobilenet-v2-padded-os16.py',
    '../_base_/datasets/voc12aug.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/source_30k.py',
]
checkpoint = 'https://download.openmmlab.com/mmclassification/v0/mobilenet_v2/mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth'
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')),
    decode_head=dict(num_classes=21),
)
