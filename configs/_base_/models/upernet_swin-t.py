# UPerNet on mmpretrain's Swin-T.
_base_ = 'mmseg::_base_/models/upernet_swin.py'
norm_cfg = dict(type='BN')
model = dict(
    type='StudyEncoderDecoder',
    data_preprocessor=dict(size=(768, 768)),
    backbone=dict(
        _delete_=True,
        type='TransformerBackbone',
        backbone=dict(type='mmpretrain.SwinTransformer', arch='tiny', drop_path_rate=0.3),
        out_indices=(0, 1, 2, 3),
    ),
    # The study's cross entropy is PyTorch's: the mean over labelled pixels only.
    decode_head=dict(norm_cfg=norm_cfg, loss_decode=dict(avg_non_ignore=True)),
    auxiliary_head=dict(norm_cfg=norm_cfg, loss_decode=dict(avg_non_ignore=True)),
    test_cfg=dict(output='labels'),
)
