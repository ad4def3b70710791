# Run by tools/study.py: how much of Cityscapes' training split it takes.
_base_ = './voc2cityscapes.py'
variants = {
    'sixteenth': {'train_dataloader.dataset': dict(name='first-sixteenth', fraction=0.0625)},
    'quarter': {'train_dataloader.dataset': dict(name='first-quarter', fraction=0.25)},  # the study's
    'all': {'train_dataloader.dataset': dict(name='all', fraction=1.0)},
}
