# MMSegmentation's U-Net, from random weights.
_base_ = 'mmseg::_base_/models/fcn_unet_s5-d16.py'
norm_cfg = dict(type='BN')
model = dict(
    type='StudyEncoderDecoder',
    # Its maps are halved four times and put together again.
    data_preprocessor=dict(size=(768, 768), test_cfg=dict(size_divisor=16)),
    backbone=dict(norm_cfg=norm_cfg),
    # The study's cross entropy is PyTorch's: the mean over labelled pixels only.
    decode_head=dict(num_classes=19, norm_cfg=norm_cfg, loss_decode=dict(avg_non_ignore=True)),
    auxiliary_head=None,
    test_cfg=dict(_delete_=True, mode='whole', output='labels'),
)
