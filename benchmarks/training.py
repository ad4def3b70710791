"""A training step: stock against ours, on the same images, from the same weights."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from benchmarks import setups
from benchmarks.measure import alternate, kept_memory
from mmseg_deeplab_study.engine.launch import enable_amp

VARIANTS = (setups.STOCK, 'stock --amp', 'float32', 'bfloat16')


def _config(network: str, variant: str, data_root: Path, folder: Path, crop: int) -> Config:
    kind = setups.STOCK if variant.startswith(setups.STOCK) else setups.OURS
    cfg = setups.config(network, kind, data_root, folder / f'{network}_train_{variant}_{crop}', crop=crop)
    if variant in ('stock --amp', 'bfloat16'):
        # MMSeg's own --amp refuses the CPU: stock gets our optimizer wrapper.
        enable_amp(cfg)
    return cfg


def measure(network: str, data_root: Path, folder: Path, steps: int, crop: int = 384) -> dict[str, Any]:
    """Seconds per step of two crops, and the losses of ``steps`` steps of stock and ours in float32."""
    runners: dict[str, Runner] = {}
    for variant in VARIANTS:
        runner = runners[variant] = Runner.from_cfg(_config(network, variant, data_root, folder, crop))
        runner.model.load_state_dict(runners[setups.STOCK].model.state_dict())
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.optim_wrapper.initialize_count_status(runner.model, 0, steps)
        runner.model.train()
    batches = iter(_batches(runners[setups.STOCK], steps + 7))
    given: list[dict] = []
    losses: dict[str, list[float]] = {variant: [] for variant in VARIANTS}

    def step(variant: str) -> None:
        if variant == setups.STOCK:
            given[:] = [next(batches)]
        runner = runners[variant]
        # The preprocessor pads the samples it is given.
        data = {key: list(value) for key, value in given[0].items()}
        data['data_samples'] = [sample.clone() for sample in data['data_samples']]
        losses[variant].append(float(runner.model.train_step(data, runner.optim_wrapper)['loss']))

    tasks = {variant: (lambda variant=variant: step(variant)) for variant in VARIANTS}
    seconds = alternate(tasks, steps, f'{network} trains')
    with kept_memory():
        kept = alternate(tasks, 5, f'{network} trains, freed memory kept')
    weights = {key: value.clone() for key, value in runners[setups.STOCK].model.state_dict().items()}
    curves = torch.tensor([losses[setups.STOCK][: steps + 1], losses['float32'][: steps + 1]], dtype=torch.float64)
    return {
        'crop': crop,
        'steps': steps + 1,
        'seconds': seconds,
        'seconds_kept': kept,
        'losses': {variant: losses[variant][: steps + 1] for variant in (setups.STOCK, 'float32')},
        'loss_difference': float(((curves[0] - curves[1]).abs() / curves[0]).max()),
        'weights': weights,
    }


def _batches(runner: Runner, number: int) -> list[dict]:
    """Batches drawn beforehand, so that no loading is in the steps' time."""
    loader = runner.build_dataloader(runner._train_dataloader, seed=0)
    return [batch for batch, _ in zip(loader, range(number), strict=False)]
