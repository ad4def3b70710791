# TensorFlow's mobile DeepLabV3, as its TFLite files have it: batch norm folded into the convolutions, so the
# backbone's statistics are fixed and the head has no norm; no atrous branches, no refinement.
_base_ = './deeplabv3_mobilenet-v2-os16.py'
model = dict(
    # Of quantised files: images as (x - 128) / 128. Odd sizes, as TensorFlow pads even ones on one side only;
    # CamVid's photographs have 360x480.
    data_preprocessor=dict(
        mean=[128, 128, 128], std=[128, 128, 128], size=(257, 257), test_cfg=dict(size=(361, 481))
    ),
    backbone=dict(norm_eval=True, norm_momentum=None),
    decode_head=dict(dilations=(1,), refine=False, norm_cfg=None, align_corners=True),
)
