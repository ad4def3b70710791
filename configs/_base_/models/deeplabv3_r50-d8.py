# MMSeg's own DeepLabV3 on its ResNet-50, with batch norm of one process.
_base_ = 'mmseg::_base_/models/deeplabv3_r50-d8.py'
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='StudyEncoderDecoder',
    data_preprocessor=dict(size=(768, 768)),
    pretrained=None,
    backbone=dict(norm_cfg=norm_cfg),
    # The study's cross entropy is PyTorch's: the mean over labelled pixels only.
    decode_head=dict(norm_cfg=norm_cfg, loss_decode=dict(avg_non_ignore=True)),
    auxiliary_head=dict(norm_cfg=norm_cfg, loss_decode=dict(avg_non_ignore=True)),
    test_cfg=dict(output='labels'),
)
