# The demonstration's source stage: single objects drawn in PASCAL VOC's label space, learnt from scratch.
# tools/demo.py draws them; they are procedural pictures, not photographs.
_base_ = [
    'mmseg::_base_/datasets/pascal_voc12.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_20k.py',
]
custom_imports = dict(imports=['mmseg_deeplab_study'])
custom_hooks = [dict(type='BareCheckpointHook')]  # the adaptation stage loads the last checkpoint
data_root = '{{$DEMO_ROOT:data/demo}}/drawn-voc/VOCdevkit/VOC2012'
crop_size = (96, 96)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=crop_size, ratio_range=(0.5, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
# Such small pictures are read faster than a worker process starts.
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
# From scratch there is nothing to protect: one rate for head and backbone, after a warm-up.
optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=0.0001))
warm_up = 30
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=warm_up, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=0, begin=warm_up, end=300, by_epoch=False),
]
train_cfg = dict(max_iters=300, val_interval=300)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=300, save_optimizer=False))
randomness = dict(seed=0)
