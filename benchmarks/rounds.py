"""A whole run of the study's shape: five iterations and a validation, again and again."""

import time
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from benchmarks import setups
from benchmarks.measure import keep_memory
from mmseg_deeplab_study.engine import AdaptationHook
from mmseg_deeplab_study.engine.launch import enable_amp


class _Watch(Hook):
    """Seconds of each training stretch and each validation, as the run's own clock sees them."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.training: list[float] = []
        self.validating: list[float] = []

    def before_train_epoch(self, runner: Runner) -> None:
        self._since = time.perf_counter()

    def before_val(self, runner: Runner) -> None:
        now = time.perf_counter()
        if runner.iter:
            self.training.append(now - self._since)
        self._since = now

    def after_val(self, runner: Runner) -> None:
        now = time.perf_counter()
        self.validating.append(now - self._since)
        self._since = now


class _Timed:
    """Sums up the seconds spent in some methods of an object."""

    def __init__(self, owner: Any, names: tuple[str, ...]) -> None:
        self.seconds = 0.0
        for name in names:
            setattr(owner, name, self._wrap(getattr(owner, name)))

    def _wrap(self, method: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def measure(
    network: str, data_root: Path, folder: Path, rounds: int, crop: int = 384
) -> dict[str, dict[str, float]]:
    """Seconds of a round, its parts, and the tracker's own share, of stock and of ours.

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
        if kind == setups.STOCK:
            results[variant] = run(cfg, rounds)
        else:
            keep_memory()
            results[variant] = run(cfg, rounds)
    return results


def run(cfg: Config, rounds: int) -> dict[str, float]:
    """Train as the config says, ``rounds`` validations long; the means of all but the first round."""
    runner, watch = Runner.from_cfg(cfg), _Watch()
    runner.register_hook(watch)
    tracker = next((hook for hook in runner.hooks if isinstance(hook, AdaptationHook)), None)
    timed = None
    if tracker is not None:
        names = ('before_val', 'after_val_iter', 'after_val_epoch', 'after_val')
        timed = _Timed(tracker, names)
    runner.train()
    training = watch.training[1:]
    validating = watch.validating[-len(training) :]
    round_seconds = (sum(training) + sum(validating)) / len(training)
    result = {
        'round': round_seconds,
        'validation': sum(validating) / len(training),
        'validating_percent': 100 * sum(validating) / (sum(training) + sum(validating)),
    }
    if timed is not None:
        result['tracker'] = timed.seconds / len(watch.validating)
        result['tracker_percent'] = 100 * result['tracker'] / round_seconds
    return result
