# The demonstration's source stage: objects drawn in PASCAL VOC's label space, learnt from scratch.
# tools/demo.py draws them; they are procedural pictures, not photographs.
_base_ = [
    'mmseg::_base_/datasets/pascal_voc12.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_20k.py',
]
custom_imports = dict(imports=['mmseg_deeplab_study'])
data_root = '{{$DEMO_ROOT:data/demo}}/drawn-voc/VOCdevkit/VOC2012'
# Objects are as large as they will be in the streets; crops of half a photo's sides are a quarter of the work.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=(48, 48), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='mmpretrain.ColorJitter', brightness=0.3, contrast=0.3, saturation=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
# Reading takes a tenth of a step: workers would only compete with training for the cores.
train_dataloader = dict(
    batch_size=32,
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
# From random weights there is no schedule of the study to keep to.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=0.003, weight_decay=0.01),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=0, begin=50, end=700, by_epoch=False),
]
train_cfg = dict(max_iters=700, val_interval=700)
default_hooks = dict(
    logger=dict(interval=20),
    # AdamW's state is twice the weights': kept only as long as a resume may need it.
    checkpoint=dict(
        type='ExactCheckpointHook', interval=500, max_keep_ckpts=1, backend_args=dict(backend='atomic')
    ),
    check_finite=dict(type='CheckFiniteHook'),
)
randomness = dict(seed=0)
