# Run by tools/study.py: what the new classifier is made from, on photographs; data and weights as real_backbones.
runs = {
    'x1-os16': dict(
        config='camvid/deeplabv3_mobilenet-v2-os16_1xb4-200_voc2camvid.py',
        options=dict(load_from='tflite://checkpoints/deeplabv3_mnv2_pascal_quant.tflite'),
    ),
    'x0p5-os16': dict(
        config='camvid/deeplabv3_mobilenet-v2-x0p5-os16_1xb4-200_voc2camvid.py',
        options=dict(load_from='tflite://checkpoints/deeplabv3_mnv2_dm05_pascal_quant.tflite'),
    ),
}
variants = {
    'copy-background': {},  # the study's
    'new-head': {'custom_hooks.0.matched': 'reinit', 'custom_hooks.0.unmatched': 'random'},
    'copy-zero': {'custom_hooks.0.unmatched': 'zero'},
}
seeds = [0, 1, 2, 3, 4]
options = {'train_cfg.max_iters': 100, 'param_scheduler.0.end': 100}
