# From ImageNet alone, with a new head: what PASCAL VOC adds.
_base_ = ['../_base_/models/deeplabv3_mobilenet-v2-folded-os16.py', '../_base_/adaptation_camvid.py']
weights = 'tflite://checkpoints/mobilenet_v2_1.0_224_quant.tflite'
model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=weights, prefix='backbone.')))
custom_hooks = [dict(type='AdaptationHook')]
