_base_ = ['../_base_/models/segformer_mit-b0.py', './_base_/drawn-voc2drawn-cityscapes-128x256.py']
model = dict(data_preprocessor=dict(size=(128, 256)), decode_head=dict(channels=128))
load_from = '{{$DEMO_SOURCE:work_dirs/segformer_mit-b0_1xb8-1000_drawn-voc-64x64/iter_1000.pth}}'
