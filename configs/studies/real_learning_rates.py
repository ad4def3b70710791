# Run by tools/study.py: the backbone's learning rate as a share of the head's, on photographs.
_base_ = './real_head_transfer.py'
variants = {
    '_delete_': True,
    'frozen': {'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': 0.0},
    'tenth': {},  # the study's
    'same': {'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': 1.0},
}
