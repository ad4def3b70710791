# TensorFlow's mobile DeepLabV3 (PASCAL VOC) to CamVid's street photographs, in a minute on a CPU:
#   CAMVID_ROOT=... python tools/train.py THIS --load-from tflite://checkpoints/deeplabv3_257_mv_gpu.tflite
_base_ = ['../_base_/models/deeplabv3_mobilenet-v2-folded-os16.py', '../_base_/adaptation_camvid.py']
model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(backbone=dict(widen_factor=0.5), output_stride=8),
    # MMSeg's mean over all pixels, ignored ones too: by it docs/real_run.md was measured.
    decode_head=dict(in_channels=160, loss_decode=dict(avg_non_ignore=False)),
)
train_cfg = dict(max_iters=60)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0, begin=0, end=60, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval=20))
