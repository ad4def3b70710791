_base_ = ['../_base_/models/deeplabv3_r50-os16.py', './_base_/drawn-voc-64x64.py']
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    # 0.01 would leave the running statistics behind weights that change as fast as at the start.
    backbone=dict(norm_momentum=0.1),
    decode_head=dict(num_classes=21, channels=128, dilations=(1, 2, 4, 6)),
)
# Each iteration takes four times as long as MobileNetV2's: fewer of them, and larger steps.
optim_wrapper = dict(optimizer=dict(lr=0.004))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=0, begin=50, end=240, by_epoch=False),
]
train_cfg = dict(max_iters=240, val_interval=240)
