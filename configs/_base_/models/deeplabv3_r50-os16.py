# DeepLabV3 on mmpretrain's ResNet-50 with torchvision's and VainF's head.
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
        output_stride=16,
        out_indices=(3,),  # earlier ones would only be held in memory
        norm_momentum=0.01,
    ),
    decode_head=dict(
        type='DeepLabV3Head',
        in_index=0,
        channels=256,
        dilations=(1, 6, 12, 18),
        dropout_ratio=0.0,
        norm_cfg=norm_cfg,
        # The study's cross entropy is PyTorch's: the mean over labelled pixels only.
        loss_decode=dict(avg_non_ignore=True),
    ),
    auxiliary_head=None,
    test_cfg=dict(output='labels'),
)
