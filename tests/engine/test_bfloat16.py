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


def test_gradients_still_accumulate():
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    config = dict(
        type='mmseg.BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=0.5), accumulative_counts=2
    )
    wrapper = build_optim_wrapper(model, config)
    wrapper.initialize_count_status(model, 0, 2)
    weights = []
    for value in (1.0, 3.0):
        with wrapper.optim_context(model):
            loss = model(torch.full((1, 1), value)).sum()
        wrapper.update_params(loss)
        weights.append(model.weight.item())
    # nothing after the first; then the mean of the gradients 1 and 3, times 0.5
    assert weights[0] == before
    assert abs(weights[1] - (before - 0.5 * 2)) < 1e-6
