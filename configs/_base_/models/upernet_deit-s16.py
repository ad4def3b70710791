# UPerNet on DeiT-S, whose maps of four layers are brought to four resolutions.
_base_ = 'mmseg::_base_/models/upernet_vit-b16_ln_mln.py'
norm_cfg = dict(type='BN')
model = dict(
    type='StudyEncoderDecoder',
    data_preprocessor=dict(size=(768, 768)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='TransformerBackbone',
        backbone=dict(type='mmpretrain.VisionTransformer', arch='deit-small', drop_path_rate=0.1),
        out_indices=(2, 5, 8, 11),
    ),
    neck=dict(in_channels=[384] * 4, out_channels=384),
    # The study's cross entropy is PyTorch's: the mean over labelled pixels only.
    decode_head=dict(in_channels=[384] * 4, norm_cfg=norm_cfg, loss_decode=dict(avg_non_ignore=True)),
    auxiliary_head=dict(in_channels=384, norm_cfg=norm_cfg, loss_decode=dict(avg_non_ignore=True)),
    test_cfg=dict(output='labels'),
)
