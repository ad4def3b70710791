# PSPNet on mmpretrain's ResNet-50.
_base_ = 'mmseg::_base_/models/pspnet_r50-d8.py'
norm_cfg = dict(type='BN')
model = dict(
    type='StudyEncoderDecoder',
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='AtrousBackbone',
        backbone=dict(type='mmpretrain.ResNet', depth=50),
        out_indices=(3,),
        norm_momentum=0.01,
    ),
    decode_head=dict(in_index=0, norm_cfg=norm_cfg),
    auxiliary_head=None,
)
