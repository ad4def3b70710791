# VainF's DeepLabV3+ on its MobileNetV2, from PASCAL VOC to the first quarter of Cityscapes with the study's recipe.
#   python tools/train.py THIS --load-from vainf://best_deeplabv3plus_mobilenet_voc_os16.pth
_base_ = [
    '../_base_/models/deeplabv3plus_mobilenet-v2-padded-os16.py',
    '../_base_/datasets/cityscapes-first-quarter_768x768.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adaptation_200.py',
]
