_base_ = [
    '../_base_/models/deeplabv3_r50-os16.py',
    './_base_/drawn-voc2drawn-cityscapes-96x192.py',
]
model = dict(
    data_preprocessor=dict(size=(96, 192)),
    decode_head=dict(channels=128, dilations=(1, 2)),
)
load_from = '{{$DEMO_SOURCE:work_dirs/deeplabv3_r50-os16_1xb16-360_drawn-voc-48x48/iter_360.pth}}'
