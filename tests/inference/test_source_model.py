"""A source model is what training would start from, and its features are those at the sampled pixels."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.utils import get_classes
from torch.nn import functional

from mmseg_deeplab_study.engine.extra_passes import as_source_model
from mmseg_deeplab_study.inference.crf_search import training_images
from mmseg_deeplab_study.inference.source_model import (
    BACKBONE,
    CLASSIFIER,
    Points,
    check_source,
    load_source,
    look,
    values_at,
)

CITYSCAPES = tuple(get_classes('cityscapes'))
SOURCE = ('background', *CITYSCAPES)


@pytest.fixture(scope='module')
def cfg(make_tiny_cityscapes, make_config, with_every_row, write_trained, tmp_path_factory):
    """Of a source model that predicts many of its 20 classes."""
    folder = tmp_path_factory.mktemp('source')
    cfg = make_config(make_tiny_cityscapes(folder, train=4), folder / 'work')
    with_every_row(cfg, folder)
    source = deepcopy(cfg)
    source.model.decode_head.num_classes = len(SOURCE)
    write_trained(source, cfg.load_from)
    return cfg


def everywhere(size: tuple[int, int]) -> Points:
    rows, columns = np.mgrid[: size[0], : size[1]].reshape(2, -1)
    return Points(rows, columns, size)


@pytest.mark.parametrize('align_corners', [False, True])
def test_values_are_those_of_the_resized_map(align_corners):
    maps = torch.randn(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    resized = functional.interpolate(maps, (20, 27), mode='bilinear', align_corners=align_corners)
    # Of 20x27, the last 2 rows, the first row and 3 columns on the right are padding.
    meta = dict(img_shape=(17, 24), pad_shape=(20, 27), padding_size=[0, 3, 1, 2])
    found = values_at(maps, everywhere((17, 24)), meta, align_corners)
    assert torch.allclose(found, resized[0, :, 1:18, :24].flatten(1).t(), atol=1e-6)


def test_values_of_a_photograph_that_was_resized():
    # A ramp of the photograph's 8 columns; the label map has 16, whose centres are at -0.25, 0.25, ... 7.25.
    maps = torch.arange(8.0).expand(1, 1, 4, 8)
    found = values_at(maps, everywhere((8, 16)), dict(img_shape=(4, 8)), False).reshape(8, 16)
    assert found[3].tolist() == pytest.approx(np.clip((np.arange(16) + 0.5) / 2 - 0.5, 0, 7).tolist())


@pytest.mark.slow
def test_sees_what_the_source_model_predicts(cfg):
    source, dataset = load_source(cfg), training_images(cfg)
    size = dataset[0]['data_samples'].gt_sem_seg.shape
    ticks = []
    seen = look(source, dataset, [2, 0], {'all': [everywhere(size)] * 2}, lambda: ticks.append(1))
    assert len(ticks) == 2 and seen.milliseconds > 0
    pixels = 2 * size[0] * size[1]
    channels = source.model.backbone.out_channels[-1], source.model.decode_head.channels
    assert {layer: values.shape for layer, values in seen.features['all'].items()} == {
        BACKBONE: (pixels, channels[0]),
        CLASSIFIER: (pixels, channels[1]),
    }
    assert seen.probabilities['all'].sum(axis=1) == pytest.approx(np.ones(pixels))
    # Before any change: an evaluation of the checkpoint itself.
    checkpoint = torch.load(cfg.load_from, weights_only=True)['state_dict']
    own = {name: checkpoint[f'decode_head.conv_seg.{name}'] for name in ('weight', 'bias')}
    expected, confusions = [], []
    with as_source_model(source.model, own), torch.no_grad():
        for place in (2, 0):
            batch = pseudo_collate([dataset[place]])
            labels = source.model.test_step(batch)[0].pred_sem_seg.data[0].numpy()
            truth = batch['data_samples'][0].gt_sem_seg.data[0].numpy()
            expected.append(labels.reshape(-1))
            kept = truth != 255
            counts = np.zeros((19, 20), int)
            np.add.at(counts, (truth[kept], labels[kept]), 1)
            confusions.append(counts)
    assert len(set(np.concatenate(expected))) > 2
    assert np.mean(seen.probabilities['all'].argmax(axis=1) == np.concatenate(expected)) > 0.999
    assert np.array_equal(seen.confusions, confusions)


@pytest.mark.slow
def test_a_backbone_alone_has_no_classifier(cfg, tmp_path):
    alone = deepcopy(cfg)
    alone.load_from, alone.custom_hooks = None, [dict(type='AdaptationHook')]
    state = torch.load(cfg.load_from, weights_only=True)['state_dict']
    torch.save({key: value for key, value in state.items() if key[:8] == 'backbone'}, tmp_path / 'b.pth')
    alone.model.backbone.init_cfg = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'b.pth'), prefix='backbone.'
    )
    check_source(alone, 'c.py=')
    whole, source, dataset = load_source(cfg), load_source(alone), training_images(cfg)
    assert source.classifier is source.transfer is None
    points = {'some': [Points(np.array([3, 60]), np.array([5, 9]), (64, 64))]}
    seen, expected = (look(one, dataset, [1], points) for one in (source, whole))
    assert list(seen.features['some']) == [BACKBONE]
    assert seen.features['some'][BACKBONE] == pytest.approx(expected.features['some'][BACKBONE], abs=1e-5)
    assert seen.probabilities == {} and seen.confusions is None


def test_a_checkpoint_of_the_target_has_no_source_classifier(cfg, tmp_path):
    adapted = deepcopy(cfg)
    init_default_scope('mmseg')
    meta = dict(dataset_meta=dict(classes=CITYSCAPES))
    adapted.load_from = str(tmp_path / 'a.pth')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta=meta), adapted.load_from)
    assert load_source(adapted).classifier is None


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(load_from=None), r'no source checkpoint: expected load_from, .*; give c\.py=CHECKPOINT'),
        (dict(load_from=None, custom_hooks=[]), 'no source checkpoint'),
        (
            {'model.test_cfg': dict(mode='slide', crop_size=(32, 32), stride=(16, 16))},
            "model.test_cfg.mode='slide': features are read of whole images; set 'whole'",
        ),
    ],
)
def test_configs_that_have_no_source(cfg, change, message):
    changed = deepcopy(cfg)
    changed.merge_from_dict(change)
    with pytest.raises(ValueError, match=message):
        check_source(changed, 'c.py=')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            {'model.decode_head.channels': 8},
            r'checkpoint \S+source.pth: the checkpoint does not fit the model',
        ),
        ({'model.decode_head.num_classes': 7}, r'source.pth: decode_head.num_classes=7, but the target'),
        (
            {'custom_hooks.0.source': 'voc'},
            r'source.pth: decode_head: its classifier has 20 rows; expected 21',
        ),
    ],
)
def test_checkpoints_that_do_not_fit(cfg, change, message):
    changed = deepcopy(cfg)
    changed.merge_from_dict(change)
    with pytest.raises(ValueError, match=message):
        load_source(changed)
