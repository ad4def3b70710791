# --load-from tflite://checkpoints/deeplabv3_mnv2_pascal_quant.tflite
_base_ = ['../_base_/models/deeplabv3_mobilenet-v2-folded-os16.py', '../_base_/adaptation_camvid.py']
