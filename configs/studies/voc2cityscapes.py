# Run by tools/study.py: the study, two backbones, each trained on PASCAL VOC and adapted to Cityscapes from three seeds.
#   python tools/study.py configs/studies/voc2cityscapes.py
# With checkpoints of your own instead of the source stage:
#   ... --cfg-options runs.resnet-50.source= runs.resnet-50.options.load_from=CHECKPOINT (and the other)
runs = {
    'resnet-50': dict(
        config='deeplabv3/deeplabv3_r50-os16_1xb4-200_voc2cityscapes-768x768.py',
        source='deeplabv3/deeplabv3_r50-os16_1xb16-30k_voc12aug-512x512.py',
    ),
    'mobilenet-v2': dict(
        config='deeplabv3/deeplabv3_mobilenet-v2-os16_1xb4-200_voc2cityscapes-768x768.py',
        source='deeplabv3/deeplabv3_mobilenet-v2-os16_1xb16-30k_voc12aug-512x512.py',
    ),
}
seeds = [0, 1, 2]
# For --cluster: parameters of submitit's executor, for each run.
resources = dict(gpus_per_node=1, cpus_per_task=8, mem_gb=32, timeout_min=12 * 60)
