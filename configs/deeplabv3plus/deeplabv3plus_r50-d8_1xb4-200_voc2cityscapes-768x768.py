# MMSeg's own DeepLabV3+ R-50-D8 of PASCAL VOC (mIoU 76.81 there), adapted with the study's recipe.
#   python tools/train.py THIS
_base_ = [
    '../_base_/models/deeplabv3plus_r50-d8.py',
    '../_base_/datasets/cityscapes-first-quarter_768x768.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adaptation_200.py',
]
load_from = 'https://download.openmmlab.com/mmsegmentation/v0.5/deeplabv3plus/deeplabv3plus_r50-d8_512x512_40k_voc12aug/deeplabv3plus_r50-d8_512x512_40k_voc12aug_20200613_161759-e1b43aa9.pth'
