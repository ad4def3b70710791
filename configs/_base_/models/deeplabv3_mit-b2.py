# DeepLabV3 on SegFormer's MiT-B2.
_base_ = './deeplabv3_mit-b0.py'
model = dict(
    backbone=dict(backbone=dict(embed_dims=64, num_layers=[3, 4, 6, 3])),
    decode_head=dict(in_channels=512),
)
