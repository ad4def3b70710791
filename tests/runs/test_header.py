"""What is in the header of a record: digests that tell recipes apart, and what a model costs."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from torch import nn

from mmseg_deeplab_study.runs.header import (
    check_continuation,
    config_digest,
    describe_checkpoint,
    describe_model,
)

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


# What a model costs, against sums by hand and the published figures of a network


class Toy(nn.Module):
    def __init__(self, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone or nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.auxiliary_head = nn.Conv2d(8, 19, 1)
        self.conv_seg = nn.Identity() if backbone else nn.Conv2d(8, 19, 1)

    def forward(self, inputs: torch.Tensor, mode: str) -> torch.Tensor:
        assert mode == 'tensor'
        return self.conv_seg(self.backbone(inputs))


def test_parameters_and_multiply_adds_by_hand():
    assert describe_model(Toy(), (32, 64), (16, 8)) == {
        # 3*3*3*8 + 8*19 + 19
        'parameters': 216 + 152 + 19,
        # 16*32 pixels, each 3*3*3*8 and 8*19
        'multiply_adds': 512 * (216 + 152),
        'input': [32, 64],
        # 8*4 pixels
        'training': {'multiply_adds': 32 * (216 + 152), 'input': [16, 8]},
    }


def test_resnet50_is_as_published():
    """torchvision gives 25,557,032 parameters and 4.09 GFLOPS (multiply-adds) at 224x224, the classifier's
    2,049,000 and 0.002 among them."""
    register_all_modules()
    model = Toy(MODELS.build(dict(type='mmpretrain.ResNet', depth=50)))
    found = describe_model(model, (224, 224), (32, 32))
    assert found['parameters'] == 25_557_032 - 2_049_000
    assert found['multiply_adds'] / 1e9 == pytest.approx(4.09, abs=0.01)


def test_the_segmentor_stays_as_it_is(make_config, tmp_path):
    register_all_modules()
    model = MODELS.build(make_config(tmp_path, tmp_path).model).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = describe_model(model, (64, 64), (32, 32))
    assert found['multiply_adds'] > found['training']['multiply_adds'] > found['parameters'] > 0
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_cannot_run_on_shapes(caplog):
    class Looks(Toy):
        def forward(self, inputs: torch.Tensor, mode: str) -> torch.Tensor:
            return inputs if inputs.max() > 0 else super().forward(inputs, mode)

    found = describe_model(Looks(), (8, 8), (4, 4))
    assert found['parameters'] == 387
    assert found['multiply_adds'] is None and found['training'] == {'multiply_adds': None, 'input': [4, 4]}
