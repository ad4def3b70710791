# PSPNet on mmpretrain's ResNet-50.
_base_ = 'mmseg::_base_/models/pspnet_r50-d8.py'
norm_cfg = dict(type='BN')
model = dict(
    type='StudyEncoderDecoder',
    data_preprocessor=dict(size=(768, 768)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='AtrousBackbone',
        backbone=dict(type='mmpretrain.ResNet', depth=50),
        out_indices=(3,),
        norm_momentum=0.01,
    ),
    # The study's cross entropy is PyTorch's: the mean over labelled pixels only.
    decode_head=dict(in_index=0, norm_cfg=norm_cfg, loss_decode=dict(avg_non_ignore=True)),
    auxiliary_head=None,
    test_cfg=dict(output='labels'),
)
