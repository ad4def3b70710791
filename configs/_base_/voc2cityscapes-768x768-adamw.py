# The study's data, trained as the field trains transformers; with voc2cityscapes-768x768.py it is the study's SGD.
_base_ = ['./voc2cityscapes-768x768.py', './adamw.py']
optim_wrapper = {{_base_.adamw}}
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=10, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0, begin=10, end=200, by_epoch=False),
]
