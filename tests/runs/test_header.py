"""What stands in the header of a record: digests that tell recipes apart and nothing else."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from mmengine.config import Config

from mmseg_deeplab_study.runs.header import check_continuation, config_digest, describe_checkpoint

ADAPTATION = Path(__file__).resolve().parents[2] / 'configs/_base_/adaptation.py'


@pytest.fixture(scope='module')
def config() -> Config:
    return Config.fromfile(ADAPTATION)


def test_digest_is_of_the_recipe(config):
    first = config_digest(config)
    assert len(first) == 64
    same = config.copy()
    same.merge_from_dict(
        {
            'work_dir': 'elsewhere',
            'resume': True,
            'launcher': 'pytorch',
            'log_level': 'ERROR',
            # these stand in the header themselves
            'load_from': 'other.pth',
            'randomness.seed': 1,
            # where the data lie on this machine
            'train_dataloader.dataset.data_root': '/elsewhere',
        }
    )
    assert config_digest(same) == first
    for change in (
        {'optim_wrapper.optimizer.lr': 0.06},
        {'train_dataloader.batch_size': 3},
        {'param_scheduler': [dict(type='ConstantLR')]},
        {'val_dataloader.dataset.data_prefix.img_path': 'other'},
    ):
        other = config.copy()
        other.merge_from_dict(change)
        assert config_digest(other) != first, change


def test_digest_of_a_run_can_be_computed_from_its_config_file(config, tmp_path):
    dumped = tmp_path / 'dumped.py'
    config.dump(dumped)
    assert config_digest(Config.fromfile(dumped)) == config_digest(config)


def test_source_checkpoint_is_named_with_the_digest_of_its_file(tmp_path):
    path = tmp_path / 'source.pth'
    path.write_bytes(b'weights')
    expected = {'name': 'source.pth', 'digest': hashlib.sha256(b'weights').hexdigest()}
    assert describe_checkpoint(str(path)) == expected
    assert describe_checkpoint(f'vainf://{path}') == expected


def test_fetched_checkpoint_is_looked_up_where_it_was_put(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    url = 'https://example.org/zoo/source.pth'
    assert describe_checkpoint(url) == {'name': 'source.pth', 'digest': None}
    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / 'checkpoints/source.pth').write_bytes(b'weights')
    assert describe_checkpoint(url)['digest'] == hashlib.sha256(b'weights').hexdigest()


def test_no_source_checkpoint():
    assert describe_checkpoint(None) is None


def test_a_curve_has_one_set_of_seen_classes():
    """A class_map that was changed since: means over other classes would go on under one name."""
    begun = {'target_classes': ['road', 'car'], 'seen_classes': ['car'], 'matches': {}}
    with pytest.raises(ValueError, match=r"was begun with another seen_classes .*: \['car'\], now \[\]"):
        check_continuation(None, begun, {**begun, 'seen_classes': ()})


def test_settings_that_differ_are_named():
    logger = Mock()
    begun = {'config': {'optim_wrapper': {'lr': 0.1}, 'hooks': [{'type': 'A'}]}, 'world_size': 1}
    now = {'config': {'optim_wrapper': {'lr': 0.2}, 'hooks': [{'type': 'A', 'x': None}]}, 'world_size': 2}
    check_continuation(SimpleNamespace(logger=logger), begun, begun)
    assert not logger.warning.called
    check_continuation(SimpleNamespace(logger=logger), begun, now)
    (message,) = logger.warning.call_args.args
    assert message == (
        'adaptation.jsonl was begun with other settings, which its header keeps: optim_wrapper.lr 0.1, now '
        '0.2; hooks.0.x missing, now null; world_size 1, now 2'
    )


def test_a_record_of_an_earlier_version_with_other_seen_classes():
    begun = {'seen_classes': ['car']}
    with pytest.raises(
        ValueError, match='was begun by an earlier version, which called classes seen by their names'
    ):
        check_continuation(None, begun, {'seen_classes': []})
