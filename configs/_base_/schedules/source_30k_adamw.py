# The source stage of transformers: AdamW and a warm-up.
_base_ = ['./source_30k.py', './adamw.py']
optim_wrapper = {{_base_.adamw}}
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0, begin=1500, end=30000, by_epoch=False),
]
