# All but the model of an adaptation from PASCAL VOC to Cityscapes' classes, in one base.
_base_ = ['./datasets/cityscapes.py', './default_runtime.py', './schedules/adaptation_200.py']
