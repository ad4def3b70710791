# The study's adaptation on CamVid's street photographs: 92 to train on, 26 to validate on, 480x360, in the
# Cityscapes layout. The set is small enough to be validated as a whole every five iterations.
_base_ = './adaptation.py'
data_root = '{{$CAMVID_ROOT:data/camvid_cityscapes}}'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=(257, 257)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=4, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
randomness = dict(seed=0)
custom_hooks = [
    dict(type='HeadTransferHook', source='voc', target='cityscapes'),
    dict(type='AdaptationHook', source_classifier=True),
]
