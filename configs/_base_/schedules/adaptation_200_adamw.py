# The adaptation as the field trains transformers; the study's SGD is in adaptation_200.py.
_base_ = ['./adaptation_200.py', './adamw.py']
optim_wrapper = {{_base_.adamw}}
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=10, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0, begin=10, end=200, by_epoch=False),
]
