# TensorFlow's mobile DeepLabV3 (PASCAL VOC) to CamVid's street photographs, in a minute on a CPU:
#   CAMVID_ROOT=... python tools/train.py THIS --load-from tflite://deeplabv3_257_mv_gpu.tflite
# 92 photographs to train on, 26 to validate on, 480x360, in the Cityscapes layout.
_base_ = ['../_base_/models/deeplabv3_mobilenet-v2-os16.py', '../_base_/adaptation.py']
data_root = '{{$CAMVID_ROOT:data/camvid_cityscapes}}'
crop_size = (257, 257)
model = dict(
    # The weights want images in [-1, 1], and odd sizes (TensorFlow pads even ones on one side only).
    data_preprocessor=dict(
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        size=crop_size,
        test_cfg=dict(size=(361, 481)),
    ),
    # Their batch norm is folded: fixed statistics in the backbone, no norm in the head.
    backbone=dict(backbone=dict(widen_factor=0.5), output_stride=8, norm_eval=True, norm_momentum=None),
    decode_head=dict(
        in_channels=160,
        dilations=(1,),
        refine=False,
        norm_cfg=None,
        align_corners=True,
        # MMSeg's mean over all pixels, ignored ones too: by it docs/real_run.md was measured.
        loss_decode=dict(avg_non_ignore=False),
    ),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=4, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=60)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0, begin=0, end=60, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval=20))
randomness = dict(seed=0)
