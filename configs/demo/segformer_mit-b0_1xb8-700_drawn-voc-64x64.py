_base_ = ['../_base_/models/segformer_mit-b0.py', './_base_/drawn-voc-64x64.py']
model = dict(data_preprocessor=dict(size=(64, 64)), decode_head=dict(num_classes=21, channels=128))
