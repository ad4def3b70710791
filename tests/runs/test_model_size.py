"""Parameters and multiply-adds, against sums by hand and the published figures of a network."""

import pytest
import torch
from mmseg.registry import MODELS
from torch import nn

from mmseg_deeplab_study.runs.header import describe_model


class Toy(nn.Module):
    def __init__(self, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone or nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.auxiliary_head = nn.Conv2d(8, 19, 1)
        self.conv_seg = nn.Identity() if backbone else nn.Conv2d(8, 19, 1)

    def forward(self, inputs: torch.Tensor, mode: str) -> torch.Tensor:
        assert mode == 'tensor'
        return self.conv_seg(self.backbone(inputs))


def test_by_hand():
    assert describe_model(Toy(), 32, 64) == {
        # 3*3*3*8 + 8*19 + 19
        'parameters': 216 + 152 + 19,
        # 16*32 pixels, each 3*3*3*8 and 8*19
        'multiply_adds': 512 * (216 + 152),
        'input': [32, 64],
    }


def test_resnet50_is_as_published():
    """torchvision gives 25,557,032 parameters and 4.09 GFLOPS (multiply-adds) at 224x224, the classifier's
    2,049,000 and 0.002 among them."""
    found = describe_model(Toy(MODELS.build(dict(type='mmpretrain.ResNet', depth=50))), 224, 224)
    assert found['parameters'] == 25_557_032 - 2_049_000
    assert found['multiply_adds'] / 1e9 == pytest.approx(4.09, abs=0.01)


def test_the_segmentor_stays_as_it_is(make_config, tmp_path):
    model = MODELS.build(make_config(tmp_path, tmp_path).model).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = describe_model(model, 64, 64)
    assert found['multiply_adds'] > found['parameters'] > 0
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_cannot_run_on_shapes(caplog):
    class Looks(Toy):
        def forward(self, inputs: torch.Tensor, mode: str) -> torch.Tensor:
            return inputs if inputs.max() > 0 else super().forward(inputs, mode)

    found = describe_model(Looks(), 8, 8)
    assert found['parameters'] == 387 and found['multiply_adds'] is None
