# MMSeg's PASCAL VOC 2012 with the labels of SBD, in batches of 16.
_base_ = 'mmseg::_base_/datasets/pascal_voc12_aug.py'
train_dataloader = dict(batch_size=16)
