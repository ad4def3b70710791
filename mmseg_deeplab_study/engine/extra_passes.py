"""Passes over data beside the training loop's own validation: the source's view, and forgetting."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmengine.runner.amp import autocast
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..datasets.label_maps import check_headers, count_label_pixels
from ..datasets.label_spaces import Match, match_classes, seen_matches
from ..datasets.palettes import voc_palette
from ..evaluation.metrics.across_spaces import forgetting_scores, source_scores
from ..evaluation.metrics.adaptation_metric import AdaptationMetric, ConfusionMetric
from ..models.segmentors import bare_model
from ..runs.header import subset_name
from ..runs.history import Kind, make_row
from ..runs.main_process import from_main_process
from ..runs.random_states import kept_random_states
from ..runs.snapshots import Snapshots
from .exact_resume import ExactResumeHook
from .head_transfer import HeadTransferHook
from .schedule import is_due


@contextlib.contextmanager
def as_source_model(model: nn.Module, classifier: Mapping[str, Tensor]) -> Iterator[None]:
    """Put the source's classifier, ``weight (S, C, 1, 1)`` and ``bias (S,)``, into a segmentor for now."""
    head = model.decode_head
    # The segmentor has numbers of its own, which sliding-window inference goes by.
    sizes = [(part, name) for part in (head, model) for name in ('num_classes', 'out_channels')]
    own = head.conv_seg, [getattr(part, name) for part, name in sizes]
    classes, channels, *kernel = classifier['weight'].shape
    # Without initial weights, whose draw would change what training draws.
    conv = nn.utils.skip_init(nn.Conv2d, channels, classes, tuple(kernel)).to(head.conv_seg.weight)
    conv.load_state_dict(dict(classifier))
    head.conv_seg = conv.eval()
    for part, name in sizes:
        setattr(part, name, classes)
    try:
        yield
    finally:
        head.conv_seg = own[0]
        for (part, name), value in zip(sizes, own[1], strict=True):
            setattr(part, name, value)


def count_confusion(
    runner: Runner,
    dataloader: DataLoader,
    metric: ConfusionMetric,
    what: str,
    look: Callable[[Sequence[SegDataSample]], None] | None = None,
) -> float:
    """Evaluate the runner's model on a data loader, without the hooks of its own validation.

    Afterwards ``metric`` holds the counts; ``look`` sees each batch's samples. Leaves random states and the
    model's mode as they were. Returns the seconds it took.
    """
    started, training = time.perf_counter(), runner.model.training
    evaluator, batches = Evaluator([metric]), len(dataloader)
    runner.model.eval()
    with kept_random_states(), torch.no_grad():
        for i, batch in enumerate(dataloader, 1):
            with autocast(enabled=runner.val_loop.fp16):
                samples = runner.model.val_step(batch)
            if look is not None:
                look(samples)
            evaluator.process(data_samples=samples, data_batch=batch)
            for hook in runner.hooks:
                if isinstance(hook, ExactResumeHook):
                    hook.end_if_terminated(runner)
            if i % 50 == 0 or i == batches:
                runner.logger.info(f'{what} [{i}/{batches}]')
        evaluator.evaluate(len(dataloader.dataset))
    runner.model.train(training)
    return time.perf_counter() - started


def source_row(
    runner: Runner, metric: AdaptationMetric, transfer: HeadTransferHook, snapshots: Snapshots
) -> dict[str, Any] | None:
    """What the untouched source model sees on the target's validation images.

    Its predictions are read in the target's label space; ``confusion`` (T, S) of the row counts target labels
    by the predictions as they are. Only the main process has the row. Leaves its pictures in ``snapshots``.
    """
    dataset = runner.val_dataloader.dataset
    counted = ConfusionMetric(
        len(transfer.target), len(transfer.source), metric.ignore_index, prefix='source'
    )
    palette = voc_palette(len(transfer.source))
    with as_source_model(bare_model(runner.model), transfer.source_classifier):
        seconds = count_confusion(
            runner,
            runner.val_dataloader,
            counted,
            'Source model',
            lambda samples: snapshots.take(samples, Kind.SOURCE, palette),
        )
    if counted.confusion is None:
        return None
    scores = source_scores(counted.confusion, transfer.target, transfer.source, transfer.matches, metric.seen)
    runner.logger.info(
        f'What the source model itself sees, read as {len(transfer.target)} classes: '
        f'mIoU {scores["mIoU"]:.2f}, of the seen classes {scores["mIoU.seen"]:.2f}'
    )
    subset = subset_name(dataset)
    return make_row(runner.iter, Kind.SOURCE, subset, scores, counted.confusion, counted.images, seconds)


class ForgettingPass:
    """The adapting model on a validation set of the source, on the classes that both label spaces share.

    Args:
        runner: gives the model, the seed and, from its ``val_cfg``, the precision.
        dataloader: config of a data loader like ``val_dataloader``.
        target: the target's classes.
        matches: source class of each target class that has one; those to its background do not count.
        interval: evaluate at every so many validations; the end is always evaluated.

    Raises:
        ValueError: the interval is less than 1, or no class is shared.
        FileNotFoundError, ValueError: a label map is missing or does not fit; names it.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Mapping[str, Any],
        target: Sequence[str],
        matches: Mapping[str, Match],
        interval: int = 1,
        ignore_index: int = 255,
        check_labels: bool = True,
    ) -> None:
        if interval < 1:
            raise ValueError(f'forgetting.interval must be at least 1, but got {interval}')
        matches = seen_matches(matches)
        if not matches:
            raise ValueError('forgetting: the source label space shares no class with the target')
        self.dataloader = runner.build_dataloader(dataloader, seed=runner.seed)
        self.classes = tuple(self.dataloader.dataset.metainfo['classes'])
        self.target, self.matches, self.interval = target, matches, interval
        self.ignore_index = ignore_index
        if unknown := sorted({match.source for match in matches.values()} - set(self.classes)):
            raise ValueError(
                f'forgetting: the source validation set has no class {unknown[0]!r}, which the source label '
                f'space shares with the target; it has {", ".join(self.classes)}'
            )
        dataset = self.dataloader.dataset
        from_main_process(
            lambda: (
                count_label_pixels(dataset, len(self.classes), ignore_index) and None
                if check_labels
                else check_headers(dataset)
            )
        )

    @classmethod
    def of(
        cls,
        runner: Runner,
        metric: AdaptationMetric,
        transfer: HeadTransferHook | None,
        config: Mapping[str, Any],
        check_labels: bool = True,
    ) -> 'ForgettingPass':
        """The pass of a run, by its metric's label spaces and ``AdaptationHook``'s ``forgetting``."""
        matches = transfer.matches if transfer else match_classes(metric.source, metric.classes)
        return cls(
            runner,
            target=metric.classes,
            matches=matches,
            ignore_index=metric.ignore_index,
            check_labels=check_labels,
            **config,
        )

    def is_due(self, runner: Runner) -> bool:
        return is_due(runner, self.interval)

    def row(self, runner: Runner) -> dict[str, Any] | None:
        """The row of one evaluation, None but on the main process; its ``confusion`` is (S, T)."""
        counted = ConfusionMetric(len(self.classes), len(self.target), self.ignore_index, prefix='source')
        seconds = count_confusion(runner, self.dataloader, counted, 'Source validation set')
        if counted.confusion is None:
            return None
        scores = forgetting_scores(counted.confusion, self.classes, self.target, self.matches)
        subset = subset_name(self.dataloader.dataset)
        return make_row(
            runner.iter, Kind.FORGETTING, subset, scores, counted.confusion, counted.images, seconds
        )
