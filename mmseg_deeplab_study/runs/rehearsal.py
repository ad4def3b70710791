"""One training sample through pipeline, preprocessor and losses, before anything costs time."""

from typing import Any

import torch
from mmengine.runner import Runner
from mmseg.models.decode_heads.decode_head import BaseDecodeHead

from ..models.segmentors import bare_model
from .random_states import kept_random_states

STRIDE = 8  # of the logits to the image, about


def rehearse(runner: Runner) -> None:
    """Refuse, by ValueError, a pipeline, preprocessor or loss that would stop the first iteration.

    The network itself is not run, and random states are left as they were.
    """
    loader, model = runner.train_dataloader, bare_model(runner.model)
    with kept_random_states(), torch.no_grad():
        sample = _sample(loader.dataset)
        try:
            batch = model.data_preprocessor(loader.collate_fn([sample]), True)
        except Exception as error:
            shape = tuple(getattr(sample['inputs'], 'shape', ()))
            raise ValueError(
                f'model.data_preprocessor cannot take what train_dataloader gives, of shape '
                f'{shape}: {str(error).rstrip(".") or type(error).__name__}. Set its '
                'mean and std for that many channels, and size to the crop'
            ) from error
        for name, head in model.named_modules():
            if isinstance(head, BaseDecodeHead) and type(head).loss_by_feat is BaseDecodeHead.loss_by_feat:
                _try_losses(name, head, batch)


def _sample(dataset: Any) -> dict[str, Any]:
    """The first sample, as the pipeline gives it: with an image, and labels to learn from."""
    key = 'train_dataloader: the pipeline of its dataset'
    try:
        sample = dataset[0]
    except Exception as error:
        raise ValueError(f'{key} stops at the first image: {type(error).__name__}: {error}') from error
    if not isinstance(sample, dict) or 'inputs' not in sample:
        given = list(sample) if isinstance(sample, dict) else type(sample).__name__
        raise ValueError(f"{key} gives no 'inputs', but {given}: end it with dict(type='PackSegInputs')")
    if 'gt_sem_seg' not in sample.get('data_samples', ()):
        raise ValueError(
            f"{key} gives no labels (gt_sem_seg): put dict(type='LoadAnnotations') after "
            "dict(type='LoadImageFromFile')"
        )
    return sample


def _try_losses(name: str, head: BaseDecodeHead, batch: dict[str, Any]) -> None:
    images = batch['inputs']
    size = [max(1, side // STRIDE) for side in images.shape[2:]]
    try:
        head.loss_by_feat(images.new_zeros(len(images), head.out_channels, *size), batch['data_samples'])
    except Exception as error:
        reason = str(error).rstrip('.') or type(error).__name__
        raise ValueError(
            f'model.{name}: no loss of the first training image: {reason}. '
            f'See its loss_decode, ignore_index and num_classes ({head.num_classes}), and the label map'
        ) from error
