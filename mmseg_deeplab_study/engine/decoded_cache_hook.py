"""Decode validation images once."""

import multiprocessing

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch.utils.data import DataLoader

from ..datasets.decoded_cache import keep_decoded, keep_labels_as_read, parse_size
from ..evaluation.metrics.adaptation_metric import AdaptationMetric


@HOOKS.register_module()
class DecodedCacheHook(Hook):
    """Keep decoded validation images and label maps in memory.

    The first validation fills memory that all workers of the data loader share; each of several ranks keeps
    the images that it evaluates. ``AdaptationMetric`` gets labels as uint8, as they were read. A log line
    says whether the images are kept, and why not.

    Args:
        cache: most that the decoded files may take together, such as ``'4GB'`` in units of 1024 (Cityscapes'
            500 validation images take 3.91); where they take more, none is kept.

    Raises:
        ValueError: the size cannot be read.
    """

    def __init__(self, cache: str = '4GB') -> None:
        self.budget = parse_size(cache)
        self._done = False

    def before_train(self, runner: Runner) -> None:
        """Set the cache up before any worker is forked."""
        if runner.val_loop is None or self._done:
            return
        self._done = True
        dataloader = runner.val_dataloader
        # Other metrics may count in the labels' own type.
        if all(isinstance(metric, AdaptationMetric) for metric in runner.val_evaluator.metrics):
            keep_labels_as_read(dataloader.dataset)
        if _workers_share_memory(dataloader):
            files, why = keep_decoded(dataloader.dataset, self.budget)
        else:
            files, why = None, "its workers are not forked: mp_start_method is not 'fork'"
        kept = 'kept' if files else 'not kept'
        runner.logger.info(f'Decoded validation images are {kept} in memory: {why}')


def _workers_share_memory(dataloader: DataLoader) -> bool:
    context = dataloader.multiprocessing_context or multiprocessing
    return dataloader.num_workers == 0 or context.get_start_method() == 'fork'
