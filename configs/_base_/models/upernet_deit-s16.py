# UPerNet on DeiT-S, whose maps of four layers are brought to four resolutions.
_base_ = 'mmseg::_base_/models/upernet_vit-b16_ln_mln.py'
norm_cfg = dict(type='BN')
model = dict(
    type='StudyEncoderDecoder',
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='TransformerBackbone',
        backbone=dict(type='mmpretrain.VisionTransformer', arch='deit-small', drop_path_rate=0.1),
        out_indices=(2, 5, 8, 11),
    ),
    neck=dict(in_channels=[384] * 4, out_channels=384),
    decode_head=dict(in_channels=[384] * 4, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=384, norm_cfg=norm_cfg),
)
