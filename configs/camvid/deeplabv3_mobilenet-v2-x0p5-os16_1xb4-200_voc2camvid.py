# --load-from tflite://checkpoints/deeplabv3_mnv2_dm05_pascal_quant.tflite
_base_ = ['../_base_/models/deeplabv3_mobilenet-v2-folded-os16.py', '../_base_/adaptation_camvid.py']
model = dict(backbone=dict(backbone=dict(widen_factor=0.5)), decode_head=dict(in_channels=160))
