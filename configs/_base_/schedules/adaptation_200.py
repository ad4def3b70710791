# The study's adaptation: SGD, 200 iterations, a validation every 5, head transfer and tracking.
# A run of another length sets max_iters and the schedule's end.
_base_ = 'mmseg::_base_/schedules/schedule_20k.py'
custom_hooks = [
    dict(type='HeadTransferHook', source='voc', target='cityscapes'),
    dict(type='AdaptationHook'),
]
optim_wrapper = dict(
    optimizer=dict(lr=0.001, weight_decay=0.0001),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0, begin=0, end=200, by_epoch=False)]
train_cfg = dict(max_iters=200, val_interval=5)
default_hooks = dict(
    logger=dict(interval=5),
    # Three: MMEngine deletes the oldest before it writes the next, and two should always be whole.
    checkpoint=dict(
        type='ExactCheckpointHook',
        interval=50,
        max_keep_ckpts=3,
        save_best='mIoU',
        backend_args=dict(backend='atomic'),
    ),
    check_finite=dict(type='CheckFiniteHook'),
    decoded_cache=dict(type='DecodedCacheHook', cache='4GB'),
)
