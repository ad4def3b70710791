# Run by tools/study.py: what the new classifier is made from: the study with each rule of HeadTransferHook.
_base_ = './voc2cityscapes.py'
variants = {
    'copy-background': {'custom_hooks.0.matched': 'copy', 'custom_hooks.0.unmatched': 'background'},
    'copy-random': {'custom_hooks.0.matched': 'copy', 'custom_hooks.0.unmatched': 'random'},
    'copy-zero': {'custom_hooks.0.matched': 'copy', 'custom_hooks.0.unmatched': 'zero'},
    'reinit-background': {'custom_hooks.0.matched': 'reinit', 'custom_hooks.0.unmatched': 'background'},
    'reinit-random': {'custom_hooks.0.matched': 'reinit', 'custom_hooks.0.unmatched': 'random'},
}
