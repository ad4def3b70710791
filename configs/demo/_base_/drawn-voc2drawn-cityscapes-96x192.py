# The demonstration's adaptation stage: street scenes drawn in Cityscapes' label space.
# tools/demo.py draws them; they are procedural pictures, not photographs.
_base_ = '../../_base_/adaptation.py'
data_root = '{{$DEMO_ROOT:data/demo}}/drawn-cityscapes'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=4,
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
val_evaluator = [dict(type='AdaptationMetric', source='voc'), dict(type='BoundaryMetric')]
test_evaluator = val_evaluator
# How much of the source is forgotten on the way.
source_val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PascalVOCDataset',
        data_root='{{$DEMO_ROOT:data/demo}}/drawn-voc/VOCdevkit/VOC2012',
        ann_file='ImageSets/Segmentation/val.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        pipeline=test_pipeline,
    ),
)
custom_hooks = [
    dict(type='HeadTransferHook', source='voc', target='cityscapes'),
    dict(type='AdaptationHook', forgetting=dict(dataloader=source_val_dataloader, interval=4)),
]
# The study's ratio of head to backbone (10), at 40 times its rates: the run is shorter. They rise slowly enough
# to see what the source has brought.
optim_wrapper = dict(optimizer=dict(lr=0.04))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=25, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=0, begin=25, end=100, by_epoch=False),
]
train_cfg = dict(max_iters=100)
default_hooks = dict(checkpoint=dict(interval=20, save_best=None))
randomness = dict(seed=0)
