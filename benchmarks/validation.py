"""A validation pass: stock's loop, segmentor and metric against ours."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.runner import Runner
from torch import Tensor, nn

from benchmarks import setups
from benchmarks.measure import alternate, keep_memory, peak_growth
from mmseg_deeplab_study.evaluation.metrics.adaptation_metric import confusion_matrix
from mmseg_deeplab_study.evaluation.metrics.scores import scores_from_confusion


def build(
    network: str, data_root: Path, folder: Path, weights: Mapping[str, Tensor] | None
) -> dict[str, Runner]:
    """Stock, ours, and ours in bfloat16, with the same weights."""
    runners = {}
    for name in setups.VARIANTS:
        kind = setups.STOCK if name == setups.STOCK else setups.OURS
        cfg = setups.config(network, kind, data_root, folder / f'{network}_{name}_{data_root.name}')
        if kind == setups.OURS:
            cfg.model.eval_dtype = name
        runners[name] = setups.build(cfg)
        if weights is None:
            weights = runners[name].model.state_dict()
        runners[name].model.load_state_dict(weights)
        runners[name].model.eval()
    return runners


def measure(
    network: str, data_root: Path, folder: Path, rounds: int, weights: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """Seconds per image of each variant, and how far ours differ from stock.

    Times are those of the validation loop as it is, in the C library's own way with memory and with freed
    memory kept; ``forward`` is the folded network alone, without anything around it.
    """
    runners = build(network, data_root, folder, weights)
    batches = list(runners['float32'].val_dataloader)
    tasks = _passes(runners)
    seconds = _per_image(tasks, runners, rounds, f'{network} validates {data_root.name}')
    with torch.no_grad():
        forwards = {}
        for name in setups.DTYPES:
            model = runners[name].model
            inputs = [model._evaluated(model.data_preprocessor(batch)['inputs']) for batch in batches]
            parts = model._fold(inputs[0].float())
            forwards[f'forward {name}'] = partial(_run, parts, inputs)
        keep_memory()
        kept = _per_image(tasks | forwards, runners, rounds, f'{network}, freed memory kept')
    return {'seconds': seconds, 'seconds_kept': kept, 'difference': _differences(runners, batches)}


def _run(parts: nn.ModuleDict, inputs: Sequence[Tensor]) -> None:
    for image in inputs:
        parts['decode_head'](parts['backbone'](image))


def returned(network: str, data_root: Path, folder: Path, rounds: int) -> dict[str, float]:
    """Seconds per image of each variant, the allocator as it is."""
    runners = build(network, data_root, folder, None)
    return _per_image(_passes(runners), runners, rounds, f'{network} validates {data_root.name}')


def _passes(runners: Mapping[str, Runner]) -> dict[str, Callable[[], object]]:
    return {name: runner.val_loop.run for name, runner in runners.items()}


def _per_image(
    tasks: Mapping[str, Callable[[], object]], runners: Mapping[str, Runner], rounds: int, what: str
) -> dict[str, float]:
    images = len(runners[setups.STOCK].val_dataloader.dataset)
    return {name: value / images for name, value in alternate(tasks, rounds, what).items()}


def memory(network: str, data_root: Path, folder: Path) -> dict[str, dict[str, float]]:
    """MB by which a process grows in a pass, and those of the folded copy."""
    result: dict[str, dict[str, float]] = {'peak_mb': {}, 'folded_mb': {}}
    for name, runner in build(network, data_root, folder, None).items():
        runner.val_loop.run()
        result['peak_mb'][name] = peak_growth(runner.val_loop.run)
        if name != setups.STOCK:
            parts = runner.model._folded[1].parameters()
            result['folded_mb'][name] = sum(p.numel() * p.element_size() for p in parts) / 2**20
    return result


@torch.no_grad()
def _differences(runners: Mapping[str, Runner], batches: list[dict]) -> dict[str, dict[str, float]]:
    """Percent of pixels with stock's label, and points of mIoU apart, unrounded."""
    stock = runners[setups.STOCK]
    classes = stock.val_dataloader.dataset.metainfo['classes']
    counts: dict[str, np.ndarray | int] = dict.fromkeys(runners, 0)
    same, pixels = dict.fromkeys(runners, 0), 0
    for batch in batches:
        truth = [sample.gt_sem_seg.data.clone() for sample in batch['data_samples']]
        labels = {}
        for name, runner in runners.items():
            predicted = [sample.pred_sem_seg.data for sample in runner.model.val_step(batch)]
            labels[name] = [label.to(torch.uint8) for label in predicted]
            for label, true in zip(labels[name], truth, strict=True):
                counts[name] = counts[name] + confusion_matrix(label, true, len(classes))
        for name in runners:
            pairs = zip(labels[name], labels[setups.STOCK], strict=True)
            same[name] += sum(int((a == b).sum()) for a, b in pairs)
        pixels += sum(label.numel() for label in truth)
    miou = {name: scores_from_confusion(count, classes, ())['mIoU'] for name, count in counts.items()}
    stock = miou[setups.STOCK]
    return {
        name: {'labels': 100 * same[name] / pixels, 'miou': value, 'points': abs(value - stock)}
        for name, value in miou.items()
    }
