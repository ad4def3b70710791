"""What is in the header of a record: digests that tell recipes apart and nothing else."""

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


@pytest.mark.parametrize(
    ('options', 'same'),
    [
        ({'work_dir': 'elsewhere', 'resume': True, 'launcher': 'pytorch', 'log_level': 'ERROR'}, True),
        # these are in the header themselves
        ({'load_from': 'other.pth', 'randomness.seed': 1}, True),
        # where the data lie on this machine
        ({'train_dataloader.dataset.data_root': '/elsewhere'}, True),
        ({'optim_wrapper.optimizer.lr': 0.06}, False),
        ({'train_dataloader.batch_size': 3}, False),
        ({'param_scheduler': [dict(type='ConstantLR')]}, False),
        ({'val_dataloader.dataset.data_prefix.img_path': 'other'}, False),
    ],
)
def test_digest_is_of_the_recipe(config, options, same):
    other = config.copy()
    other.merge_from_dict(options)
    assert (config_digest(other) == config_digest(config)) == same
    assert len(config_digest(other)) == 64


def test_digest_of_a_run_can_be_computed_from_its_config_file(config, tmp_path):
    dumped = tmp_path / 'dumped.py'
    config.dump(dumped)
    assert config_digest(Config.fromfile(dumped)) == config_digest(config)


def test_source_checkpoint_is_named_with_the_digest_of_its_file(tmp_path, monkeypatch):
    path = tmp_path / 'checkpoints/source.pth'
    path.parent.mkdir()
    # Where what is fetched is put.
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    url = 'https://example.org/zoo/source.pth'
    assert describe_checkpoint(url) == {'name': 'source.pth', 'digest': None}
    path.write_bytes(b'weights')
    expected = {'name': 'source.pth', 'digest': hashlib.sha256(b'weights').hexdigest()}
    for given in (str(path), f'vainf://{path}', url):
        assert describe_checkpoint(given) == expected
    assert describe_checkpoint(None) is None


def test_a_curve_has_one_set_of_seen_classes():
    """A class_map that was changed since: means over other classes would go on under one name."""
    earlier = {'target_classes': ['road', 'car'], 'seen_classes': ['car']}
    for begun, message in (
        ({**earlier, 'matches': {}}, r"was begun with another seen_classes .*: \['car'\], now \[\]"),
        (earlier, 'was begun by an earlier version, which called classes seen by their names'),
    ):
        with pytest.raises(ValueError, match=message):
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
