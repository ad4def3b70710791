"""Training as stock does it and as ours: steps, losses, rounds of the study, and a real run."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from benchmarks import setups
from benchmarks.measure import alternate, keep_memory
from mmseg_deeplab_study.engine import AdaptationHook
from mmseg_deeplab_study.runs.history import read_history

VARIANTS = (setups.STOCK, *((setups.STOCK_AMP,) if 'bfloat16' in setups.DTYPES else ()), *setups.DTYPES)


def steps(
    network: str, data_root: Path, folder: Path, number: int, crop: int, weights: Path | None
) -> dict[str, dict[str, float]]:
    """Seconds of a step on two crops; ``weights`` is where those that stock has at the end go."""
    runners = {variant: _runner(network, variant, data_root, folder, crop) for variant in VARIANTS}
    for runner in runners.values():
        runner.model.load_state_dict(runners[setups.STOCK].model.state_dict())
    batches = _batches(runners[setups.STOCK], number)

    def step(runner: Runner, its_batches: Iterator[dict]) -> None:
        batch = next(its_batches)
        # The preprocessor pads the samples that it is given.
        data = {'inputs': batch['inputs'], 'data_samples': [s.clone() for s in batch['data_samples']]}
        runner.model.train_step(data, runner.optim_wrapper)

    tasks = {variant: partial(step, runner, cycle(batches)) for variant, runner in runners.items()}
    seconds = alternate(tasks, number, f'{network} trains')
    keep_memory()
    kept = alternate(tasks, max(1, number // 2), f'{network} trains, freed memory kept')
    if weights is not None:
        torch.save(runners[setups.STOCK].model.state_dict(), weights)
    return {'seconds': seconds, 'seconds_kept': kept}


def rounding(network: str, data_root: Path, folder: Path, number: int) -> dict[str, float]:
    """Relative distance from stock after an update in float64, and after a number of them in float32.

    A network from random weights, with batch norm over two images, multiplies every rounding at each update:
    ``nudged`` is how far stock then is from itself, its images changed by one rounding of float32.
    """
    runners = {}
    for kind in (setups.STOCK, 'nudged', 'float32'):
        variant = setups.STOCK if kind == 'nudged' else kind
        runners[kind] = _runner(network, variant, data_root, folder, crop=128)
    batches = _batches(runners[setups.STOCK], number)
    start = {key: value.clone() for key, value in runners[setups.STOCK].model.state_dict().items()}
    losses = {}
    for kind, runner in runners.items():
        runner.model.load_state_dict(start)
        nudge = 1 + 2**-23 if kind == 'nudged' else 1
        losses[kind] = torch.tensor([_update(runner, batch, torch.float32, nudge) for batch in batches])
    stock = losses.pop(setups.STOCK)
    result = {kind: float(((stock - curve).abs() / stock).max()) for kind, curve in losses.items()}
    weights = {}
    for kind in (setups.STOCK, 'float32'):
        runner = _runner(network, kind, data_root, folder, crop=128)
        runner.model.load_state_dict(start)
        runner.model.to(torch.float64)
        _update(runner, batches[0], torch.float64)
        weights[kind] = torch.cat([p.detach().reshape(-1) for p in runner.model.parameters()])
    before = torch.cat([start[name].double().reshape(-1) for name, _ in runner.model.named_parameters()])
    apart = (weights['float32'] - weights[setups.STOCK]).norm()
    moved = (weights[setups.STOCK] - before).norm()
    return {**result, 'steps': number, 'first update, float64': float(apart / moved)}


def _update(runner: Runner, batch: dict, dtype: torch.dtype, nudge: float = 1.0) -> float:
    samples = [sample.clone() for sample in batch['data_samples']]
    data = runner.model.data_preprocessor({'inputs': batch['inputs'], 'data_samples': samples}, True)
    loss = runner.model.loss(data['inputs'].to(dtype) * nudge, data['data_samples'])['decode.loss_ce']
    runner.optim_wrapper.update_params(loss)
    return loss.item()


def _runner(network: str, variant: str, data_root: Path, folder: Path, crop: int) -> Runner:
    runner = Runner.from_cfg(setups.config(network, variant, data_root, folder, crop))
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.optim_wrapper.initialize_count_status(runner.model, 0, runner.cfg.train_cfg.max_iters)
    runner.model.train()
    return runner


def _batches(runner: Runner, number: int) -> list[dict]:
    """Batches drawn beforehand, so that no loading is in the time of the steps."""
    loader = runner.build_dataloader(runner._train_dataloader, seed=0)
    return [batch for batch, _ in zip(loader, range(number), strict=False)]


def rounds(network: str, data_root: Path, folder: Path, number: int) -> dict[str, dict[str, float]]:
    """Seconds of five iterations and a validation, of the latter, and of the tracker at it.

    Means over all rounds but the first, in which caches fill. Ours run with freed memory kept, as our tools
    do. The first validation of ours, at iteration 0, has no counterpart and is left out.
    """
    results = {}
    for variant in setups.VARIANTS:
        cfg = setups.config(network, variant, data_root, folder)
        if variant in setups.DTYPES:
            keep_memory()
        results[variant] = run_rounds(cfg, number)
    return results


def run_rounds(cfg: Config, number: int) -> dict[str, float]:
    cfg.train_cfg.max_iters = 5 * number
    runner = Runner.from_cfg(cfg)
    validations: list[tuple[float, float]] = []
    tracking: list[tuple[float, float]] = []
    _note_times(runner.val_loop, 'run', validations)
    for hook in runner.hooks:
        if isinstance(hook, AdaptationHook):
            for name in ('before_val', 'after_val_iter', 'after_val_epoch', 'after_val'):
                _note_times(hook, name, tracking)
    runner.train()
    later = validations[-number:][1:]
    return {
        'round': (later[-1][1] - validations[-number][1]) / len(later),
        'validation': sum(end - start for start, end in later) / len(later),
        'tracker': sum(end - start for start, end in tracking) / len(validations),
    }


def _note_times(owner: object, name: str, times: list[tuple[float, float]]) -> None:
    """Have a method note when it begins and ends."""
    method = getattr(owner, name)

    def timed(*args: object, **kwargs: object) -> object:
        started = time.perf_counter()
        result = method(*args, **kwargs)
        times.append((started, time.perf_counter()))
        return result

    setattr(owner, name, timed)


def real_run(weights: Path, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Losses and validations on CamVid of runs that differ in the segmentor alone."""
    options = {setups.STOCK: 'model.type=EncoderDecoder'}
    options |= {name: f'model.eval_dtype={name}' for name in setups.DTYPES}
    result = {}
    for name, option in options.items():
        work_dir = folder / name
        command = [sys.executable, 'tools/train.py', setups.LEAF, '--work-dir', work_dir, '--cfg-options']
        # Dropout draws its masks in the order of memory, which is what differs.
        command += [f'load_from=tflite://{weights}', option, 'model.decode_head.aspp_dropout_ratio=0']
        command += ['default_hooks.logger.interval=1']
        subprocess.run(command, cwd=setups.ROOT, check=True, stdout=subprocess.DEVNULL)
        lines = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
        rows = read_history(work_dir).validations
        result[name] = {
            'loss': [line['loss'] for line in map(json.loads, lines) if 'loss' in line],
            'miou': [row['mIoU'] for row in rows],
            'labelled': [row['mIoU.labelled'] for row in rows],
        }
    return result
