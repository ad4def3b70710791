_base_ = ['../_base_/models/segformer_mit-b0.py', './_base_/drawn-voc-48x48.py']
model = dict(data_preprocessor=dict(size=(48, 48)), decode_head=dict(num_classes=21, channels=128))
