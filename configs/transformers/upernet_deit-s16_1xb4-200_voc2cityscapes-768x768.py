# UPerNet on DeiT-S of PASCAL VOC on the first quarter of Cityscapes.
#   python tools/train.py THIS --load-from SOURCE_CHECKPOINT
# SOURCE_CHECKPOINT: what upernet_deit-s16_1xb16-30k_voc12aug-512x512.py trains.
_base_ = ['../_base_/models/upernet_deit-s16.py', '../_base_/voc2cityscapes-768x768-adamw.py']
model = dict(data_preprocessor=dict(size=(768, 768)))
