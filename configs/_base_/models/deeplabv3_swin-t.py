# DeepLabV3 on Swin-T, whose last map has stride 32: half the dilations see as far.
_base_ = './deeplabv3_r50-os16.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='TransformerBackbone',
        backbone=dict(type='mmpretrain.SwinTransformer', arch='tiny', drop_path_rate=0.3),
        out_indices=(3,),
    ),
    decode_head=dict(in_channels=768, dilations=(1, 3, 6, 9)),
)
