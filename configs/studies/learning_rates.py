# Run by tools/study.py: the backbone's learning rate as a share of the head's, which is the study's 0.001.
_base_ = './voc2cityscapes.py'
variants = {
    'frozen': {
        'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': 0.0,
        'model.backbone.norm_eval': True,
    },
    'hundredth': {'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': 0.01},
    'tenth': {'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': 0.1},  # the study's
    'same': {'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': 1.0},
}
