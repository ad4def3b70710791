"""The source's own classifier on the features of the network that adapts, in real runs of a tiny model."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import MODELS
from mmseg.utils import get_classes
from PIL import Image
from torch.nn import Identity
from torch.nn.functional import conv2d, interpolate

from mmseg_deeplab_study.engine import AdaptationHook
from mmseg_deeplab_study.runs.history import FILE_NAME, History, read_history

CITYSCAPES = tuple(get_classes('cityscapes'))
SOURCE = ('background', *CITYSCAPES)
KIND = 'source_classifier'
ROAD, CAR = CITYSCAPES.index('road'), CITYSCAPES.index('car')


def read_labels(cfg: Config, stem: str) -> np.ndarray:
    name = stem.replace('leftImg8bit', 'gtFine_labelTrainIds')
    return np.asarray(Image.open(Path(cfg.val_dataloader.dataset.data_root) / f'gtFine/val/tiny/{name}.png'))


def without_seconds(rows: list[dict]) -> list[dict]:
    return [{**row, 'seconds': None} for row in rows]


def train(cfg: Config, *hooks: Hook) -> tuple[Runner, History]:
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner, read_history(runner.work_dir)


@pytest.fixture(scope='module')
def adapt(make_config, with_every_row, write_trained) -> Callable[[Path, Path], Config]:
    """A function of a data root and a folder: the config of a run with every kind of row, from a source model
    that predicts many classes."""

    def make(root: Path, folder: Path) -> Config:
        cfg = make_config(root, folder / 'work')
        with_every_row(cfg, folder)
        source = copy.deepcopy(cfg)
        source.model.decode_head.num_classes = len(SOURCE)
        write_trained(source, cfg.load_from)
        cfg.optim_wrapper.optimizer.lr = 0.005
        cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=-1)
        cfg.train_cfg.val_interval = 1
        return cfg

    return make


@pytest.fixture(scope='module')
def probed(tmp_path_factory, make_tiny_cityscapes, adapt) -> Config:
    """Three iterations, each validated, with probe and forgetting, whose passes are not to be counted."""
    folder = tmp_path_factory.mktemp('readout')
    cfg = adapt(make_tiny_cityscapes(folder), folder)
    cfg.train_cfg.max_iters, cfg.val_cfg.full_interval = 3, 10
    return cfg


class BestAtOne(Hook):
    """Makes iteration 1 the best of the probe, and no other: there the whole set is evaluated, too."""

    def before_val(self, runner) -> None:
        runner.val_loop.best_probe = float('-inf' if runner.iter == 1 else 'inf')


@pytest.fixture(scope='module')
def run(probed: Config) -> tuple[Runner, History]:
    return train(probed, BestAtOne())


@pytest.mark.slow
def test_at_iteration_0_it_is_what_the_source_sees(run):
    _, history = run
    (source,), (first, *_) = history.select('source'), history.select(KIND)
    changed = {'kind': KIND, 'seconds': first['seconds']}
    assert first['iter'] == 0 and {**source, **changed} == first
    assert np.count_nonzero(np.sum(first['confusion'], axis=0)) > 3


def test_there_is_a_row_where_the_whole_set_was_evaluated_and_it_has_each_image_once(run):
    _, history = run
    assert [row['iter'] for row in history.probed] == [0, 1, 2, 3]
    # At 1 the probe's two images were evaluated before.
    assert [row['iter'] for row in history.select(KIND)] == [0, 1, 3]
    for row, other in zip(history.select(KIND), history.validations, strict=True):
        assert (row['subset'], row['images']) == ('full', 3) and row['seconds'] > 0
        # The same labels: only predictions differ.
        assert np.sum(row['confusion'], axis=1).tolist() == np.sum(other['confusion'], axis=1).tolist()
    # It comes before the validation, whose last row says that all are there.
    order = [row['kind'] for row in history.rows if row['iter'] == 3]
    assert order == ['forgetting', KIND, 'validation', 'validation']


def test_against_a_plain_computation(run):
    """Features by a pass of its own, without folding, then convolution, resize, argmax and counting."""
    runner, history = run
    source = torch.load(runner.cfg.load_from, weights_only=True)['state_dict']
    weight, bias = (source[f'decode_head.conv_seg.{name}'] for name in ('weight', 'bias'))
    first, *_, last = (np.array(row['confusion']) for row in history.select(KIND))
    model = MODELS.build(runner.cfg.model).eval()
    model.load_state_dict(torch.load(f'{runner.work_dir}/iter_3.pth', weights_only=True)['state_dict'])
    model.decode_head.conv_seg = Identity()
    expected = np.zeros((19, 20), int)
    for path in Path(runner.cfg.val_dataloader.dataset.data_root).glob('leftImg8bit/val/tiny/*.png'):
        image = torch.from_numpy(cv2.imread(str(path)).transpose(2, 0, 1).copy()).float()
        with torch.no_grad():
            logits = conv2d(model((image[None] - 127.5) / 127.5, mode='tensor'), weight, bias)
        found = interpolate(logits, (64, 64), mode='bilinear')[0].argmax(dim=0).numpy()
        label = read_labels(runner.cfg, path.stem)
        np.add.at(expected, (label[label != 255], found[label != 255]), 1)
    # Folding rounds otherwise: a pixel may fall to the other side of a tie.
    assert np.abs(last - expected).sum() <= 12 < np.abs(last - first).sum() and expected.sum() == last.sum()


@pytest.mark.slow
def test_it_is_off_unless_asked_for_and_changes_nothing_else(run, probed):
    runner, history = run
    cfg = copy.deepcopy(probed)
    cfg.custom_hooks[1].pop('source_classifier')
    cfg.work_dir = str(Path(cfg.work_dir).with_name('without'))
    other, unread = train(cfg, BestAtOne())
    rows = [row for row in history.rows if row['kind'] != KIND]
    assert without_seconds(rows) == without_seconds(unread.rows)
    weights = other.model.state_dict()
    assert all(value.equal(weights[key]) for key, value in runner.model.state_dict().items())


def test_the_model_is_left_as_it_was(run):
    runner, history = run
    assert not runner.model.decode_head.conv_seg._forward_pre_hooks
    runner.val_loop.run()
    assert read_history(runner.work_dir).rows == history.rows


@pytest.mark.slow
def test_a_validation_that_was_cut_off_behind_its_row_is_read_again(run, probed):
    runner, history = run
    cfg = copy.deepcopy(probed)
    cfg.work_dir = str(Path(cfg.work_dir).with_name('cut'))
    shutil.copytree(runner.work_dir, cfg.work_dir)
    record = Path(cfg.work_dir) / FILE_NAME
    lines = record.read_text().splitlines(keepends=True)
    parsed = [json.loads(line) for line in lines]
    (last,) = (i for i, row in enumerate(parsed) if (row.get('iter'), row.get('kind')) == (3, KIND))
    record.write_text(''.join(lines[: last + 1]))
    cfg.resume, cfg.load_from = True, str(Path(cfg.work_dir) / 'iter_3.pth')
    assert without_seconds(train(cfg, BestAtOne())[1].rows) == without_seconds(history.rows)


@pytest.fixture
def config(tiny_cityscapes, adapt, tmp_path) -> Config:
    """One iteration, without a probe and forgetting."""
    config = adapt(tiny_cityscapes(), tmp_path)
    config.custom_hooks[1].pop('forgetting')
    config.val_cfg = dict(type='ValLoop')
    config.train_cfg.max_iters = 1
    return config


class CallAll(Hook):
    """Makes the target's classifier call all pixels one class."""

    def __init__(self, label: int) -> None:
        self.label = label

    def before_val(self, runner) -> None:
        runner.model.decode_head.conv_seg.bias.data[self.label] = 1e6


