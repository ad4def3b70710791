"""State dicts inside of what training scripts save."""

import argparse
import copy
from pathlib import Path

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mmseg_deeplab_study.checkpoints.bare_state import bare_name, bare_state, unwrap
from mmseg_deeplab_study.checkpoints.safe_loading import TORCH


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))


BARE = network().state_dict()


def prefixed(prefix: str) -> dict:
    return {f'{prefix}{key}': value for key, value in BARE.items()}


def compile_parts(model: nn.Module) -> nn.Module:
    model[0] = torch.compile(model[0])
    return model


WRAPPED = {
    'bare': lambda model: model,
    'compiled': torch.compile,
    'compiled in parts': compile_parts,
    'averaged': AveragedModel,
    'parallel': nn.DataParallel,
    'compiled, averaged': lambda model: AveragedModel(torch.compile(model)),
    'averaged, compiled': lambda model: torch.compile(AveragedModel(model)),
    'parallel, compiled': lambda model: torch.compile(nn.DataParallel(model)),
    'averaged, parallel, compiled': lambda model: torch.compile(nn.DataParallel(AveragedModel(model))),
}


@pytest.mark.slow  # the compiler's import
@pytest.mark.parametrize('wrap', WRAPPED.values(), ids=WRAPPED)
def test_what_torch_puts_around_a_model(wrap):
    state = bare_state(wrap(network()).state_dict())
    assert list(state) == list(BARE)
    assert all(torch.equal(state[key], BARE[key]) for key in BARE)


@pytest.mark.parametrize(
    'keys', [('model_state',), ('state_dict',), ('model',), ('model_state_dict',), ('model', 'state_dict')]
)
def test_keys_that_scripts_save_under(keys):
    checkpoint = prefixed('_orig_mod.')
    for key in reversed(keys):
        checkpoint = {'epoch': 3, key: checkpoint, 'args': argparse.Namespace(lr=0.1)}
    assert list(bare_state(checkpoint)) == list(BARE)


def test_a_part_may_be_called_as_a_wrapper():
    assert bare_name('backbone.module.conv.weight') == 'backbone.module.conv.weight'
    assert bare_name('my_orig_mod.weight') == 'my_orig_mod.weight'
    assert bare_name('module._orig_mod.module.backbone._orig_mod.weight') == 'backbone.weight'


@pytest.mark.parametrize(
    ('checkpoint', 'message'), [([1], 'got list'), ({1: torch.ones(1)}, 'got dict'), (None, 'got NoneType')]
)
def test_what_is_no_state_dict(checkpoint, message):
    with pytest.raises(ValueError, match=f'expected a state dict, {message}'):
        bare_state(checkpoint)


def test_unwrap_works_in_place_and_leaves_what_is_bare():
    state = copy.copy(BARE)
    for checkpoint in ({'state_dict': state, 'meta': {'iter': 3}}, state):
        before = dict(checkpoint)
        assert unwrap(checkpoint) is state
        assert checkpoint == before
    wrapped = prefixed('_orig_mod.')
    checkpoint = {'model': wrapped, 'epoch': 3}
    assert list(unwrap(checkpoint)) == list(checkpoint['state_dict']) == list(BARE)
    assert checkpoint['epoch'] == 3
    assert unwrap(wrapped) is wrapped and list(wrapped) == list(BARE)


@pytest.mark.parametrize('key', ['model', None])
def test_mmengine_s_own_path_reads_them(key: str | None, tmp_path: Path):
    state = {**prefixed('_orig_mod.module.'), '_orig_mod.n_averaged': torch.tensor(3)}
    args = argparse.Namespace(lr=0.1) if TORCH >= (2, 4) else {'lr': 0.1}
    torch.save({key: state, 'args': args} if key else state, tmp_path / 'a.pth')

    checkpoint = CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'), map_location='cpu')
    assert list(checkpoint['state_dict'] if key else checkpoint) == list(BARE)


def test_mmengine_s_own_path_hands_on_what_is_no_state_dict(tmp_path: Path):
    torch.save([1, 2], tmp_path / 'list.pth')
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'list.pth')) == [1, 2]
    with pytest.raises(FileNotFoundError, match=r'absent\.pth: no such file'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'absent.pth'))
