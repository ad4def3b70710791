"""Validation with stock's loop, segmentor and metric, and with ours."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from benchmarks import setups
from benchmarks.measure import alternate, keep_memory, peak_growth
from mmseg_deeplab_study.engine import DecodedCacheHook
from mmseg_deeplab_study.evaluation.metrics.adaptation_metric import AdaptationMetric
from mmseg_deeplab_study.evaluation.metrics.confusion import confusion_matrix
from mmseg_deeplab_study.evaluation.metrics.scores import scores_from_confusion

GROWN = 'MobileNetV2'


def build(network: str, data_root: Path, folder: Path, weights: Path | None = None) -> dict[str, Runner]:
    """Stock, ours, and ours in bfloat16, with the same weights: of a file, if it is there."""
    runners = {}
    state = torch.load(weights, weights_only=True) if weights and weights.exists() else None
    for name in setups.VARIANTS:
        runners[name] = runner = Runner.from_cfg(setups.config(network, name, data_root, folder))
        # As in the middle of a training.
        runner.call_hook('before_run')
        for hook in runner.hooks:
            if isinstance(hook, DecodedCacheHook):
                hook.before_train(runner)
        state = runner.model.state_dict() if state is None else state
        runner.model.load_state_dict(state)
        runner.model.eval()
    return runners


def passes(network: str, data_root: Path, folder: Path, rounds: int, weights: Path) -> dict[str, Any]:
    """Seconds per image of each variant, and how far ours differ from stock.

    Times are those of the validation loop as it is, in the C library's own way with memory and with freed
    memory kept; ``forward`` is the folded network alone, without anything around it.
    """
    runners = build(network, data_root, folder, weights)
    batches = list(runners['float32'].val_dataloader)
    seconds = _per_image(runners, rounds, f'{network} validates {data_root.name}')
    with torch.no_grad():
        forwards = {}
        for name in setups.DTYPES:
            model = runners[name].model
            inputs = [model._evaluated(model.data_preprocessor(batch)['inputs']) for batch in batches]
            parts = model._fold(inputs[0].float())
            forwards[f'forward {name}'] = partial(_run, parts, inputs)
        keep_memory()
        kept = _per_image(runners, rounds, f'{network}, freed memory kept', **forwards)
    return {'seconds': seconds, 'seconds_kept': kept, 'difference': _differences(runners, batches)}


def _run(parts: nn.ModuleDict, inputs: Sequence[Tensor]) -> None:
    for image in inputs:
        parts['decode_head'](parts['backbone'](image))


def _per_image(
    runners: Mapping[str, Runner], rounds: int, what: str, **more: Callable[[], object]
) -> dict[str, float]:
    """Seconds per image of each variant's pass, and of ``more`` tasks beside them."""
    tasks = {name: runner.val_loop.run for name, runner in runners.items()} | more
    images = len(runners[setups.STOCK].val_dataloader.dataset)
    return {name: value / images for name, value in alternate(tasks, rounds, what).items()}


def memory(network: str, data_root: Path, folder: Path) -> dict[str, dict[str, float]]:
    """MB by which a process grows in a pass, and those of the folded copy."""
    result: dict[str, dict[str, float]] = {'peak_mb': {}, 'folded_mb': {}}
    for name, runner in build(network, data_root, folder).items():
        runner.val_loop.run()
        result['peak_mb'][name] = peak_growth(runner.val_loop.run)
        if name != setups.STOCK:
            parts = runner.model._folded[1].parameters()
            result['folded_mb'][name] = sum(p.numel() * p.element_size() for p in parts) / 2**20
    return result


@torch.no_grad()
def _differences(runners: Mapping[str, Runner], batches: list[dict]) -> dict[str, dict[str, float]]:
    """Percent of pixels with stock's label, and points of mIoU apart, unrounded."""
    classes = runners[setups.STOCK].val_dataloader.dataset.metainfo['classes']
    truth = torch.cat([sample.gt_sem_seg.data.flatten() for b in batches for sample in b['data_samples']])
    labels, miou = {}, {}
    for name, runner in runners.items():
        found = [sample.pred_sem_seg.data.flatten() for b in batches for sample in runner.model.val_step(b)]
        labels[name] = torch.cat(found).to(torch.uint8)
        counts = confusion_matrix(labels[name].numpy(), truth.numpy(), len(classes))
        miou[name] = scores_from_confusion(counts, classes, ())['mIoU']
    return {
        name: {
            'labels': 100 * (labels[name] == labels[setups.STOCK]).double().mean().item(),
            'points': abs(miou[name] - miou[setups.STOCK]),
        }
        for name in runners
    }


def growth(folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds per image by height, by number of classes, and of a pass by number of images."""

    def by_streets(number: int, height: int) -> dict[str, float]:
        root = setups.make_streets(folder, number, height)
        what = f'{number} images of {height}x{2 * height}'
        return _per_image(build(GROWN, root, folder), rounds, what)

    return {
        'height': {height: by_streets(4, height) for height in (256, 512, 768, 1024)},
        'classes': {number: _by_classes(number, folder, rounds) for number in (2, 19, 59, 150)},
        'images': {n: {k: v * n for k, v in by_streets(n, 256).items()} for n in (1, 2, 4, 8)},
    }


def _by_classes(number: int, folder: Path, rounds: int) -> dict[str, float]:
    """Seconds, and MB at most, from logits of a 512x1024 image to its counts."""
    root = setups.make_streets(folder, 1, 512)
    tasks = {}
    logits = torch.randn(1, number, 32, 64, generator=torch.Generator().manual_seed(0))
    label = torch.randint(number, (1, 512, 1024), generator=torch.Generator().manual_seed(1))
    for variant in (setups.STOCK, 'float32'):
        cfg = setups.config(GROWN, variant, root, folder)
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
