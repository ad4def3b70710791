"""What the source's own classifier sees in the features of the network that adapts."""

import time
from collections.abc import Sequence
from typing import Any

from mmengine.runner import Runner
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..evaluation.metrics.across_spaces import source_scores
from ..evaluation.metrics.adaptation_metric import AdaptationMetric, ConfusionMetric
from ..models.segmentors import bare_model, labels_of_image
from ..runs.header import subset_name
from ..runs.history import Kind, make_row
from .extra_passes import build_classifier
from .head_transfer import HeadTransferHook

_LABELS = 'source_classifier'  # the field of a sample that has them


class SourceReadout:
    """Read what each validation computes through the source's classifier, too.

    If a class that the new head has lost is still there, the loss is the head's; if not, the features have
    moved. Costs a convolution of 1x1 and its labels, no pass of the network.

    Args:
        runner: its model is ``EncoderDecoder`` in mode ``'whole'``.
        metric: of the target; gives its classes and the ignore index.
        transfer: has the source's classifier.

    Raises:
        ValueError: no source checkpoint's classifier is there, or the model sees images in windows.
    """

    def __init__(self, runner: Runner, metric: AdaptationMetric, transfer: HeadTransferHook | None) -> None:
        if transfer is None or not transfer.source_classifier:
            raise ValueError(
                'AdaptationHook.source_classifier=True needs the classifier of a source checkpoint, but no '
                'HeadTransferHook has carried one over: give --load-from CHECKPOINT, or set it to False'
            )
        model = bare_model(runner.model)
        if (mode := model.test_cfg.get('mode', 'whole')) != 'whole':
            raise ValueError(
                "AdaptationHook.source_classifier=True needs model.test_cfg.mode='whole', but got "
                f'{mode!r}: set one of them'
            )
        self._transfer, self._metric = transfer, metric
        self._counted = ConfusionMetric(
            len(transfer.target), len(transfer.source), ignore_index=metric.ignore_index, predictions=_LABELS
        )
        head = model.decode_head
        self._align_corners = head.align_corners
        self._classifier = build_classifier(transfer.source_classifier, head.conv_seg.weight)
        self._logits: Tensor | None = None
        self._logits_seconds = self._seconds = 0.0
        self._handle = head.conv_seg.register_forward_pre_hook(self)

    def __deepcopy__(self, memo: dict) -> 'SourceReadout':
        """Itself: ``StudyEncoderDecoder`` evaluates a copy of the head, with its hooks."""
        return self

    def __call__(self, classifier: nn.Module, inputs: tuple[Tensor]) -> None:
        """Read the input of the target's classifier, while it is in the processor's cache."""
        if not classifier.training:
            started = time.perf_counter()
            self._logits = self._classifier(inputs[0].float()).float()
            self._logits_seconds = time.perf_counter() - started

    def count(self, samples: Sequence[SegDataSample], first: bool) -> None:
        """Count a batch that was just validated; ``first`` of a pass over the images."""
        started = time.perf_counter()
        if first:
            self._counted.results.clear()
            self._seconds = 0.0
        logits, self._logits = self._logits, None
        for sample, of_image in zip(samples, logits.split(1), strict=True):
            labels = labels_of_image(of_image, sample.metainfo, self._align_corners)
            found = {_LABELS: {'data': labels[None]}, 'gt_sem_seg': {'data': sample.gt_sem_seg.data}}
            self._counted.process({}, [{**sample.metainfo, **found}])
        self._seconds += self._logits_seconds + time.perf_counter() - started

    def row(self, runner: Runner) -> dict[str, Any] | None:
        """The record's row of the last pass, as the source's view has it; None but on the main process."""
        dataset, transfer = runner.val_dataloader.dataset, self._transfer
        self._counted.evaluate(len(dataset))
        confusion = self._counted.confusion
        if confusion is None:
            return None
        scores = source_scores(
            confusion, transfer.target, transfer.source, transfer.matches, self._metric.seen
        )
        runner.logger.info(
            f"The source's classifier on these features: mIoU of the seen classes {scores['mIoU.seen']:.2f}"
        )
        return make_row(
            runner.iter,
            Kind.SOURCE_CLASSIFIER,
            subset_name(dataset),
            scores,
            confusion,
            self._counted.images,
            self._seconds,
        )

    def close(self) -> None:
        """Leave the model as it was."""
        self._handle.remove()
