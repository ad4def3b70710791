"""What the source model sees, and what the adapting model forgets, in real runs of a tiny model."""

import copy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import get_palette
from PIL import Image

from mmseg_deeplab_study.datasets.label_spaces import Match
from mmseg_deeplab_study.engine.extra_passes import ForgettingPass, as_source_model
from mmseg_deeplab_study.runs.history import read_history


def source_predictions(cfg: Config) -> Iterator[tuple[str, np.ndarray]]:
    """Stem and labels of each validation image, by the source model itself."""
    config = copy.deepcopy(cfg.model)
    config.decode_head.num_classes = len(cfg.custom_hooks[0].source)
    model = MODELS.build(config).eval()
    model.load_state_dict(torch.load(cfg.load_from, weights_only=True)['state_dict'])
    for path in Path(cfg.val_dataloader.dataset.data_root).glob('leftImg8bit/val/tiny/*.png'):
        image = torch.from_numpy(cv2.imread(str(path)).transpose(2, 0, 1))
        shape = tuple(image.shape[1:])
        sample = SegDataSample(metainfo=dict(img_shape=shape, ori_shape=shape))
        with torch.no_grad():
            (found,) = model.test_step(dict(inputs=[image], data_samples=[sample]))
        yield path.stem, found.pred_sem_seg.data[0].numpy()


@pytest.fixture(scope='module')
def run(tmp_path_factory, make_tiny_cityscapes, make_config, with_every_row) -> Runner:
    folder = tmp_path_factory.mktemp('extra')
    config = make_config(make_tiny_cityscapes(folder), folder / 'work')
    with_every_row(config, folder)
    # The source calls cars something else, and what it calls rider means nothing to the target.
    source = ['automobile' if name == 'car' else name for name in config.custom_hooks[0]['source']]
    class_map = {'car': 'automobile', 'rider': None}
    config.custom_hooks[0].update(source=source, class_map=class_map)
    config.val_evaluator.source = source
    config.train_cfg.update(max_iters=4, val_interval=2)
    # A classifier that predicts many classes.
    checkpoint = torch.load(config.load_from, weights_only=True)
    torch.manual_seed(3)
    checkpoint['state_dict']['decode_head.conv_seg.weight'].normal_()
    torch.save(checkpoint, config.load_from)
    config.custom_hooks[1].pop('forgetting')
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


@pytest.mark.slow
def test_the_source_s_own_view(run):
    """Against the source model itself, counted pixel by pixel."""
    header, (first, *_) = read_history(run.work_dir)
    assert (first['iter'], first['kind'], first['subset'], first['images']) == (0, 'source', 'full', 3)
    expected, pictures = np.zeros((19, 20), int), Path(run.work_dir) / 'snapshots/source'
    labels = Path(run.cfg.val_dataloader.dataset.data_root) / 'gtFine/val/tiny'
    for stem, prediction in source_predictions(run.cfg):
        label = np.asarray(Image.open(labels / f'{stem.replace("leftImg8bit", "gtFine_labelTrainIds")}.png'))
        if (pictures / f'{stem}.png').exists():
            np.testing.assert_array_equal(np.asarray(Image.open(pictures / f'{stem}.png')), prediction)
        np.add.at(expected, (label[label != 255], prediction[label != 255]), 1)
    np.testing.assert_array_equal(first['confusion'], expected)
    # car is read from automobile; rider and background mean nothing, so they are wrong wherever predicted.
    target, source = header['target_classes'], run.cfg.custom_hooks[0].source
    places = [source.index('automobile' if name == 'car' else name) for name in target]
    t, s = target.index('car'), source.index('automobile')
    iou = expected[t, s] / (expected[t].sum() + expected[:, s].sum() - expected[t, s])
    assert first['class_iou']['car'] == pytest.approx(100 * iou)
    assert expected[:, [source.index('rider'), 0]].any()
    hits = sum(expected[i, place] for i, place in enumerate(places) if target[i] != 'rider')
    assert first['aAcc'] == pytest.approx(100 * hits / expected.sum())


