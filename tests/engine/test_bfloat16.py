"""Mixed precision on the CPU."""

import torch
from mmengine.optim import build_optim_wrapper
from torch import nn


def test_computes_in_bfloat16_and_updates_in_float32():
    model = nn.Linear(3, 2)
    before = model.weight.clone()
    config = dict(type='mmseg.BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    wrapper = build_optim_wrapper(model, config)
    wrapper.initialize_count_status(model, 0, 1)
    with wrapper.optim_context(model):
        output = model(torch.ones(1, 3))
    assert output.dtype == torch.bfloat16
    assert model(torch.ones(1, 3)).dtype == torch.float32
    wrapper.update_params(output.sum())
    assert model.weight.dtype == torch.float32
    # the gradient of a sum of inputs of 1 is 1 everywhere
    torch.testing.assert_close(model.weight, before - 0.1)
