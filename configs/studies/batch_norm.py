# Run by tools/study.py: what the backbone's batch norm does while it adapts to four images at a time.
_base_ = './voc2cityscapes.py'
variants = {
    'slow-statistics': {'model.backbone.norm_momentum': 0.01},  # the study's
    'fast-statistics': {'model.backbone.norm_momentum': 0.1},
    'fixed-statistics': {'model.backbone.norm_eval': True},
}
