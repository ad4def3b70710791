# --load-from tflite://checkpoints/deeplabv3_257_mv_gpu.tflite
_base_ = ['../_base_/models/deeplabv3_mobilenet-v2-folded-os16.py', '../_base_/adaptation_camvid.py']
model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(backbone=dict(widen_factor=0.5), output_stride=8),
    decode_head=dict(in_channels=160),
)
