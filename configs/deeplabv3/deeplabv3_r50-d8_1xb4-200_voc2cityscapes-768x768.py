# MMSeg's own DeepLabV3 R-50-D8 of PASCAL VOC (mIoU 77.68 there), adapted with the study's recipe.
#   python tools/train.py THIS
_base_ = ['../_base_/models/deeplabv3_r50-d8.py', '../_base_/voc2cityscapes-768x768.py']
model = dict(data_preprocessor=dict(size=(768, 768)))
load_from = 'https://download.openmmlab.com/mmsegmentation/v0.5/deeplabv3/deeplabv3_r50-d8_512x512_40k_voc12aug/deeplabv3_r50-d8_512x512_40k_voc12aug_20200613_161546-2ae96e7e.pth'
