# Run by tools/study.py: three seeds of the real run on CamVid's photographs, with the head transferred and with a
# new one; minutes on a CPU.
#   python tools/study.py configs/studies/camvid.py
# Data and weights by tools/download.py camvid deeplabv3_257_mv_gpu; elsewhere CAMVID_ROOT=..., --cfg-options
# options.load_from=...
runs = {'mobilenet-v2': dict(config='camvid/deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid.py')}
variants = {
    'transferred': {},
    'new-head': {'custom_hooks.0.matched': 'reinit', 'custom_hooks.0.unmatched': 'random'},
}
seeds = [0, 1, 2]
options = dict(load_from='tflite://checkpoints/deeplabv3_257_mv_gpu.tflite')
