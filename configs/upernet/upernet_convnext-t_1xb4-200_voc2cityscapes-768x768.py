# UPerNet on ConvNeXt-T of PASCAL VOC on the first quarter of Cityscapes.
#   python tools/train.py THIS --load-from SOURCE_CHECKPOINT
# SOURCE_CHECKPOINT: what upernet_convnext-t_1xb16-30k_voc12aug-512x512.py trains.
_base_ = [
    '../_base_/models/upernet_convnext-t.py',
    '../_base_/datasets/cityscapes-first-quarter_768x768.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adaptation_200_adamw.py',
]
