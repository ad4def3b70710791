"""A source model as an adaptation begins with it, and what it sees at sampled pixels."""

import copy
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.models import EncoderDecoder
from mmseg.registry import HOOKS, MODELS
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from ..checkpoints.bare_state import unwrap
from ..checkpoints.classifier_rows import check_classes, decode_classifier
from ..checkpoints.fitting import check_fits, check_network
from ..engine.extra_passes import build_classifier
from ..engine.head_transfer import HeadTransferHook
from ..evaluation.metrics.confusion import confusion_matrix
from ..models.crf_segmentors import unpadded
from ..models.segmentors import labels_of_image
from .trained_model import load_checkpoint

BACKBONE, CLASSIFIER = 'backbone', 'classifier'


class SourceModel(NamedTuple):
    """A model in evaluation mode, whose auxiliary heads are left out.

    ``transfer`` and ``classifier`` are None where the source is a backbone alone; ``classifier`` is also None
    for a checkpoint that has the target's classes already.
    """

    model: EncoderDecoder
    transfer: HeadTransferHook | None
    classifier: nn.Conv2d | None


class Seen(NamedTuple):
    """What a source model sees in the photographs of a target.

    Args:
        features: by sample, then layer, float32 ``(N, D)``: ``BACKBONE`` is its last map, ``CLASSIFIER`` the
            input of the classifier, which a source without a head does not have.
        probabilities: by sample, of the source's classes, ``(N, S)``; empty without a source classifier.
        confusions: target labels by source predictions of each image, int64 ``(I, T, S)``; None without.
        milliseconds: median from a photograph to its label map.
    """

    features: Mapping[str, Mapping[str, np.ndarray]]
    probabilities: Mapping[str, np.ndarray]
    confusions: np.ndarray | None
    milliseconds: float


class Points(NamedTuple):
    """Pixels of one image's label map of ``size`` (H, W): ``rows`` and ``columns``, each ``(n,)``."""

    rows: np.ndarray
    columns: np.ndarray
    size: tuple[int, int]


def check_source(cfg: Config, give: str) -> None:
    """Refuse a config without a source model; ``give`` is what a message says before a checkpoint's path.

    Raises:
        ValueError: neither ``load_from`` nor a backbone's weights, or ``test_cfg.mode`` is not ``'whole'``.
    """
    transfer = _build_transfer(cfg)
    if cfg.get('load_from') is None and ((transfer and not transfer.allow_no_source) or not pretrained(cfg)):
        raise ValueError(
            'no source checkpoint: expected load_from, or in a config without HeadTransferHook the '
            f"backbone's init_cfg; give {give}CHECKPOINT"
        )
    if (mode := (cfg.model.get('test_cfg') or {}).get('mode', 'whole')) != 'whole':
        raise ValueError(f"model.test_cfg.mode={mode!r}: features are read of whole images; set 'whole'")


