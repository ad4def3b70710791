# torchvision's DeepLabV3 on MobileNetV3-Large, from PASCAL VOC to the first quarter of Cityscapes with the study's recipe.
#   python tools/train.py THIS --load-from tvseg://deeplabv3_mobilenet_v3_large-fc3c493d.pth
_base_ = [
    '../_base_/models/deeplabv3_mobilenet-v3-large-os16-aux.py',
    '../_base_/datasets/cityscapes-first-quarter_768x768.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adaptation_200.py',
]
