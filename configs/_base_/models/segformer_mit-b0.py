# SegFormer-B0 with batch norm of one process.
_base_ = 'mmseg::_base_/models/segformer_mit-b0.py'
model = dict(
    type='StudyEncoderDecoder',
    data_preprocessor=dict(size=(768, 768)),
    # The study's cross entropy is PyTorch's: the mean over labelled pixels only.
    decode_head=dict(norm_cfg=dict(type='BN'), loss_decode=dict(avg_non_ignore=True)),
    test_cfg=dict(output='labels'),
)
