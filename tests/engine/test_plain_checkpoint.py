import logging
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer, MessageHub

from mmseg_deeplab_study.engine.plain_checkpoint import PlainCheckpointHook, rebuild_buffers, to_plain


def no_drop(value):
    raise AssertionError(f'dropped {value!r}')


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
    assert len(dropped) == 1


def test_saved_file_loads_with_weights_only(tmp_path, caplog):
    checkpoint = {
        'meta': {'hook_msgs': {'best_score': np.float64(24.0)}},
        'state_dict': {'weight': torch.ones(2)},
        'message_hub': {'log_scalars': {'train/loss': HistoryBuffer([1.0], [1])}, 'runtime_info': {}},
    }
    runner = SimpleNamespace(logger=logging.getLogger('test'))
    hook = PlainCheckpointHook()
    with pytest.raises(Exception, match='weights_only|Weights only'):
        torch.save(checkpoint, tmp_path / 'stock.pth')
        torch.load(tmp_path / 'stock.pth', weights_only=True)

    hook.before_save_checkpoint(runner, checkpoint)
    torch.save(checkpoint, tmp_path / 'plain.pth')
    loaded = torch.load(tmp_path / 'plain.pth', weights_only=True)
    hook.after_load_checkpoint(runner, loaded)

    assert loaded['meta']['hook_msgs']['best_score'] == 24.0
    assert loaded['message_hub']['log_scalars']['train/loss'].current() == 1.0
    assert torch.equal(loaded['state_dict']['weight'], torch.ones(2))


@pytest.mark.parametrize('scores', [['mIoU'], ['mIoU', 'aAcc']], ids=len)
@pytest.mark.parametrize('out_dir', [None, 'checkpoints'])
def test_a_copied_run_replaces_its_own_best_checkpoint_alone(tmp_path, monkeypatch, out_dir, scores):
    monkeypatch.chdir(tmp_path)
    folders = [Path(out_dir or tmp_path, name) for name in ('a', 'b')]
    for folder in folders:
        folder.mkdir(parents=True)
        for score in scores:
            (folder / f'best_{score}_iter_5.pth').touch()
    hub = MessageHub.get_instance(uuid4().hex)
    for score in scores:
        end = f'_{score}' if len(scores) > 1 else ''
        hub.update_info_dict(
            {f'best_ckpt{end}': str(folders[0] / f'best_{score}_iter_5.pth'), f'best_score{end}': 20.0}
        )
    hub.update_info('last_ckpt', str(folders[0] / 'iter_5.pth'))
    checkpoints = CheckpointHook(by_epoch=False, save_best=scores, out_dir=out_dir)
    runner = SimpleNamespace(
        work_dir=str(tmp_path / 'b'),
        logger=logging.getLogger('test'),
        message_hub=hub,
        hooks=[checkpoints],
        iter=10,
        epoch=0,
        save_checkpoint=lambda folder, filename, *_, **__: Path(folder, filename).touch(),
    )
    checkpoints.before_train(runner)
    PlainCheckpointHook().before_train(runner)
    assert Path(hub.get_info('last_ckpt')) == Path(checkpoints.out_dir, 'iter_5.pth')
    checkpoints.after_val_epoch(runner, {'mIoU': 30.0, 'aAcc': 40.0})
    assert sorted(path.name for path in folders[0].iterdir()) == sorted(
        f'best_{s}_iter_5.pth' for s in scores
    )
    assert sorted(path.name for path in folders[1].iterdir()) == sorted(
        f'best_{s}_iter_10.pth' for s in scores
    )


def test_a_run_that_is_new_has_no_paths_to_keep_to(tmp_path):
    checkpoints = CheckpointHook(by_epoch=False, save_best='mIoU')
    hub = MessageHub.get_instance(uuid4().hex)
    logger = logging.getLogger('test')
    runner = SimpleNamespace(work_dir=str(tmp_path), logger=logger, message_hub=hub, hooks=[checkpoints])
    checkpoints.before_train(runner)
    PlainCheckpointHook().before_train(runner)
    assert checkpoints.best_ckpt_path is None and not hub.runtime_info
