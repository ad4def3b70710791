"""How a validation grows with image size, number of classes and of images."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from benchmarks import setups, validation
from benchmarks.measure import alternate, peak_growth
from mmseg_deeplab_study.evaluation.metrics.adaptation_metric import AdaptationMetric

NETWORK = 'MobileNetV2'


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds per image by height, by number of classes, and of a pass by number of images."""

    def per_image(number: int, height: int) -> dict[str, float]:
        root = setups.make_streets(folder, number, height)
        what = f'{number} images of {height}x{2 * height}'
        return validation.per_image(validation.build(NETWORK, root, folder), {}, rounds, what)

    return {
        'height': {height: per_image(4, height) for height in (256, 512, 768, 1024)},
        'classes': {number: _by_classes(number, folder, rounds) for number in (2, 19, 59, 150)},
        'images': {n: {k: v * n for k, v in per_image(n, 256).items()} for n in (1, 2, 4, 8)},
    }


def _by_classes(number: int, folder: Path, rounds: int) -> dict[str, float]:
    """Seconds, and MB at most, from logits of a 512x1024 image to its counts."""
    root = setups.make_streets(folder, 1, 512)
    tasks = {}
    logits = torch.randn(1, number, 32, 64, generator=torch.Generator().manual_seed(0))
    label = torch.randint(number, (1, 512, 1024), generator=torch.Generator().manual_seed(1))
    for variant in (setups.STOCK, 'float32'):
        cfg = setups.config(NETWORK, variant, root, folder / f'classes_{variant}_{number}')
        cfg.model.decode_head.num_classes = number
        model = MODELS.build(cfg.model).eval()
        metric = IoUMetric() if variant == setups.STOCK else AdaptationMetric()
        metric.dataset_meta = dict(classes=[str(i) for i in range(number)])
        truth = label if variant == setups.STOCK else label.to(torch.uint8)
        tasks[variant] = partial(_after_the_network, model, metric, logits, truth)
    seconds = alternate(tasks, 3 * rounds, f'{number} classes')
    return seconds | {f'{name} MB': peak_growth(task) for name, task in tasks.items()}


@torch.no_grad()
def _after_the_network(model: nn.Module, metric: Any, logits: torch.Tensor, label: torch.Tensor) -> None:
    """Resize, labels, counts."""
    if hasattr(model, '_folded_logits'):
        model._folded_logits = lambda inputs: logits.contiguous(memory_format=torch.channels_last)
    else:
        model.extract_feat = lambda inputs: None
        model.decode_head.forward = lambda features: logits
    shape = label.shape[1:]
    sample = SegDataSample(
        metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape, padding_size=[0] * 4)
    )
    sample.gt_sem_seg = PixelData(data=label)
    samples = model.predict(torch.empty(1, 3, *shape), [sample])
    metric.process({}, [sample.to_dict() for sample in samples])
    metric.results.clear()
