"""The dense CRF: its time beside pydensecrf2's (the extra `crf`), its memory, its scores on VOC."""

import argparse
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmseg.registry import DATASETS
from PIL import Image

from benchmarks import setups
from benchmarks.measure import alternate, in_own_process, machine, memory_mb, peak_growth
from benchmarks.tables import markdown_table
from mmseg_deeplab_study.engine.dense_crf import enable_dense_crf
from mmseg_deeplab_study.inference.trained_model import load_model
from mmseg_deeplab_study.models.dense_crf import BACKENDS, DenseCRF

# height, of which the width is twice, and classes
SIZES = ((128, 19), (256, 19), (512, 19), (1024, 19), (512, 2), (512, 59))
SHOWN = ('mIoU', 'BIoU', 'trimap.1', 'trimap.2', 'trimap.4', 'trimap.8', 'trimap.16', 'trimap.32')


def voc_config(args: argparse.Namespace) -> Config:
    """A test of TensorFlow's weights on VOC's validation images, in its 21 classes."""
    cfg = Config.fromfile(setups.LEAF)
    cfg.model.decode_head.num_classes = 21
    cfg.model.data_preprocessor.test_cfg = dict(size=(513, 513))
    loader = cfg.test_dataloader
    loader.dataset = dict(
        type='PascalVOCDataset',
        data_root=str(args.voc.absolute()),
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=loader.dataset.pipeline,
    )
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.custom_hooks = []
    cfg.log_level, cfg.load_from = 'WARNING', f'tflite://{args.weights.absolute()}'
    return cfg


def beside_pydensecrf(cfg: Config, rounds: int) -> list[tuple[str, ...]]:
    """A row per photograph of VOC: seconds of both, ratio, labels that agree."""
    cfg.model.output = 'full'
    model, dataset = load_model(cfg, cfg.load_from), DATASETS.build(cfg.test_dataloader.dataset)
    rows = []
    for packed in dataset:
        image, name = packed['inputs'][None], Path(packed['data_samples'].img_path).stem
        with torch.no_grad():
            (sample,) = model.test_step(pseudo_collate([packed]))
        logits = sample.seg_logits.data[None]
        tasks = {backend: partial(DenseCRF(backend=backend), logits, image) for backend in BACKENDS}
        ours, theirs = alternate(tasks, rounds, name).values()
        same = torch.eq(*(task().argmax(dim=1) for task in tasks.values())).double().mean().item()
        size = f'{image.shape[2]}x{image.shape[3]}'
        rows.append((name, size, f'{ours:.2f}', f'{theirs:.2f}', f'{ours / theirs:.2f}', f'{100 * same:.2f}'))
    return rows


def grow(height: int, classes: int) -> list[Any]:
    """A row for a street of a size: seconds, lattice corners a pixel, MB."""
    with TemporaryDirectory() as folder:
        (picture,) = (setups.make_streets(Path(folder), 1, height) / 'leftImg8bit/val').rglob('*.png')
        image = torch.tensor(np.asarray(Image.open(picture).convert('RGB'))).permute(2, 0, 1)[None]
    width = 2 * height
    # As a network gives them: from an eighth of the size.
    coarse = torch.randn(1, classes, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
    logits = 4 * torch.nn.functional.interpolate(coarse, (height, width), mode='bilinear')
    crf, image = DenseCRF(), image.contiguous()
    corners = crf._bilateral(image[0]).size / (height * width)
    seconds: list[float] = []

    def task() -> None:
        started = time.perf_counter()
        crf(logits, image)
        seconds.append(time.perf_counter() - started)

    peak = peak_growth(task)
    process = memory_mb('VmHWM')
    figures = (f'{seconds[0]:.1f}', f'{corners:.2f}', f'{peak:.0f}', f'{process:.0f}')
    return [f'{height}x{width}', classes, *figures]


def lines(args: argparse.Namespace) -> Iterator[str]:
    """The tables in Markdown."""
    yield f'Measured on {machine()}.'
    if find_spec('pydensecrf') is not None:
        head = ('photograph, 21 classes', 'size', 'torch, s', 'pydensecrf2, s', 'ratio')
        yield from markdown_table(
            (*head, 'labels that agree, %'), beside_pydensecrf(voc_config(args), args.rounds)
        )
    head = ('street', 'classes', 'torch, s', 'corners a pixel', 'peak of the CRF, MB', 'of the process, MB')
    yield from markdown_table(head, [in_own_process(grow, *size) for size in SIZES])
    cfg = voc_config(args)
    enable_dense_crf(cfg)
    with TemporaryDirectory() as cfg.work_dir:
        scores = Runner.from_cfg(cfg).test()
    pairs = ((name, scores[f'unrefined/{name}'], scores[name]) for name in SHOWN)
    rows = [(name, f'{plain:.2f}', f'{fine:.2f}', f'{fine - plain:+.2f}') for name, plain, fine in pairs]
    yield from markdown_table(("VOC's photographs, %", 'without', 'with', 'difference'), rows)
