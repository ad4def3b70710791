# SegFormer-B0 with batch norm of one process.
_base_ = 'mmseg::_base_/models/segformer_mit-b0.py'
model = dict(type='StudyEncoderDecoder', decode_head=dict(norm_cfg=dict(type='BN')))
