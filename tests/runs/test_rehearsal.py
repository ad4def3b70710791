"""What the first training iteration would stop at, without an iteration."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import PixelData
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.models.decode_heads import FCNHead
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_deeplab_study.runs.rehearsal import rehearse


def sample(channels: int = 3, label: int = 0, **more: object) -> dict:
    truth = torch.full((1, 16, 16), label, dtype=torch.int64)
    truth[0, 0] = 255
    packed = SegDataSample(gt_sem_seg=PixelData(data=truth))
    packed.set_metainfo(dict(img_shape=(16, 16)))
    return dict(inputs=torch.zeros(channels, 16, 16), data_samples=packed, **more)


def runner(first: object, size: tuple | None = (16, 16), **head: object) -> SimpleNamespace:
    model = nn.Module()
    model.data_preprocessor = SegDataPreProcessor(mean=[0.0] * 3, std=[1.0] * 3, size=size)
    loss = dict(type='mmseg.CrossEntropyLoss', **head.pop('loss', {}))
    size = dict(in_channels=4, channels=4, num_convs=1, num_classes=5)
    model.decode_head = FCNHead(loss_decode=loss, **size, **head)
    loader = SimpleNamespace(dataset=[first] if first else [], collate_fn=pseudo_collate)
    return SimpleNamespace(model=model, train_dataloader=loader)


def test_what_can_be_learnt_from_passes_and_nothing_is_drawn():
    run = runner(sample())
    before = torch.get_rng_state()
    rehearse(run)
    assert torch.equal(torch.get_rng_state(), before)


def unlabelled() -> dict:
    return dict(sample(), data_samples=SegDataSample())


PIPELINE = 'train_dataloader: the pipeline of its dataset'
LOAD = '.*LoadAnnotations.* after .*FromFile.*'
TAKE = 'model.data_preprocessor cannot take'
NO_LOSS = 'model.decode_head: no loss of the first training image'
WEIGHTS = dict(class_weight=[1.0, 2.0])


@pytest.mark.parametrize(
    ('run', 'message'),
    [
        (lambda: runner(None), rf'{PIPELINE} stops at the first image: IndexError: list index out of range'),
        (lambda: runner({'img': 0}), rf"{PIPELINE} gives no 'inputs', but \['img'\]: end .*PackSegInputs'\)"),
        (lambda: runner((1, 2)), rf"{PIPELINE} gives no 'inputs', but tuple: end .*PackSegInputs'\)"),
        (lambda: runner(unlabelled()), rf'{PIPELINE} gives no labels \(gt_sem_seg\): put {LOAD}'),
        (
            lambda: runner(sample(channels=4)),
            rf'{TAKE} what .* of shape \(4, 16, 16\): The size of tensor .*',
        ),
        (lambda: runner(sample(), size=None), f'{TAKE} .*: only one of size and size_divisor .*'),
        (lambda: runner(sample(), loss=WEIGHTS), rf'{NO_LOSS}: weight tensor .* num_classes \(5\).*'),
        (lambda: runner(sample(), ignore_index=0), f'{NO_LOSS}: Target 255 is out of bounds. See its .*'),
    ],
)
def test_refused(run, message):
    with pytest.raises(ValueError, match=f'^{message}$'):
        rehearse(run())
