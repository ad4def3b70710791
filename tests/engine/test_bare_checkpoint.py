"""A bare checkpoint is what torch loads without trusting it."""

import pickle

import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmseg_deeplab_study.engine import BareCheckpointHook


def test_what_is_left_loads_safely(tmp_path):
    checkpoint = {
        'meta': {'iter': 3, 'dataset_meta': {'classes': ('a', 'b')}},
        'state_dict': {'weight': torch.ones(2)},
        'message_hub': {'log_scalars': {'loss': HistoryBuffer([1.0], [1])}},
        'param_schedulers': [{}],
    }
    torch.save(checkpoint, tmp_path / 'full.pth')
    with pytest.raises(pickle.UnpicklingError, match='HistoryBuffer'):
        torch.load(tmp_path / 'full.pth', weights_only=True)

    BareCheckpointHook().before_save_checkpoint(None, checkpoint)
    torch.save(checkpoint, tmp_path / 'bare.pth')
    loaded = torch.load(tmp_path / 'bare.pth', weights_only=True)
    assert loaded['meta'] == {'iter': 3, 'dataset_meta': {'classes': ('a', 'b')}}
    assert list(loaded) == ['meta', 'state_dict']
    torch.testing.assert_close(loaded['state_dict']['weight'], torch.ones(2))
