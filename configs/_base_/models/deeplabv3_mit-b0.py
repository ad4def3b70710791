# DeepLabV3 on SegFormer's MiT-B0, whose last map has stride 32: half the dilations see as far.
_base_ = './deeplabv3_r50-os16.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='TransformerBackbone',
        backbone=dict(
            type='MixVisionTransformer',
            embed_dims=32,
            num_layers=[2, 2, 2, 2],
            num_heads=[1, 2, 5, 8],
            drop_path_rate=0.1,
        ),
        out_indices=(3,),
    ),
    decode_head=dict(in_channels=256, dilations=(1, 3, 6, 9)),
)
