# The source stage, as VainF/DeepLabV3Plus-Pytorch trains: 30k iterations, learning rate 0.01 for the head and
# 0.001 for the backbone.
_base_ = 'mmseg::_base_/schedules/schedule_20k.py'
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.0001),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=0, end=30000, by_epoch=False)]
train_cfg = dict(max_iters=30000)
default_hooks = dict(
    checkpoint=dict(
        type='ExactCheckpointHook', max_keep_ckpts=3, save_best='mIoU', backend_args=dict(backend='atomic')
    ),
    check_finite=dict(type='CheckFiniteHook'),
)
