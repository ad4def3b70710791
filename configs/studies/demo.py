# Run by tools/study.py, for tools/demo.py, which draws the data: backbones learn drawn objects and adapt to drawn
# streets (not photographs). The transformer is there on request.
runs = {
    'MobileNetV2': dict(
        config='demo/deeplabv3_mobilenet-v2-os16_1xb4-100_drawn-voc2drawn-cityscapes-96x192.py',
        source='demo/deeplabv3_mobilenet-v2-os16_1xb32-700_drawn-voc-48x48.py',
    ),
    'ResNet-50': dict(
        config='demo/deeplabv3_r50-os16_1xb4-100_drawn-voc2drawn-cityscapes-96x192.py',
        source='demo/deeplabv3_r50-os16_1xb16-360_drawn-voc-48x48.py',
    ),
    'SegFormer-B0': dict(
        config='demo/segformer_mit-b0_1xb4-100_drawn-voc2drawn-cityscapes-96x192.py',
        source='demo/segformer_mit-b0_1xb32-700_drawn-voc-48x48.py',
    ),
}
