# Run by tools/study.py: which backbone adapts how, on CamVid's photographs with public weights: three networks
# that have learnt PASCAL VOC, and one that has learnt ImageNet alone; minutes a run on a CPU.
#   python tools/download.py camvid deeplabv3_mnv2 deeplabv3_mnv2_dm05 deeplabv3_257_mv_gpu mobilenet_v2
#   python tools/study.py configs/studies/real_backbones.py --jobs 2
runs = {
    'x1-os16': dict(
        config='camvid/deeplabv3_mobilenet-v2-os16_1xb4-200_voc2camvid.py',
        options=dict(load_from='tflite://checkpoints/deeplabv3_mnv2_pascal_quant.tflite'),
    ),
    'x0p5-os16': dict(
        config='camvid/deeplabv3_mobilenet-v2-x0p5-os16_1xb4-200_voc2camvid.py',
        options=dict(load_from='tflite://checkpoints/deeplabv3_mnv2_dm05_pascal_quant.tflite'),
    ),
    'x0p5-os8': dict(
        config='camvid/deeplabv3_mobilenet-v2-x0p5-os8_1xb4-200_voc2camvid.py',
        options=dict(load_from='tflite://checkpoints/deeplabv3_257_mv_gpu.tflite'),
    ),
    'x1-os16-imagenet': dict(config='camvid/deeplabv3_mobilenet-v2-os16_1xb4-200_imagenet2camvid.py'),
    # As the last, with PASCAL VOC's backbone: tells what it adds apart from its head.
    'x1-os16-backbone': dict(
        config='camvid/deeplabv3_mobilenet-v2-os16_1xb4-200_imagenet2camvid.py',
        options={
            'model.backbone.init_cfg.checkpoint': 'tflite://checkpoints/deeplabv3_mnv2_pascal_quant.tflite'
        },
    ),
}
seeds = [0, 1, 2, 3, 4]
# Half the configs' iterations: an hour and a half on two cores for the three real studies.
options = {'train_cfg.max_iters': 100, 'param_scheduler.0.end': 100}
