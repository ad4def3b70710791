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
from mmseg_deeplab_study.runs.launch import enable_amp


class _Watch(Hook):
    """Seconds of each training stretch and each validation."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.training: list[float] = []
        self.validating: list[float] = []

    def before_train_epoch(self, runner: Runner) -> None:
        self._since = time.perf_counter()

    def before_val(self, runner: Runner) -> None:
        if runner.iter:
            self.training.append(time.perf_counter() - self._since)
        self._since = time.perf_counter()

    def after_val(self, runner: Runner) -> None:
        self.validating.append(time.perf_counter() - self._since)
        self._since = time.perf_counter()


def _timed(method: Callable, seconds: list[float]) -> Callable:
    def timed(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - started)

    return timed


def measure(
    network: str, data_root: Path, folder: Path, rounds: int, crop: int = 384
) -> dict[str, dict[str, float]]:
    """Seconds of a round, its parts and the tracker's share, stock's and ours.

    Rounds are means over all but the first, in which caches fill. Ours run with freed memory kept, as our
    tools do. The first validation of ours, at iteration 0, has no counterpart and is left out.
    """
    results = {}
    for variant in setups.VARIANTS:
        kind = setups.STOCK if variant == setups.STOCK else setups.OURS
        work_dir = folder / f'{network}_run_{variant}_{data_root.name}'
        cfg = setups.config(network, kind, data_root, work_dir, crop=crop)
        cfg.train_cfg.max_iters = 5 * rounds
        if variant == 'bfloat16':
            cfg.model.eval_dtype = 'bfloat16'
            enable_amp(cfg)
        if kind == setups.OURS:
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
    training = watch.training[1:]
    validation = sum(watch.validating[-len(training) :]) / len(training)
    seconds = sum(training) / len(training) + validation
    result = {'round': seconds, 'validation': validation, 'validating_percent': 100 * validation / seconds}
    if tracker is not None:
        result['tracker'] = sum(tracking) / len(watch.validating)
        result['tracker_percent'] = 100 * result['tracker'] / seconds
    return result
