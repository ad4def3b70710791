"""The search for the CRF's parameters: where it looks, what it is asked on, and what a trial says."""

from copy import deepcopy
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_deeplab_study.inference.crf_search import RANGES, Trials, coarse_trials, search, training_images
from mmseg_deeplab_study.inference.trained_model import load_model
from mmseg_deeplab_study.models.crf_segmentors import refining_model


class Hill:
    """A score with one top, that counts what it is asked."""

    def __init__(self, top: dict[str, float]) -> None:
        self.top, self.asked = top, []

    def __call__(self, setting) -> float:
        self.asked.append(tuple(setting.values()))
        spans = {name: values[-1] - values[0] for name, values in RANGES.items()}
        return -sum(((setting[name] - self.top[name]) / spans[name]) ** 2 for name in RANGES)


@pytest.mark.parametrize('weight', RANGES['bilateral_weight'])
@pytest.mark.parametrize('xy', [30, 60, 100])
@pytest.mark.parametrize('rgb', [3, 6])
def test_finds_the_top_of_a_hill(weight, xy, rgb):
    hill = Hill(dict(bilateral_weight=weight, bilateral_sigma_xy=xy, bilateral_sigma_rgb=rgb))
    best, score = search(hill)
    assert best == hill.top and score == 0
    assert len(hill.asked) == len(set(hill.asked)) <= 2 * coarse_trials()
    # Every second value first.
    assert coarse_trials() == 16
    assert set(hill.asked[:16]) == {(w, xy, rgb) for w in (3, 5) for xy in (30, 50, 70, 90) for rgb in (3, 5)}


def test_a_flat_score_ends():
    first = dict(bilateral_weight=3, bilateral_sigma_xy=30, bilateral_sigma_rgb=3)
    assert search(lambda setting: 1.0) == (first, 1.0)


@pytest.fixture(scope='module')
def trained(make_tiny_cityscapes, make_config, write_trained, tmp_path_factory) -> Config:
    """A config with load_from, a checkpoint of random weights that gives several labels."""
    folder = tmp_path_factory.mktemp('trained')
    cfg = make_config(make_tiny_cityscapes(folder, train=5, val=2), folder / 'work')
    write_trained(cfg, folder / 'a.pth')
    cfg.load_from = str(folder / 'a.pth')
    cfg.test_dataloader = deepcopy(cfg.val_dataloader)
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='RandomCrop', crop_size=(32, 32)),
        dict(type='PackSegInputs'),
    ]
    refining_model(cfg)
    return cfg


@pytest.fixture(scope='module')
def trials(trained) -> Trials:
    return Trials(load_model(trained, trained.load_from), training_images(trained), 3, dict(iterations=2))


def test_images_are_of_the_training_split_whole_and_evenly_spaced(trained, trials):
    names = [f'/train/tiny/tiny_00000{i}_leftImg8bit.png' for i in (0, 2, 4)]
    assert [path[path.index('/train/') :] for path in trials.paths] == names
    assert training_images(trained)[0]['inputs'].shape == (3, 64, 64)


def test_an_image_that_cannot_be_scored_is_named(trials, monkeypatch):
    full = Mock(side_effect=torch.cuda.OutOfMemoryError('CUDA out of'))
    monkeypatch.setattr(trials._model, 'test_step', full)
    message = r'tiny_000000_\S+: cannot be scored \(OutOfMemoryError: CUDA out of'
    with pytest.raises(ValueError, match=message):
        trials.evaluate(None)


def test_images_of_a_named_subset(trained):
    cfg = deepcopy(trained)
    subset = dict(type='NamedSubset', name='two-fifths', fraction=0.4)
    cfg.train_dataloader.dataset = subset | dict(dataset=cfg.train_dataloader.dataset)
    dataset = training_images(cfg)
    assert len(dataset) == 2 and dataset[0]['inputs'].shape == (3, 64, 64)
    cfg.train_dataloader = None
    with pytest.raises(ValueError, match='the config has no train_dataloader with one dataset'):
        training_images(cfg)


def test_a_trial_without_crf_is_a_plain_test_over_labelled_classes(trained, trials):
    cfg = deepcopy(trained)
    cfg.model.test_cfg.crf = None
    cfg.test_dataloader.dataset.data_prefix = dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train')
    cfg.test_dataloader.dataset.indices = [0, 2, 4]
    cfg.test_evaluator = [dict(type='AdaptationMetric'), dict(type='BoundaryMetric')]
    cfg.test_cfg = dict(type='TestLoop')
    plain, found = Runner.from_cfg(cfg).test(), trials.evaluate(None)
    # Of what tiny_cityscapes draws; whatever else is predicted is in the plain means, as 0.
    labelled = ('road', 'building', 'person', 'car')
    assert sum(key.startswith('IoU.') for key in plain) > len(labelled)
    assert found['mIoU'] == pytest.approx(np.mean([plain[f'IoU.{name}'] for name in labelled]))
    assert found['BIoU'] == pytest.approx(np.mean([plain[f'BIoU.{name}'] for name in labelled]))
    assert set(found) == {'mIoU', 'BIoU', *(f'trimap.{width}' for width in (1, 2, 4, 8, 16, 32))}


def test_trials_differ_and_repeat(trials):
    ticks = []
    setting = dict(bilateral_weight=6, bilateral_sigma_xy=30, bilateral_sigma_rgb=6)
    found = trials.evaluate(setting, lambda: ticks.append(None))
    assert len(ticks) == 3
    assert found != trials.evaluate(None)
    assert trials.evaluate(setting) == found
    assert np.isfinite(list(found.values())).all()
