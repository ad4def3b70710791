crop_size = (512, 1024)
custom_hooks = [
    dict(
        source=[
            'background',
            'road',
            'sidewalk',
            'building',
            'wall',
            'fence',
            'pole',
            'traffic light',
            'traffic sign',
            'vegetation',
            'terrain',
            'sky',
            'person',
            'rider',
            'car',
            'truck',
            'bus',
            'train',
            'motorcycle',
            'bicycle',
        ],
        target='cityscapes',
        type='HeadTransferHook',
    ),
    dict(
        forgetting=dict(
            dataloader=dict(
                batch_size=1,
                dataset=dict(
                    _scope_='mmseg',
                    data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
                    data_root='w/tiny_cityscapes',
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='LoadAnnotations'),
                        dict(type='PackSegInputs'),
                    ],
                    serialize_data=False,
                    type='CityscapesDataset',
                ),
                num_workers=0,
                persistent_workers=False,
                sampler=dict(_scope_='mmseg', shuffle=False, type='DefaultSampler'),
            ),
            interval=2,
        ),
        snapshots=2,
        type='AdaptationHook',
    ),
]
custom_imports = dict(imports=['mmseg_deeplab_study'])
data_root = 'data/cityscapes/'
dataset_type = 'CityscapesDataset'
default_hooks = dict(
    check_finite=dict(type='CheckFiniteHook'),
    checkpoint=dict(
        _scope_='mmseg',
        backend_args=dict(backend='atomic'),
        by_epoch=False,
        interval=2,
        max_keep_ckpts=3,
        save_best=None,
        type='CheckpointHook',
    ),
    decoded_cache=dict(cache='4GB', type='DecodedCacheHook'),
    exact_resume=dict(type='ExactResumeHook'),
    logger=dict(_scope_='mmseg', interval=5, log_metric_by_epoch=False, type='LoggerHook'),
    param_scheduler=dict(_scope_='mmseg', type='ParamSchedulerHook'),
    plain_checkpoint=dict(type='PlainCheckpointHook'),
    sampler_seed=dict(_scope_='mmseg', type='DistSamplerSeedHook'),
    timer=dict(_scope_='mmseg', type='IterTimerHook'),
    visualization=dict(_scope_='mmseg', type='SegVisualizationHook'),
)
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
)
img_ratios = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
load_from = 'w/source.pth'
log_level = 'INFO'
log_processor = dict(by_epoch=False)
model = dict(
    backbone=dict(
        backbone=dict(type='mmpretrain.MobileNetV2', widen_factor=0.1),
        out_indices=(6,),
        type='AtrousBackbone',
    ),
    data_preprocessor=dict(
        mean=[127.5, 127.5, 127.5], size=(64, 64), std=[127.5, 127.5, 127.5], type='SegDataPreProcessor'
    ),
    decode_head=dict(
        channels=16,
        dilations=(1, 2),
        dropout_ratio=0.1,
        in_channels=32,
        in_index=0,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False),
        norm_cfg=dict(type='BN'),
        num_classes=19,
        type='DeepLabV3Head',
    ),
    test_cfg=dict(mode='whole', output='labels'),
    train_cfg=dict(),
    type='StudyEncoderDecoder',
)
optim_wrapper = dict(
    _scope_='mmseg',
    clip_grad=None,
    optimizer=dict(lr=0.05, momentum=0.9, type='SGD', weight_decay=0.0001),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
    type='OptimWrapper',
)
optimizer = dict(_scope_='mmseg', lr=0.01, momentum=0.9, type='SGD', weight_decay=0.0005)
param_scheduler = [dict(begin=0, by_epoch=False, end=4, eta_min=0, power=0.9, type='PolyLR')]
randomness = dict(seed=0)
resume = False
test_cfg = None
test_dataloader = None
test_evaluator = None
test_pipeline = [
    dict(_scope_='mmseg', type='LoadImageFromFile'),
    dict(_scope_='mmseg', keep_ratio=True, scale=(2048, 1024), type='Resize'),
    dict(_scope_='mmseg', type='LoadAnnotations'),
    dict(_scope_='mmseg', type='PackSegInputs'),
]
train_cfg = dict(_scope_='mmseg', max_iters=4, type='IterBasedTrainLoop', val_interval=2)
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        _scope_='mmseg',
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        data_root='w/tiny_cityscapes',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')],
        serialize_data=False,
        type='CityscapesDataset',
    ),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_scope_='mmseg', shuffle=True, type='InfiniteSampler'),
)
train_pipeline = [
    dict(_scope_='mmseg', type='LoadImageFromFile'),
    dict(_scope_='mmseg', type='LoadAnnotations'),
    dict(_scope_='mmseg', keep_ratio=True, ratio_range=(0.5, 2.0), scale=(2048, 1024), type='RandomResize'),
    dict(_scope_='mmseg', cat_max_ratio=0.75, crop_size=(512, 1024), type='RandomCrop'),
    dict(_scope_='mmseg', prob=0.5, type='RandomFlip'),
    dict(_scope_='mmseg', type='PhotoMetricDistortion'),
    dict(_scope_='mmseg', type='PackSegInputs'),
]
tta_model = dict(_scope_='mmseg', type='SegTTAModel')
tta_pipeline = [
    dict(_scope_='mmseg', backend_args=None, type='LoadImageFromFile'),
    dict(
        _scope_='mmseg',
        transforms=[
            [
                dict(keep_ratio=True, scale_factor=0.5, type='Resize'),
                dict(keep_ratio=True, scale_factor=0.75, type='Resize'),
                dict(keep_ratio=True, scale_factor=1.0, type='Resize'),
                dict(keep_ratio=True, scale_factor=1.25, type='Resize'),
                dict(keep_ratio=True, scale_factor=1.5, type='Resize'),
                dict(keep_ratio=True, scale_factor=1.75, type='Resize'),
            ],
            [
                dict(direction='horizontal', prob=0.0, type='RandomFlip'),
                dict(direction='horizontal', prob=1.0, type='RandomFlip'),
            ],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
        type='TestTimeAug',
    ),
]
val_cfg = dict(full_interval=2, probe=2, type='ProbeValLoop')
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        _scope_='mmseg',
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        data_root='w/tiny_cityscapes',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')],
        serialize_data=False,
        type='CityscapesDataset',
    ),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_scope_='mmseg', shuffle=False, type='DefaultSampler'),
)
val_evaluator = dict(
    source=[
        'background',
        'road',
        'sidewalk',
        'building',
        'wall',
        'fence',
        'pole',
        'traffic light',
        'traffic sign',
        'vegetation',
        'terrain',
        'sky',
        'person',
        'rider',
        'car',
        'truck',
        'bus',
        'train',
        'motorcycle',
        'bicycle',
    ],
    type='AdaptationMetric',
)
vis_backends = [dict(_scope_='mmseg', type='LocalVisBackend')]
visualizer = dict(
    _scope_='mmseg', name='visualizer', type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
work_dir = 'w/run'
