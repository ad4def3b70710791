# Run by tools/study.py: the stride at which the target is learnt. The source model, learnt at 16, is the same for all.
_base_ = './voc2cityscapes.py'
# Chen et al. 2017, section 4.1: the rates of the head double where the stride is halved.
variants = {
    'stride-8': {'model.backbone.output_stride': 8, 'model.decode_head.dilations': (1, 12, 24, 36)},
    'stride-16': {'model.backbone.output_stride': 16, 'model.decode_head.dilations': (1, 6, 12, 18)},
    'stride-32': {'model.backbone.output_stride': 32, 'model.decode_head.dilations': (1, 3, 6, 9)},
}
