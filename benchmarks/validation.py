"""A validation pass: stock's loop, segmentor and metric against ours."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner
from torch import Tensor, nn

from benchmarks import setups
from benchmarks.measure import alternate, keep_memory, peak_growth
from mmseg_deeplab_study.engine import DecodedCacheHook
from mmseg_deeplab_study.evaluation.metrics.confusion import confusion_matrix
from mmseg_deeplab_study.evaluation.metrics.scores import scores_from_confusion


def build(
    network: str, data_root: Path, folder: Path, weights: Mapping[str, Tensor] | None = None
) -> dict[str, Runner]:
    """Stock, ours, and ours in bfloat16, with the same weights."""
    runners = {}
    for name in setups.VARIANTS:
        cfg = setups.config(network, name, data_root, folder / f'{network}_{name}_{data_root.name}')
        runners[name] = runner = Runner.from_cfg(cfg)
        # As in the middle of a training.
        runner.call_hook('before_run')
        for hook in runner.hooks:
            if isinstance(hook, DecodedCacheHook):
                hook.before_train(runner)
        weights = runner.model.state_dict() if weights is None else weights
        runner.model.load_state_dict(weights)
        runner.model.eval()
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
    seconds = per_image(runners, {}, rounds, f'{network} validates {data_root.name}')
    with torch.no_grad():
        forwards = {}
        for name in setups.DTYPES:
            model = runners[name].model
            inputs = [model._evaluated(model.data_preprocessor(batch)['inputs']) for batch in batches]
            parts = model._fold(inputs[0].float())
            forwards[f'forward {name}'] = partial(_run, parts, inputs)
        keep_memory()
        kept = per_image(runners, forwards, rounds, f'{network}, freed memory kept')
    return {'seconds': seconds, 'seconds_kept': kept, 'difference': _differences(runners, batches)}


def _run(parts: nn.ModuleDict, inputs: Sequence[Tensor]) -> None:
    for image in inputs:
        parts['decode_head'](parts['backbone'](image))


def per_image(
    runners: Mapping[str, Runner], more: Mapping[str, Callable[[], object]], rounds: int, what: str
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
