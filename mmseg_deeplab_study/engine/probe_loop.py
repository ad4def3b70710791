"""Validate on a fixed few images every time, and on all of them now and then."""

import time
from collections.abc import Sequence

from mmengine.dataset import DefaultSampler
from mmengine.runner import Runner, ValLoop
from mmseg.registry import LOOPS
from torch.utils.data import DataLoader, Subset

from ..evaluation.metrics.adaptation_metric import AdaptationMetric
from ..evaluation.metrics.boundary_metric import flat_boundary_scores
from ..evaluation.metrics.counted import Counted, count_pass, find_metric
from ..evaluation.metrics.scores import flat_scalars, scores_from_confusion
from ..runs.history import SubsetName
from ..runs.main_process import from_main_process
from .schedule import is_due


@LOOPS.register_module()
class ProbeValLoop(ValLoop):
    """Validation whose cost allows one every few iterations.

    Every validation evaluates a probe, a fixed subset of the validation set with every class in it. The whole
    set is evaluated at iteration 0, every ``full_interval``-th validation, whenever the probe's mIoU is its
    best so far, and at the end. The probe's scores are ``probe/mIoU`` and so on; those of the whole set keep
    their names, and are missing where it was not evaluated. ``AdaptationHook`` chooses the probe and records
    both; without it, the whole set is evaluated.

    Args:
        probe: number of images in the probe.
        full_interval: the whole set is due at every ``full_interval``-th validation.
        kwargs: those of ``ValLoop``.

    Raises:
        ValueError: an argument is less than 1.
    """

    def __init__(self, runner: Runner, *args, probe: int = 16, full_interval: int = 10, **kwargs) -> None:
        for name, value in (('probe', probe), ('full_interval', full_interval)):
            if value < 1:
                raise ValueError(f'val_cfg.{name} must be at least 1, but got {value}')
        super().__init__(runner, *args, **kwargs)
        self.probe_images = probe
        self.full_interval = full_interval
        self.best_probe = float('-inf')
        self.counted: dict[str, Counted] = {}
        self._probe: list[int] | None = None

    def set_probe(self, indices: Sequence[int], scores: Sequence[float | None]) -> None:
        """Make images the probe; ``scores`` are its mIoU so far, in a resumed run."""
        self._probe = list(indices)
        self.best_probe = max([score for score in scores if score is not None], default=float('-inf'))
        if getattr(self.dataloader.sampler, 'shuffle', False):
            raise ValueError('val_dataloader.sampler.shuffle must be False with ProbeValLoop, but got True')
        full, dataset = self.dataloader, Subset(self.dataloader.dataset, self._probe)
        self._probe_loader = DataLoader(
            dataset,
            batch_size=full.batch_size,
            sampler=DefaultSampler(dataset, shuffle=False),
            num_workers=full.num_workers,
            collate_fn=full.collate_fn,
            pin_memory=full.pin_memory,
            worker_init_fn=full.worker_init_fn,
            persistent_workers=full.persistent_workers,
        )

    def run(self) -> dict[str, float]:
        """Validate the probe, and all images where due; returns the scores of both."""
        if self._probe is None:
            return super().run()
        self.runner.call_hook('before_val')
        self.runner.call_hook('before_val_epoch')
        self.runner.model.eval()
        self.counted = {}
        if is_due(self.runner, self.full_interval):
            metrics = self._evaluate(SubsetName.FULL, self.dataloader)
            # The same images and weights: the probe's counts are among those of all.
            self.counted[SubsetName.PROBE] = count_pass(self.evaluator, 0.0, self._probe)
        else:
            metrics = {}
            self._evaluate(SubsetName.PROBE, self._probe_loader)
        scores = self._probe_scores()
        if scores.get('mIoU', float('-inf')) > self.best_probe:
            self.best_probe = scores['mIoU']
            metrics = metrics or self._evaluate(SubsetName.FULL, self.dataloader)
        metrics |= {f'{SubsetName.PROBE}/{key}': value for key, value in scores.items()}
        self.runner.call_hook('after_val_epoch', metrics=metrics)
        self.runner.call_hook('after_val')
        return metrics

    def _evaluate(self, name: str, dataloader: DataLoader) -> dict[str, float]:
        started = time.perf_counter()
        for i, batch in enumerate(dataloader):
            self.run_iter(i, batch)
        metrics = self.evaluator.evaluate(len(dataloader.dataset))
        self.counted[name] = count_pass(self.evaluator, time.perf_counter() - started)
        return metrics

    def _probe_scores(self) -> dict[str, float]:
        """Flat scores of the probe, on every rank."""
        metric, counted = find_metric(self.evaluator, AdaptationMetric), self.counted[SubsetName.PROBE]

        def score() -> dict[str, float]:
            scores = scores_from_confusion(counted.confusion, metric.classes, metric.seen)
            return flat_scalars(scores) | flat_boundary_scores(counted.boundaries)

        return from_main_process(score)