def test_what_the_new_head_has_lost_and_the_features_have_not(config):
    """The target's classifier calls all road; the source's, whatever the features, all car."""

    checkpoint = torch.load(config.load_from, weights_only=True)
    checkpoint['state_dict']['decode_head.conv_seg.bias'][SOURCE.index('car')] = 1e6
    torch.save(checkpoint, config.load_from)
    # None of the source's rows is carried over: it is kept all the same.
    config.custom_hooks[0].update(matched='reinit', unmatched='random')
    _, history = train(config, CallAll(ROAD))
    labels = [read_labels(config, f'tiny_{i:06d}_leftImg8bit') for i in range(3)]
    pixels = [sum(int((label == i).sum()) for label in labels) for i in range(19)]
    share = 100 * pixels[CAR] / sum(pixels)
    assert 0 < share < 100
    for row, other in zip(history.select(KIND), history.validations, strict=True):
        assert np.array(row['confusion'])[:, SOURCE.index('car')].tolist() == pixels
        assert np.array(other['confusion'])[:, ROAD].tolist() == pixels
        # Of car's union, which is all pixels, the labelled ones; of road none.
        assert row['class_iou']['car'] == row['aAcc'] == pytest.approx(share)
        assert (row['class_iou']['road'], other['class_iou']['car']) == (0, 0)
    assert [row['iter'] for row in history.select(KIND)] == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    'changes',
    [
        {'model.type': 'EncoderDecoder'},
        {'model.eval_dtype': 'bfloat16', 'model.decode_head.align_corners': True},
        {'val_cfg.fp16': True},
    ],
    ids=str,
)
def test_other_models_and_precisions(config, changes):
    config.merge_from_dict(changes)
    _, history = train(config)
    (source,), (first, second) = history.select('source'), history.select(KIND)
    assert first['confusion'] == source['confusion'] and second['iter'] == 1
    assert np.count_nonzero(np.sum(first['confusion'], axis=0)) > 3


NO_CLASSIFIER = (
    'AdaptationHook.source_classifier=True needs the classifier of a source checkpoint, but no '
    'HeadTransferHook has carried one over: give --load-from CHECKPOINT, or set it to False'
)


def no_transfer(cfg: Config) -> None:
    cfg.custom_hooks.pop(0)


def no_source(cfg: Config) -> None:
    cfg.load_from, cfg.custom_hooks[0].allow_no_source = None, True


def windows(cfg: Config) -> None:
    cfg.model.test_cfg = dict(mode='slide', crop_size=(48, 48), stride=(16, 16))


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (no_transfer, NO_CLASSIFIER),
        (no_source, NO_CLASSIFIER),
        (
            windows,
            "AdaptationHook.source_classifier=True needs model.test_cfg.mode='whole', but got 'slide': set "
            'one of them',
        ),
    ],
)
def test_what_it_refuses_before_anything_is_overwritten(config, spoil, message):
    if spoil is no_transfer:
        config.load_from = None
    spoil(config)
    record = Path(config.work_dir) / FILE_NAME
    record.parent.mkdir()
    record.write_text('somebody worked for this\n')
    runner = Runner.from_cfg(config)
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, AdaptationHook))
    hook.overwrite = True
    with pytest.raises(ValueError) as error:
        runner.train()
    assert str(error.value) == message
    assert record.read_text() == 'somebody worked for this\n'
