"""Which batch norm follows which convolution, and what tells that a weight has changed."""

import pytest
import torch
from torch import nn

from mmseg_deeplab_study.models.folding import conv_norm_pairs, fingerprint, fold


class Network(nn.Module):
    """Registered in another order than it runs; ``shared`` runs twice, ``alone`` takes a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.late, self.early = nn.Conv2d(4, 4, 3), nn.Conv2d(3, 4, 3, bias=False)
        self.shared = nn.Conv2d(4, 4, 1)
        self.after_early, self.after_late, self.alone = (nn.BatchNorm2d(4) for _ in range(3))
        self.one, self.other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.after_early(self.early(x))
        x = self.alone(x + self.one(self.shared(x)) + self.other(self.shared(-x)))
        return self.after_late(self.late(x))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network = Network().eval().double()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return network


IMAGES = torch.randn(1, 3, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_pairs_are_what_feeds_what(network):
    pairs = conv_norm_pairs(network, lambda: network(IMAGES))
    assert pairs == [('early', 'after_early'), ('late', 'after_late')]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_folding_changes_nothing_but_rounding(network):
    before = network(IMAGES)
    fold(network, conv_norm_pairs(network, lambda: network(IMAGES)))
    assert isinstance(network.after_early, nn.Identity) and isinstance(network.after_late, nn.Identity)
    assert network.early.bias is not None
    torch.testing.assert_close(network(IMAGES), before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    'change',
    [
        lambda w: w.add_(1e-6),
        lambda w: w.data.neg_(),
        lambda w: w.data[0, 0].mul_(1.001),
        lambda w: w.data.copy_(w.data.flip(0)),
        lambda w: w.data.copy_(w.data.flip(3)),
        lambda w: w.data.fill_(torch.nan),
    ],
    ids=['counted', 'sign', 'one', 'order of filters', 'order of columns', 'nan'],
)
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last], ids=str)
@torch.no_grad()
def test_a_changed_tensor_has_another_fingerprint(change, memory_format):
    weight = torch.randn(64, 32, 3, 3, generator=torch.Generator().manual_seed(0))
    weight = weight.contiguous(memory_format=memory_format)
    before = fingerprint([weight])
    assert fingerprint([weight]) == before
    change(weight)
    after = fingerprint([weight])
    assert after != before and fingerprint([weight]) == after


def test_counters_do_not_matter_and_other_tensors_do():
    weight, steps = torch.ones(3), torch.tensor(1)
    before = fingerprint([weight, steps])
    steps.add_(1)
    assert fingerprint([weight, steps]) == before
    assert fingerprint([weight.clone(), steps]) != before


def test_tensors_with_gaps():
    weight = torch.arange(24.0).reshape(4, 6)[:, ::2]
    before = fingerprint([weight])
    weight.data[3, 2] = -1
    assert fingerprint([weight]) != before
