"""MMSeg's inferencer for our checkpoints."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.apis import MMSegInferencer
from torch import nn

from ..memory import is_out_of_memory
from .trained_model import dataset_to_test, image_size, load_model

_RESIZES = ('Resize', 'RandomResize', 'ResizeShortestEdge', 'ResizeToMultiple')


class TrainedInferencer(MMSegInferencer):
    """``MMSegInferencer`` for a config and a checkpoint that must fit each other.

    MMSeg's own unpickles a checkpoint, leaves at random what does not fit, takes Cityscapes' classes where a
    checkpoint names none, and keeps all predictions until the last.

    Args:
        cfg: a config; images go through its test pipeline.
        checkpoint: as for ``load_checkpoint``.
        device: such as ``'cpu'`` or ``'cuda:0'``; by default an accelerator if there is one.
        long_side: longer side of each image for the network, in pixels, instead of the pipeline's own resize;
            labels have the size of the image.

    Attributes:
        usual_side: longer side of the images that the config tests or trains on; None where images are
            resized, or the config does not say.

    Raises:
        FileNotFoundError, ImportError, ValueError: as ``load_model``.
    """

    def __init__(
        self, cfg: Config, checkpoint: str, device: str | None = None, long_side: int | None = None
    ) -> None:
        cfg = copy.deepcopy(cfg)
        pipeline = dataset_to_test(cfg)['pipeline']
        if long_side is not None:
            pipeline = with_long_side(pipeline, long_side)
        resized = any(transform['type'] in _RESIZES for transform in pipeline)
        self.usual_side = None if resized else max(image_size(cfg) or (0,)) or None
        cfg.test_dataloader = dict(dataset=dict(pipeline=pipeline))
        # MMSeg needs one; with backends it would need a folder, too.
        cfg.visualizer = dict(type='SegLocalVisualizer')
        super().__init__(cfg, checkpoint, device=device)
        self.show_progress = False

    def _init_model(self, cfg: Config, weights: str, device: str = 'cpu') -> nn.Module:
        return load_model(cfg, weights).to(device)

    def _init_collate(self, cfg: Config) -> Callable:
        # MMEngine looks for the config's, and warns of a scope that it does not find.
        return pseudo_collate

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Labels ``(H, W)`` of an image ``(H, W, 3)`` in uint8 and BGR.

        Raises:
            ValueError: the test pipeline's resize leaves nothing of one side.
        """
        try:
            labels = np.asarray(self(image)['predictions'])
        except cv2.error as error:
            if is_out_of_memory(error):
                raise
            raise ValueError(
                f'an image of {image.shape[1]}x{image.shape[0]} pixels cannot be resized for the network '
                f'(OpenCV: {error.err}); crop it, or give a larger --long-side'
            ) from error
        # MMSeg's labels of a head of one channel are float.
        return labels.astype(np.uint8) if labels.dtype.kind == 'f' else labels


def with_long_side(pipeline: Sequence[Mapping[str, Any]], long_side: int) -> list[Mapping[str, Any]]:
    """A test pipeline that resizes the longer side alone, to ``long_side`` pixels."""
    kept = [transform for transform in pipeline if transform['type'] not in _RESIZES]
    place = next((i for i, transform in enumerate(kept) if transform['type'] == 'LoadImageFromFile'), 0)
    resize = dict(type='Resize', scale=(long_side, long_side), keep_ratio=True)
    return [*kept[: place + 1], resize, *kept[place + 1 :]]
