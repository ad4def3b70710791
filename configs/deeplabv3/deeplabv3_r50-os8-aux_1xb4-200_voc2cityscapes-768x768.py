# torchvision's DeepLabV3 on ResNet-50, from PASCAL VOC to the first quarter of Cityscapes with the study's recipe.
#   python tools/train.py THIS --load-from tvseg://deeplabv3_resnet50_coco-cd0a2569.pth
_base_ = [
    '../_base_/models/deeplabv3_r50-os8-aux.py',
    '../_base_/datasets/cityscapes-first-quarter_768x768.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adaptation_200.py',
]
