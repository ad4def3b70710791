"""A run of the study's shape: rounds of five iterations and a validation."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from benchmarks import setups
from benchmarks.measure import keep_memory
from mmseg_deeplab_study.engine import AdaptationHook


class _Watch(Hook):
    """When each validation begins and ends."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.ended: list[float] = []

    def before_val(self, runner: Runner) -> None:
        self.begun.append(time.perf_counter())

    def after_val(self, runner: Runner) -> None:
        self.ended.append(time.perf_counter())


def _timed(method: Callable, seconds: list[float]) -> Callable:
    def timed(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - started)

    return timed


def measure(network: str, data_root: Path, folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of a round, its parts and the tracker's share, stock's and ours.

    Rounds are means over all but the first, in which caches fill. Ours run with freed memory kept, as our
    tools do. The first validation of ours, at iteration 0, has no counterpart and is left out.
    """
    results = {}
    for variant in setups.VARIANTS:
        cfg = setups.config(network, variant, data_root, folder / f'{network}_run_{variant}_{data_root.name}')
        cfg.train_cfg.max_iters = 5 * rounds
        if variant in setups.DTYPES:
            keep_memory()
        results[variant] = run(cfg, rounds)
    return results


def run(cfg: Config, rounds: int) -> dict[str, float]:
    """Train for ``rounds`` validations; means of all but the first round."""
    runner, watch = Runner.from_cfg(cfg), _Watch()
    runner.register_hook(watch)
    tracker = next((hook for hook in runner.hooks if isinstance(hook, AdaptationHook)), None)
    tracking: list[float] = []
    for name in ('before_val', 'after_val_iter', 'after_val_epoch', 'after_val') if tracker else ():
        setattr(tracker, name, _timed(getattr(tracker, name), tracking))
    runner.train()
    begun, ended = watch.begun[-rounds:], watch.ended[-rounds:]
    validation = (sum(ended[1:]) - sum(begun[1:])) / (rounds - 1)
    seconds = (ended[-1] - ended[0]) / (rounds - 1)
    result = {'round': seconds, 'validation': validation, 'validating_percent': 100 * validation / seconds}
    if tracker is not None:
        result['tracker'] = sum(tracking) / len(watch.ended)
        result['tracker_percent'] = 100 * result['tracker'] / seconds
    return result
