import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmseg_deeplab_study.engine.plain_data import rebuild_buffers, to_plain


def no_drop(message):
    raise AssertionError(message)


def test_numpy_becomes_python_and_tensors():
    plain = to_plain(
        {'score': np.float64(1.5), 'count': np.int64(3), 'ids': np.array([1, 2]), 'names': np.array(['a'])},
        no_drop,
    )
    assert type(plain['score']) is float and plain['score'] == 1.5
    assert type(plain['count']) is int and plain['count'] == 3
    assert torch.equal(plain['ids'], torch.tensor([1, 2]))
    assert plain['names'] == ['a']


def test_keeps_plain_data_and_containers():
    data = {'a': [1, (2.0, 'x')], 'b': {'c': None, 'd': True}, 't': torch.zeros(2)}
    assert to_plain(data, no_drop) == data


def test_history_buffers_come_back_the_same():
    buffer = HistoryBuffer([1.0, 2.5], [1, 2], max_length=7)
    back = rebuild_buffers(to_plain({'log_scalars': {'loss': buffer}}, no_drop))['log_scalars']['loss']
    assert isinstance(back, HistoryBuffer)
    assert np.array_equal(back.data[0], [1.0, 2.5]) and np.array_equal(back.data[1], [1, 2])
    assert back.max_length == 7
    assert back.current() == 2.5


def test_says_what_it_leaves_out():
    dropped = []
    assert to_plain({'hub': [object()]}, dropped.append) == {'hub': [None]}
    assert dropped == ["left out of the checkpoint, because not plain data: <class 'object'>"]
