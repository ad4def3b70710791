# torchvision's DeepLabV3 on MobileNetV3-Large: output stride 16 with the rates of stride 8.
_base_ = './deeplabv3_r50-os8-aux.py'
model = dict(
    backbone=dict(
        backbone=dict(_delete_=True, type='mmpretrain.MobileNetV3', arch='large'),
        output_stride=16,
        out_indices=(3, 4, 12, 16),
    ),
    decode_head=dict(in_channels=960),
    auxiliary_head=dict(in_channels=40, in_index=1, channels=10),
)
