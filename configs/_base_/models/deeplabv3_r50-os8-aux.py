# torchvision's DeepLabV3 on ResNet-50: output stride 8, an auxiliary head, half of the pyramid dropped out.
_base_ = 'mmseg::_base_/models/deeplabv3_r50-d8.py'
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='StudyEncoderDecoder',
    data_preprocessor=dict(size=(768, 768)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='AtrousBackbone',
        backbone=dict(type='mmpretrain.ResNet', depth=50),
        output_stride=8,
        norm_momentum=0.01,
    ),
    decode_head=dict(
        type='DeepLabV3Head',
        channels=256,
        aspp_dropout_ratio=0.5,
        dropout_ratio=0.0,
        norm_cfg=norm_cfg,
        # The study's cross entropy is PyTorch's: the mean over labelled pixels only.
        loss_decode=dict(avg_non_ignore=True),
    ),
    auxiliary_head=dict(norm_cfg=norm_cfg, loss_decode=dict(avg_non_ignore=True)),
    test_cfg=dict(output='labels'),
)
