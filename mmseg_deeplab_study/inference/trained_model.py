"""Load a trained model from a config and a checkpoint, whole or not at all."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from mmseg.models import EncoderDecoder
from mmseg.registry import DATASETS, MODELS
from mmseg.utils import dataset_aliases, get_classes, get_palette
from torch import Tensor, nn

from ..checkpoints.conversion import SCHEMES, load_any
from ..checkpoints.fitting import check_fits, check_network
from ..datasets.palettes import Palette, voc_palette
from ..models.crf_segmentors import refining_model


def load_checkpoint(name: str) -> dict[str, Any]:
    """Load a checkpoint of any form we read, by path, with or without its scheme.

    MMEngine's own loader reads no file here: before torch 2.6 it runs the code that a file carries.

    Raises:
        FileNotFoundError, ValueError, ImportError: as the readers; also for a scheme that is not ours.
    """
    schemes = tuple(sorted(SCHEMES.values()))
    if name.startswith(schemes):
        return CheckpointLoader.load_checkpoint(name, map_location='cpu', logger='silent')
    if '://' in name:
        raise ValueError(
            f'checkpoint {name}: expected a file, or {", ".join(schemes)} before a file; download it first'
        )
    return load_any(name)


def load_model(cfg: Config, name: str) -> EncoderDecoder:
    """Build a config's model without auxiliary heads, and load a checkpoint.

    In evaluation mode. ``dataset_meta`` has ``classes``, ``palette``, ``checkpoint_digest`` (None: unknown).

    Raises:
        FileNotFoundError, ImportError: as ``load_checkpoint``.
        ValueError: as ``load_checkpoint``; the checkpoint has another number of classes than the model or
            does not fit it; neither checkpoint nor config names the classes.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    checkpoint = load_checkpoint(name)
    if (cfg.model.get('test_cfg') or {}).get('crf') is not None:
        cfg = copy.deepcopy(cfg)
        refining_model(cfg)
    config = copy.deepcopy(cfg.model)
    # Auxiliary heads are for training, and the checkpoint has all weights.
    config.update(pretrained=None, auxiliary_head=None)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # about losses, which are not used
        model = revert_sync_batchnorm(MODELS.build(config))
    meta = checkpoint.get('meta') or {}
    if meta.get('network'):
        try:
            check_network(meta['network'], model)
        except ValueError as error:
            raise ValueError(f'checkpoint {name}: {error}') from error
    _load_weights(model, checkpoint['state_dict'], name)
    classes, palette = _classes(meta, cfg, model, name)
    digest = meta.get('source_digest')
    model.dataset_meta = {'classes': classes, 'palette': palette, 'checkpoint_digest': digest}
    return model.eval()


def _load_weights(model: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    given = {key: value for key, value in state.items() if not key.startswith('auxiliary_head.')}
    wanted = model.state_dict()
    for key in (key for key in given if key.endswith('conv_seg.weight') and key in wanted):
        channels = len(given[key]), len(wanted[key])
        if channels[0] != channels[1]:
            # One channel tells two classes apart.
            found, expected = (max(number, 2) for number in channels)
            form = [' in one channel' if number == 1 else '' for number in channels]
            own = f'model.decode_head.num_classes={found}'
            if 1 in channels:
                own += f' model.decode_head.out_channels={channels[0]}'
            raise ValueError(
                f'checkpoint {name}: it has {found} classes{form[0]}, '
                f"and the config's head {expected}{form[1]}. To see it in its own {found} give --cfg-options "
                f'{own}; to carry it over to the {expected}, adapt it first: tools/train.py CONFIG '
                f'--load-from {name}'
            )
    try:
        check_fits(given, model)
    except ValueError as error:
        raise ValueError(f'checkpoint {name}: {error}') from error
    if surplus := [key for key in given if key not in wanted]:
        # Of parts that check_fits does not look at.
        raise ValueError(
            f'checkpoint {name}: the model has no place for {len(surplus)} of its keys, first {surplus[:3]}. '
            'Give the config the parts (such as model.neck) that it was trained with'
        )
    model.load_state_dict(given, strict=False)  # of a few old files, batches are not counted


def _classes(meta: Mapping[str, Any], cfg: Config, model: nn.Module, name: str) -> tuple[tuple, Palette]:
    """Classes and palette of the checkpoint, else of the config's dataset."""
    # MMSegmentation 0.x wrote capitals.
    trained = meta.get('dataset_meta') or {key.lower(): meta.get(key) for key in ('CLASSES', 'PALETTE')}
    origin = f'checkpoint {name}'
    if not trained.get('classes'):
        trained, origin = dataset_meta(cfg), "checkpoint names no classes, and the config's dataset"
    classes = tuple(trained.get('classes') or ())
    if getattr(model.decode_head, 'num_classes', None) == 1:
        raise ValueError(
            'model.decode_head.num_classes=1: labels of one channel are 0 and 1, which are two classes. '
            'Give --cfg-options model.decode_head.num_classes=2 model.decode_head.out_channels=1, and the '
            "dataset's metainfo two class names"
        )
    rows = getattr(model.decode_head, 'num_classes', len(classes))
    if len(classes) != rows:
        raise ValueError(
            f'{origin}: {len(classes)} class names ({", ".join(classes[:3])}, ...) for a head of {rows} '
            'classes. Give the dataset that the checkpoint was trained on, as in --cfg-options '
            'test_dataloader.dataset.type=PascalVOCDataset'
        )
    return classes, class_colours(classes, trained.get('palette'))


def dataset_to_test(cfg: Config) -> Mapping[str, Any]:
    """The config of the dataset to test on, else to validate on, inside any wrapper.

    Raises:
        ValueError: the config has none.
    """
    dataset = (cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}).get('dataset')
    while dataset and ('dataset' in dataset or 'datasets' in dataset):
        dataset = dataset['datasets'][0] if 'datasets' in dataset else dataset['dataset']
    if not dataset:
        raise ValueError('the config has no test_dataloader with a dataset; prediction needs its pipeline')
    return dataset


def image_size(cfg: Config) -> tuple[int, int] | None:
    """Height and width that a config pads test images to, else its training crop."""
    preprocessor = cfg.model.get('data_preprocessor') or {}
    size = (preprocessor.get('test_cfg') or {}).get('size') or preprocessor.get('size')
    return tuple(size) if size else None


def dataset_meta(cfg: Config) -> dict[str, Any]:
    """Classes and palette that a config's dataset declares, without reading its data."""
    dataset = dataset_to_test(cfg)
    declared = DATASETS.get(dataset['type']).METAINFO
    chosen = dataset.get('metainfo') or {}
    classes = chosen.get('classes') or declared.get('classes') or ()
    own = declared.get('palette') if tuple(classes) == tuple(declared.get('classes') or ()) else None
    return {'classes': classes, 'palette': chosen.get('palette') or own}


def class_colours(classes: Sequence[str], palette: Palette | None = None) -> Palette:
    """A colour for each class: the palette, else of MMSeg's dataset, else VOC's."""
    if palette is not None and len(palette) == len(classes):
        return palette
    for dataset in dataset_aliases:
        if tuple(get_classes(dataset)) == tuple(classes):
            return get_palette(dataset)
    return voc_palette(len(classes))
