"""A training step of stock and of ours, on equal images and weights."""

from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner

from benchmarks import setups
from benchmarks.measure import alternate, keep_memory

VARIANTS = (setups.STOCK, *((setups.STOCK_AMP,) if 'bfloat16' in setups.DTYPES else ()), *setups.DTYPES)


def measure(network: str, data_root: Path, folder: Path, steps: int, crop: int) -> dict[str, Any]:
    """Seconds of a step on two crops, and the weights that stock has at the end."""
    runners = {v: _runner(network, v, data_root, folder / f'{network}_train_{v}', crop) for v in VARIANTS}
    for runner in runners.values():
        runner.model.load_state_dict(runners[setups.STOCK].model.state_dict())
    batches = _batches(runners[setups.STOCK], steps)
    places = dict.fromkeys(VARIANTS, 0)

    def step(variant: str) -> None:
        runner, batch = runners[variant], batches[places[variant] % len(batches)]
        places[variant] += 1
        # The preprocessor pads the samples that it is given.
        data = {'inputs': batch['inputs'], 'data_samples': [s.clone() for s in batch['data_samples']]}
        runner.model.train_step(data, runner.optim_wrapper)

    tasks = {variant: (lambda variant=variant: step(variant)) for variant in VARIANTS}
    seconds = alternate(tasks, steps, f'{network} trains')
    keep_memory()
    kept = alternate(tasks, max(1, steps // 2), f'{network} trains, freed memory kept')
    weights = {key: value.clone() for key, value in runners[setups.STOCK].model.state_dict().items()}
    return {'seconds': seconds, 'seconds_kept': kept, 'weights': weights}


def rounding(network: str, data_root: Path, folder: Path, steps: int) -> dict[str, float]:
    """Relative distance from stock after an update in float64, ``steps`` in float32.

    A network from random weights, with batch norm over two images, multiplies every rounding at each update:
    ``nudged`` is how far stock then is from itself, its images changed by one rounding of float32.
    """
    runners = {}
    for kind in (setups.STOCK, 'nudged', 'float32'):
        variant = setups.STOCK if kind == 'nudged' else kind
        runners[kind] = _runner(network, variant, data_root, folder / f'{network}_curve_{kind}', crop=128)
    batches = _batches(runners[setups.STOCK], steps)
    start = {key: value.clone() for key, value in runners[setups.STOCK].model.state_dict().items()}
    result, losses = {'steps': steps}, {}
    for kind, runner in runners.items():
        runner.model.load_state_dict(start)
        nudge = 1 + 2**-23 if kind == 'nudged' else 1
        losses[kind] = torch.tensor([_update(runner, batch, torch.float32, nudge) for batch in batches])
    stock = losses.pop(setups.STOCK)
    for kind, curve in losses.items():
        result[kind] = float(((stock - curve).abs() / stock).max())
    weights = {}
    for kind in (setups.STOCK, 'float32'):
        runner = _runner(network, kind, data_root, folder / f'{network}_once_{kind}', crop=128)
        runner.model.load_state_dict(start)
        runner.model.to(torch.float64)
        _update(runner, batches[0], torch.float64)
        weights[kind] = torch.cat([p.detach().reshape(-1) for p in runner.model.parameters()])
    before = torch.cat([start[name].double().reshape(-1) for name, _ in runner.model.named_parameters()])
    apart = (weights['float32'] - weights[setups.STOCK]).norm()
    return result | {'first update, float64': float(apart / (weights[setups.STOCK] - before).norm())}


def _update(runner: Runner, batch: dict, dtype: torch.dtype, nudge: float = 1.0) -> float:
    samples = [sample.clone() for sample in batch['data_samples']]
    data = runner.model.data_preprocessor({'inputs': batch['inputs'], 'data_samples': samples}, True)
    loss = runner.model.loss(data['inputs'].to(dtype) * nudge, data['data_samples'])['decode.loss_ce']
    runner.optim_wrapper.update_params(loss)
    return loss.item()


def _runner(network: str, variant: str, data_root: Path, work_dir: Path, crop: int) -> Runner:
    runner = Runner.from_cfg(setups.config(network, variant, data_root, work_dir, crop))
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.optim_wrapper.initialize_count_status(runner.model, 0, runner.cfg.train_cfg.max_iters)
    runner.model.train()
    return runner


def _batches(runner: Runner, number: int) -> list[dict]:
    """Batches drawn beforehand, so that no loading is in the time of the steps."""
    loader = runner.build_dataloader(runner._train_dataloader, seed=0)
    return [batch for batch, _ in zip(loader, range(number), strict=False)]