def test_seen_classes_are_those_that_the_transfer_matched(run):
    """By name alone rider, declared new, would be seen, and car, the source's automobile, would not."""
    header, rows = read_history(run.work_dir)
    seen = [name for name in header['target_classes'] if name != 'rider']
    assert header['seen_classes'] == seen
    assert header['matches']['car'] == {'source': 'automobile', 'kind': 'class_map'}
    assert list(header['matches']) == seen
    assert {row['kind'] for row in rows} == {'source', 'source_classifier', 'validation'}
    for row in rows:
        known = [iou for name, iou in row['class_iou'].items() if name in seen and iou is not None]
        assert row['mIoU.seen'] == pytest.approx(sum(known) / len(known))
        assert row['mIoU.unseen'] == row['class_iou']['rider']


def test_pictures_of_the_source_s_view_are_in_its_colours(run):
    folder = Path(run.work_dir) / 'snapshots'
    names = [path.name for path in sorted((folder / 'source').iterdir())]
    assert names == [path.name for path in sorted((folder / '000000').iterdir())] and len(names) == 2
    palette = Image.open(folder / 'source' / names[0]).getpalette()
    assert palette[: 3 * 20] == [channel for colour in get_palette('voc')[:20] for channel in colour]


def test_target_s_classifier_is_back(run):
    head = run.model.decode_head
    own, state = head.conv_seg, torch.get_rng_state()
    classifier = dict(weight=torch.zeros(20, 16, 1, 1), bias=torch.ones(20))
    with pytest.raises(KeyError), as_source_model(run.model, classifier):
        assert (head.num_classes, head.out_channels, head.conv_seg.weight.shape[0]) == (20, 20, 20)
        assert head.conv_seg.bias.eq(1).all()
        raise KeyError
    assert head.conv_seg is own and (head.num_classes, head.out_channels) == (19, 19)
    assert torch.get_rng_state().equal(state)


def test_checkpoints_keep_the_source_s_classifier(run):
    source = torch.load(run.cfg.load_from, weights_only=True)['state_dict']
    kept = torch.load(Path(run.work_dir) / 'iter_0.pth', weights_only=True)['source_classifier']
    for name in ('weight', 'bias'):
        assert kept[name].equal(source[f'decode_head.conv_seg.{name}'])


@pytest.mark.slow
def test_the_source_s_view_in_sliding_windows(config):
    config.model.test_cfg = dict(mode='slide', crop_size=(48, 48), stride=(16, 16))
    config.custom_hooks[1].source_classifier = False
    config.train_cfg.max_iters = 1
    Runner.from_cfg(config).train()
    assert read_history(config.work_dir).rows[0]['kind'] == 'source'


def test_no_source_checkpoint_no_view_of_it(tiny_cityscapes, make_config, tmp_path):
    config = make_config(tiny_cityscapes(), tmp_path / 'work')
    config.custom_hooks.insert(0, dict(type='HeadTransferHook', allow_no_source=True))
    config.train_cfg.max_iters = 1
    Runner.from_cfg(config).train()
    assert [row['kind'] for row in read_history(tmp_path / 'work').rows] == ['validation', 'validation']
    assert not (tmp_path / 'work/snapshots/source').exists()


@pytest.fixture
def config(config, with_every_row, tmp_path) -> Config:
    with_every_row(config, tmp_path)
    config.val_cfg = dict(type='ValLoop')
    config.train_cfg.update(max_iters=7, val_interval=2)
    return config


@pytest.mark.slow
def test_forgetting(config):
    """The source's validation set is the target's here, and all classes are shared: the same scores."""
    runner = Runner.from_cfg(config)
    runner.train()
    history = read_history(runner.work_dir)
    rows, validations = history.select('forgetting'), {row['iter']: row for row in history.validations}
    # every second validation, and the end
    assert list(validations) == [0, 2, 4, 6, 7] and [row['iter'] for row in rows] == [0, 4, 7]
    for row in rows:
        other = validations[row['iter']]
        assert row['confusion'] == other['confusion'] and row['images'] == 3
        for key in ('mIoU', 'aAcc', 'mAcc', 'class_iou'):
            assert row[key] == pytest.approx(other[key]), key


