"""How a validation grows with image size, number of classes and of images."""

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
    """Seconds by height, by number of classes and by number of images."""
    return {
        'height': _by_height(folder, rounds),
        'classes': {number: _by_classes(number, folder, rounds) for number in (2, 19, 59, 150)},
        'images': {number: _by_images(number, folder, rounds) for number in (1, 2, 4, 8)},
    }


def _by_height(folder: Path, rounds: int) -> dict[int, dict[str, float]]:
    """Seconds per image of the whole pass, images of height x 2 height."""
    result = {}
    for height in (256, 512, 768, 1024):
        root = setups.make_streets(folder, 4, height)
        result[height] = validation.returned(NETWORK, root, folder, rounds)
    return result


def _by_images(number: int, folder: Path, rounds: int) -> dict[str, float]:
    """Seconds of a pass over ``number`` images of 256x512."""
    root = setups.make_streets(folder, number, 256)
    seconds = validation.returned(NETWORK, root, folder, rounds)
    return {name: value * number for name, value in seconds.items()}


def _by_classes(number: int, folder: Path, rounds: int) -> dict[str, float]:
    """Seconds, and MB at most, from logits of a 512x1024 image to its counts."""
    root = setups.make_streets(folder, 1, 512)
    tasks = {}
    logits = torch.randn(1, number, 32, 64, generator=torch.Generator().manual_seed(0))
    label = torch.randint(number, (1, 512, 1024), generator=torch.Generator().manual_seed(1))
    for kind in (setups.STOCK, setups.OURS):
        cfg = setups.config(NETWORK, kind, root, folder / f'classes_{kind}_{number}')
        cfg.model.decode_head.num_classes = number
        model = MODELS.build(cfg.model).eval()
        metric = IoUMetric() if kind == setups.STOCK else AdaptationMetric()
        metric.dataset_meta = dict(classes=[str(i) for i in range(number)])
        truth = label if kind == setups.STOCK else label.to(torch.uint8)
        tasks[kind] = _Tail(model, metric, logits, truth).run
    seconds = alternate(tasks, 3 * rounds, f'{number} classes')
    return seconds | {f'{name} MB': peak_growth(task) for name, task in tasks.items()}


class _Tail:
    """What comes after the network: resize, labels, counts."""

    def __init__(self, model: nn.Module, metric: Any, logits: torch.Tensor, label: torch.Tensor) -> None:
        self.model, self.metric, self.label = model, metric, label
        logits = logits.contiguous(memory_format=torch.channels_last)
        if hasattr(model, '_folded_logits'):
            model._folded_logits = lambda inputs: logits
        else:
            model.extract_feat = lambda inputs: None
            model.decode_head.forward = lambda features: logits.contiguous()

    @torch.no_grad()
    def run(self) -> None:
        shape = self.label.shape[1:]
        sample = SegDataSample(
            metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape, padding_size=[0] * 4)
        )
        sample.gt_sem_seg = PixelData(data=self.label)
        samples = self.model.predict(torch.empty(1, 3, *shape), [sample])
        self.metric.process({}, [sample.to_dict() for sample in samples])
        self.metric.results.clear()
