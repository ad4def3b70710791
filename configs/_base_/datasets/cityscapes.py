# MMSeg's Cityscapes, validated by AdaptationMetric.
_base_ = 'mmseg::_base_/datasets/cityscapes.py'
# MMSeg has 4, for images that are decoded at every validation.
val_dataloader = dict(num_workers=2)
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='AdaptationMetric', source='voc')
test_evaluator = val_evaluator
