# DeepLabV3 on DeiT-S: patches of 16 pixels give the study's output stride.
_base_ = './deeplabv3_r50-os16.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='TransformerBackbone',
        backbone=dict(type='mmpretrain.VisionTransformer', arch='deit-small', drop_path_rate=0.1),
        out_indices=(11,),
    ),
    decode_head=dict(in_channels=384),
)
