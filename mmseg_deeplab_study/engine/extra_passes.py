"""Passes over data beside validation: the source's view, and forgetting."""

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
from ..datasets.label_spaces import match_classes, seen_matches
from ..datasets.palettes import voc_palette
from ..evaluation.metrics.across_spaces import forgetting_scores, source_scores
from ..evaluation.metrics.adaptation_metric import AdaptationMetric, ConfusionMetric
from ..models.segmentors import bare_model
from ..runs.header import subset_name
from ..runs.history import Kind, make_row
from ..runs.main_process import from_main_process
from ..runs.random_states import kept_random_states
from ..runs.snapshots import Snapshots
from .head_transfer import HeadTransferHook
from .schedule import is_due


@contextlib.contextmanager
def as_source_model(model: nn.Module, classifier: Mapping[str, Tensor]) -> Iterator[None]:
    """Put the source's classifier, ``weight`` and ``bias``, into a segmentor for now."""
    head = model.decode_head
    # The segmentor has its own numbers, which sliding-window inference uses.
    sizes = [(part, name) for part in (head, model) for name in ('num_classes', 'out_channels')]
    own = head.conv_seg, [getattr(part, name) for part, name in sizes]
    head.conv_seg = build_classifier(classifier, head.conv_seg.weight)
    for part, name in sizes:
        setattr(part, name, head.conv_seg.out_channels)
    try:
        yield
    finally:
        head.conv_seg = own[0]
        for (part, name), value in zip(sizes, own[1], strict=True):
            setattr(part, name, value)


def build_classifier(classifier: Mapping[str, Tensor], like: Tensor) -> nn.Conv2d:
    """The convolution of ``weight`` (S, C, kH, kW) and ``bias`` (S,), of the type and device of ``like``."""
    classes, channels, *kernel = classifier['weight'].shape
    # Without initial weights: drawing them would change what training draws.
    conv = nn.utils.skip_init(nn.Conv2d, channels, classes, tuple(kernel)).to(like)
    conv.load_state_dict(dict(classifier))
    return conv.eval().requires_grad_(False)


def count_confusion(
    runner: Runner,
    dataloader: DataLoader,
    metric: ConfusionMetric,
    what: str,
    look: Callable[[Sequence[SegDataSample]], None] | None = None,
) -> float:
    """Evaluate the runner's model without the hooks of validation; returns seconds.

    Afterwards ``metric`` has the counts; ``look`` sees each batch's samples. Leaves random states and the
    model's mode as they were.
    """
    started, training = time.perf_counter(), runner.model.training
    evaluator, batches = Evaluator([metric]), len(dataloader)
    runner.model.eval()
    with kept_random_states(), torch.no_grad():
        for i, batch in enumerate(dataloader, 1):
            with autocast(enabled=runner.val_loop.fp16):
                samples = runner.model.val_step(batch)
            evaluator.process(data_samples=samples, data_batch=batch)  # first: it says what samples lack
            if look is not None:
                look(samples)
            runner.call_hook('end_if_terminated')  # of ExactCheckpointHook
            if i % 50 == 0 or i == batches:
                runner.logger.info(f'{what} [{i}/{batches}]')
        evaluator.evaluate(len(dataloader.dataset))
    runner.model.train(training)
    return time.perf_counter() - started


def record_source(
    runner: Runner, metric: AdaptationMetric, transfer: HeadTransferHook, snapshots: Snapshots
) -> dict[str, Any] | None:
    """Evaluate the untouched source model on the target's images; returns the row.

    Scores read its predictions in the target's label space; ``confusion`` (T, S) counts target labels by the
    predictions as they are. None but on the main process. Leaves its pictures in ``snapshots``.
    """
    counted = ConfusionMetric(
        len(transfer.target), len(transfer.source), ignore_index=metric.ignore_index, prefix='source'
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
    subset = subset_name(runner.val_dataloader.dataset)
    return make_row(runner.iter, Kind.SOURCE, subset, scores, counted.confusion, counted.images, seconds)


class ForgettingPass:
    """The adapting model on the source's data, on the classes that both share.

    Args:
        runner: gives the model, the seed and, from its ``val_cfg``, the precision.
        metric: of the target; gives its classes and the ignore index.
        transfer: says which classes match, but for those to its background; without it they match by name.
        dataloader: config of a data loader like ``val_dataloader``.
        interval: evaluate at every ``interval``-th validation; the last is always evaluated.
        check_labels: read all label maps, not their headers alone.

    Raises:
        ValueError: the interval is less than 1, or no class is shared.
        FileNotFoundError, ValueError: a label map is missing or does not fit; names it.
    """

    def __init__(
        self,
        runner: Runner,
        metric: AdaptationMetric,
        transfer: HeadTransferHook | None,
        dataloader: Mapping[str, Any],
        interval: int = 1,
        check_labels: bool = True,
    ) -> None:
        if interval < 1:
            raise ValueError(f'forgetting.interval must be at least 1, but got {interval}')
        matches = transfer.matches if transfer else match_classes(metric.source, metric.classes)
        self.matches = seen_matches(matches)
        if not self.matches:
            raise ValueError('forgetting: the source label space shares no class with the target')
        self.target, self.ignore_index, self.interval = metric.classes, metric.ignore_index, interval
        self.dataloader = runner.build_dataloader(dataloader, seed=runner.seed)
        dataset = self.dataloader.dataset
        self.classes = tuple(dataset.metainfo['classes'])
        if unknown := sorted({match.source for match in self.matches.values()} - set(self.classes)):
            raise ValueError(
                f'forgetting: the source validation set has no class {unknown[0]!r}, which the source label '
                f'space shares with the target; it has {", ".join(self.classes)}'
            )

        def check() -> None:
            if check_labels:
                count_label_pixels(dataset, len(self.classes), self.ignore_index)
            else:
                check_headers(dataset)

        from_main_process(check)

    def is_due(self, runner: Runner) -> bool:
        """Whether this validation is one to evaluate at."""
        return is_due(runner, self.interval)

    def row(self, runner: Runner) -> dict[str, Any] | None:
        """Evaluate; returns the row, with ``confusion`` (S, T), on the main process."""
        counted = ConfusionMetric(
            len(self.classes), len(self.target), ignore_index=self.ignore_index, prefix='source'
        )
        seconds = count_confusion(runner, self.dataloader, counted, 'Source validation set')
        if counted.confusion is None:
            return None
        scores = forgetting_scores(counted.confusion, self.classes, self.target, self.matches)
        subset = subset_name(self.dataloader.dataset)
        return make_row(
            runner.iter, Kind.FORGETTING, subset, scores, counted.confusion, counted.images, seconds
        )
