_base_ = ['../_base_/models/segformer_mit-b0.py', './_base_/drawn-voc2drawn-cityscapes-96x192.py']
model = dict(data_preprocessor=dict(size=(96, 192)), decode_head=dict(channels=128))
load_from = '{{$DEMO_SOURCE:work_dirs/segformer_mit-b0_1xb32-700_drawn-voc-48x48/iter_700.pth}}'
