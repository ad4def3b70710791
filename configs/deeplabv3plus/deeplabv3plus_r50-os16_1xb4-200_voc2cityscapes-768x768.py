# VainF's DeepLabV3+ on ResNet-50, from PASCAL VOC to the first quarter of Cityscapes with the study's recipe.
#   python tools/train.py THIS --load-from vainf://best_deeplabv3plus_resnet50_voc_os16.pth
_base_ = ['../_base_/models/deeplabv3plus_r50-os16.py', '../_base_/voc2cityscapes-768x768.py']
model = dict(data_preprocessor=dict(size=(768, 768)))
