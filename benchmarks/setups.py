"""The study's runs as they are, and as MMSegmentation alone would have them."""

import os
from pathlib import Path
from tempfile import mkdtemp

from mmengine.config import Config
from PIL import Image

from mmseg_deeplab_study.hardware import has_native_bfloat16
from mmseg_deeplab_study.runs.launch import enable_amp

ROOT = Path(__file__).resolve().parents[1]
LEAF = ROOT / 'configs/camvid/deeplabv3_mobilenet-v2-x0p5-os8_1xb4-60_voc2camvid.py'
NETWORKS = {'MobileNetV2': 'mobilenet-v2', 'ResNet-50': 'r50'}
STOCK, STOCK_AMP = 'stock', 'stock --amp'
# Where bfloat16 has to be emulated, it would take most of a day to measure that it is not worth it.
DTYPES = ('float32', 'bfloat16') if has_native_bfloat16() else ('float32',)
VARIANTS = (STOCK, *DTYPES)


def camvid() -> Path:
    """CamVid in the Cityscapes layout, from ``$CAMVID_ROOT``.

    Raises:
        FileNotFoundError: it is not there.
    """
    root = Path(os.environ.get('CAMVID_ROOT', ROOT / 'data/camvid_cityscapes'))
    if not (root / 'leftImg8bit/val').is_dir():
        raise FileNotFoundError(
            f'{root}: no CamVid in the Cityscapes layout, whose photographs are measured on; set CAMVID_ROOT'
        )
    return root


def label_of(picture: Path) -> Path:
    """The label map of a photograph in the Cityscapes layout."""
    return Path(str(picture).replace('leftImg8bit', 'gtFine').replace('.png', '_labelTrainIds.png'))


def make_streets(folder: Path, number: int, height: int) -> Path:
    """Enlarge ``number`` of CamVid's photographs; returns the data root.

    Training and validation get the same: scores are not the point, and pixels are what time depends on.
    """
    root = folder / f'streets_{height}_{number}'
    pictures = sorted((camvid() / 'leftImg8bit/val').rglob('*.png'))[:number]
    size = (2 * height, height)
    for picture in pictures:
        for split in ('train', 'val'):
            for source, kind, resample in (
                (picture, 'leftImg8bit', Image.Resampling.BICUBIC),
                (label_of(picture), 'gtFine', Image.Resampling.NEAREST),
            ):
                target = root / kind / split / 'enlarged' / source.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with Image.open(source) as image:
                    image.resize(size, resample).save(target)
    return root


def config(network: str, variant: str, data_root: Path, folder: Path, crop: int = 384) -> Config:
    """The study's run of a network on Cityscapes in one of ``DTYPES``, or with MMSeg's parts.

    Its work_dir is a new one in ``folder``. Without a source checkpoint: head transfer is not measured.
    """
    cfg = Config.fromfile(
        ROOT / f'configs/deeplabv3/deeplabv3_{NETWORKS[network]}-os16_1xb4-200_voc2cityscapes-768x768.py'
    )
    cfg.model.data_preprocessor.size = (crop, crop)
    # Dropout draws its masks in the order of memory, which is what differs between the two.
    cfg.model.decode_head.aspp_dropout_ratio = 0.0
    cfg.train_dataloader.batch_size = 2
    cfg.train_dataloader.dataset.dataset.data_root = str(data_root)
    cfg.train_dataloader.dataset.fraction = 1.0
    for transform in cfg.train_dataloader.dataset.dataset.pipeline:
        if transform.type == 'RandomCrop':
            transform.crop_size = (crop, crop)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(data_root)
    scale = Image.open(next((data_root / 'leftImg8bit/val').rglob('*.png'))).size
    for transform in cfg.val_dataloader.dataset.pipeline:
        if transform.type == 'Resize':
            transform.scale = scale
    cfg.custom_hooks = [dict(type='AdaptationHook')]
    cfg.default_hooks.checkpoint = None
    cfg.randomness = dict(seed=0)
    cfg.log_level = 'WARNING'
    cfg.work_dir = mkdtemp(dir=folder)
    cfg.experiment_name = Path(cfg.work_dir).name
    if variant in DTYPES:
        cfg.model.eval_dtype = variant
    else:
        cfg.model.type = 'EncoderDecoder'
        cfg.val_evaluator = cfg.test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
        cfg.custom_hooks = []
        del cfg.default_hooks.decoded_cache
    if variant in (STOCK_AMP, 'bfloat16'):
        # MMSeg's own --amp refuses the CPU: stock gets our optimizer wrapper.
        enable_amp(cfg)
    return cfg