def load_source(cfg: Config, device: str = 'cpu') -> SourceModel:
    """Build a config's model on a device and load what its training would start from.

    Raises:
        FileNotFoundError, ImportError, ValueError: as ``load_checkpoint``, ``HeadTransferHook`` and
            ``check_fits``.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    name, transfer = cfg.get('load_from'), _build_transfer(cfg)
    config = copy.deepcopy(cfg.model)
    config.update(auxiliary_head=None)
    if name is not None:
        config.update(pretrained=None)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # about losses, which are not used
        model = revert_sync_batchnorm(MODELS.build(config))
    if name is None:
        model.init_weights()
        return SourceModel(model.eval().to(device), None, None)
    checkpoint = load_checkpoint(name)
    try:
        classifier = _load(model, checkpoint, transfer)
    except ValueError as error:
        raise ValueError(f'checkpoint {name}: {error}') from error
    return SourceModel(model.eval().to(device), transfer, classifier and classifier.to(device))


def _load(
    model: EncoderDecoder, checkpoint: dict[str, Any], transfer: HeadTransferHook | None
) -> nn.Conv2d | None:
    state = {key: value for key, value in unwrap(checkpoint).items() if not key.startswith('auxiliary_head.')}
    classifier = None
    if transfer is not None:
        check_classes(model, transfer.target, transfer.target_name)
        if not transfer.is_targets(checkpoint):
            found = decode_classifier(state, len(transfer.source))
            state, changed = transfer.rewrite(state, model)
            classifier = found if changed else None
    if network := (checkpoint.get('meta') or {}).get('network'):
        check_network(network, model)
    check_fits(state, model)
    model.load_state_dict(state, strict=False)  # of a few old files, batches are not counted
    return classifier and build_classifier(classifier, model.decode_head.conv_seg.weight)


def look(
    source: SourceModel,
    dataset: Dataset,
    places: Sequence[int],
    samples: Mapping[str, Sequence[Points]],
    tick: Callable[[], None] = lambda: None,
) -> Seen:
    """Run a source model once over images of a dataset and read it at sampled pixels.

    Maps are interpolated as MMSeg interpolates logits: a pixel's probabilities are those by which the source
    model labels it.

    Args:
        source: of ``load_source``, on any device.
        dataset: of the target, with the pipeline of validation.
        places: the images.
        samples: by name, for each image the pixels to read.
        tick: called after each image.

    Raises:
        ValueError: a label outside the target's label space.
    """
    model, kept, seconds = source.model, {}, []

    # Plain functions: the copy in which StudyEncoderDecoder evaluates has them, too.
    def keep_backbone(module: nn.Module, inputs: tuple, maps: Tensor | Sequence[Tensor]) -> None:
        kept[BACKBONE] = maps if isinstance(maps, Tensor) else maps[-1]

    def keep_classifier(module: nn.Module, inputs: tuple[Tensor]) -> None:
        kept[CLASSIFIER] = inputs[0]

    handles = [model.backbone.register_forward_hook(keep_backbone)]
    if source.classifier is not None or source.transfer is not None:
        handles.append(model.decode_head.conv_seg.register_forward_pre_hook(keep_classifier))
    rows = {name: {} for name in samples}
    confusions = []
    align = model.decode_head.align_corners
    with torch.no_grad():
        for order, place in enumerate(places):
            batch = pseudo_collate([dataset[place]])
            sample = batch['data_samples'][0]
            _wait(model)
            started = time.perf_counter()
            # It may change the samples.
            model.test_step({**batch, 'data_samples': [sample.clone()]})
            _wait(model)
            seconds.append(time.perf_counter() - started)
            meta = model.data_preprocessor(copy.deepcopy(batch), False)['data_samples'][0].metainfo
            logits = None
            if source.classifier is not None:
                logits = source.classifier(kept[CLASSIFIER].float())
                labels = labels_of_image(logits, meta, align).cpu().numpy()
                truth = sample.gt_sem_seg.data[0].numpy()
                classes = len(source.transfer.target), len(source.transfer.source)
                confusions.append(confusion_matrix(labels, truth, classes[0], num_predicted=classes[1]))
            for name, points in samples.items():
                for layer, maps in {**kept, **({} if logits is None else {'logits': logits})}.items():
                    values = values_at(maps.float(), points[order], meta, align)
                    rows[name].setdefault(layer, []).append(values.cpu().numpy())
            tick()
    for handle in handles:
        handle.remove()
    whole = {name: {layer: np.concatenate(some) for layer, some in of.items()} for name, of in rows.items()}
    found = {name: of.pop('logits') for name, of in whole.items() if 'logits' in of}
    return Seen(
        whole,
        {name: _softmax(logits) for name, logits in found.items()},
        np.stack(confusions) if confusions else None,
        1000 * float(np.median(seconds[1:] or seconds)),  # the first prepares
    )


def values_at(maps: Tensor, points: Points, meta: Mapping[str, Any], align_corners: bool) -> Tensor:
    """Read maps ``(1, C, h, w)`` of a padded image at pixels of its label map, ``(n, C)``.

    As bilinear ``F.interpolate`` to the padded image's size, at the pixels' centres; ``meta`` is the image's
    ``metainfo`` after preprocessing.
    """
    padded = meta.get('pad_shape', meta['img_shape'])[:2]
    grid = []
    for ids, side, whole, inner in zip(points[:2], points.size, padded, unpadded(meta, padded), strict=True):
        place = inner.start + (ids + 0.5) * (inner.stop - inner.start) / side - 0.5
        grid.append(2 * place / max(whole - 1, 1) - 1 if align_corners else (2 * place + 1) / whole - 1)
    grid = torch.as_tensor(np.stack(grid[::-1], axis=-1), dtype=maps.dtype, device=maps.device)
    values = functional.grid_sample(
        maps, grid[None, None], mode='bilinear', padding_mode='border', align_corners=align_corners
    )
    return values[0, :, 0].t()


def _softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).double().softmax(dim=1).numpy()


def _wait(model: nn.Module) -> None:
    if next(model.parameters()).is_cuda:
        torch.cuda.synchronize()


def _build_transfer(cfg: Config) -> HeadTransferHook | None:
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    hooks = [hook for hook in cfg.get('custom_hooks') or () if HOOKS.get(hook['type']) is HeadTransferHook]
    return HOOKS.build(hooks[0]) if hooks else None


def pretrained(cfg: Config) -> str | None:
    """The weights that a config's backbone begins with, None for random ones."""
    backbone = cfg.model.get('backbone') or {}
    found = [cfg.model.get('pretrained')]
    for part in (backbone, backbone.get('backbone') or {}, cfg.model):
        given = part.get('init_cfg') or []
        found += [init.get('checkpoint') for init in (given if isinstance(given, list) else [given])]
    return next(filter(None, found), None)
