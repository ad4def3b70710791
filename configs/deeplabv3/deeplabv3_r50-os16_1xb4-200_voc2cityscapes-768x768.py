# The study's ResNet-50 run: a DeepLabV3 of PASCAL VOC on the first quarter of Cityscapes.
#   python tools/train.py THIS --load-from SOURCE_CHECKPOINT
# SOURCE_CHECKPOINT: what deeplabv3_r50-os16_1xb16-30k_voc12aug-512x512.py trains.
_base_ = [
    '../_base_/models/deeplabv3_r50-os16.py',
    '../_base_/datasets/cityscapes-first-quarter_768x768.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adaptation_200.py',
]