@pytest.mark.slow
def test_forgetting_does_not_change_training(config, tmp_path):
    weights = []
    for i, forgetting in enumerate((config.custom_hooks[1]['forgetting'], None)):
        config.custom_hooks[1]['forgetting'] = forgetting
        config.work_dir = str(tmp_path / f'run{i}')
        runner = Runner.from_cfg(config)
        weights.append(runner.train().state_dict())
    assert all(value.equal(weights[1][key]) for key, value in weights[0].items())


def never(forgetting, _) -> None:
    forgetting.interval = 0


def two_classes(forgetting, _) -> None:
    forgetting.dataloader.dataset.metainfo = dict(classes=['road', 'car'])


def wrong_label(forgetting, make) -> None:
    """Validation images of the source in a folder of their own, one with a label id of nothing."""
    root = make(Path(forgetting.dataloader.dataset.data_root).parent, folder='source')
    forgetting.dataloader.dataset.data_root = str(root)
    path = root / 'gtFine/val/tiny/tiny_000001_gtFine_labelTrainIds.png'
    Image.fromarray(np.full((64, 64), 77, np.uint8)).save(path)


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (never, 'forgetting.interval must be at least 1, but got 0'),
        (two_classes, "the source validation set has no class 'bicycle', .* it has road, car"),
        (wrong_label, r'000001_gtFine_labelTrainIds\.png: label ids \[77\]'),
    ],
)
def test_forgetting_is_refused_before_training(config, make_tiny_cityscapes, spoil, message):
    spoil(config.custom_hooks[1].forgetting, make_tiny_cityscapes)
    runner = Runner.from_cfg(config)
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert not (Path(config.work_dir) / 'adaptation.jsonl').exists()


def test_forgetting_takes_the_label_maps_unread_where_the_hook_does(config, make_tiny_cityscapes):
    forgetting = config.custom_hooks[1].forgetting
    wrong_label(forgetting, make_tiny_cityscapes)
    metric = SimpleNamespace(source=('road',), classes=('road',), ignore_index=255)
    found = ForgettingPass(Runner.from_cfg(config), metric, None, check_labels=False, **forgetting)
    assert found.classes[0] == 'road'


def test_validation_images_without_labels_are_named(config):
    config.val_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
    message = '000_leftImg8bit.png: no gt_sem_seg to count: the pipeline has no Load'
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(config).train()


def test_forgetting_needs_a_shared_class(config):
    # To be given the background's row is to share nothing.
    message = 'forgetting: the source label space shares no class with the target'
    for matches in ({}, {'road': Match('background', 'class_map')}):
        with pytest.raises(ValueError, match=message):
            ForgettingPass(None, None, SimpleNamespace(matches=matches), config.val_dataloader)


@pytest.mark.slow
def test_averaged_weights_give_the_same_rows_wherever_their_hook_is(config):
    """``EMAHook`` copies what is loaded, and takes back the trained weights after a validation."""

    def rows(at: int | None = None, **options) -> list[dict]:
        cfg = copy.deepcopy(config)
        cfg.work_dir = f'{config.work_dir}-{at}-{options}'
        if at is not None:
            cfg.custom_hooks.insert(at, dict(type='EMAHook', momentum=0.1, **options))
        Runner.from_cfg(cfg).train()
        return [{**row, 'seconds': None} for row in read_history(cfg.work_dir).rows]

    alone, last = rows(), rows(2)
    kinds = {'source', 'source_classifier', 'validation', 'forgetting'}
    assert {row['kind'] for row in last if row['iter'] == 0} == kinds
    assert [row for row in last if row['iter'] == 0] == [row for row in alone if row['iter'] == 0]
    assert last[-1]['confusion'] != alone[-1]['confusion']
    assert rows(0) == rows(2, priority=49) == last
    first = rows(0, priority='HIGHEST')
    assert [row for row in first if row['iter'] == 0] == [row for row in last if row['iter'] == 0]
