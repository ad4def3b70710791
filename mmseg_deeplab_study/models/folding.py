"""Fold batch norm into convolutions, and tell when to do so again."""

import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

_COLUMNS = 4096


@torch.no_grad()
def conv_norm_pairs(network: nn.Module, run: Callable[[], object]) -> list[tuple[str, str]]:
    """Name each convolution of an evaluating network, with the batch norm it feeds.

    Seen while ``run`` runs the network once: the order of registration, which mmcv's ``fuse_conv_bn``
    follows, is not that of the data in every network.
    """
    given: dict[int, tuple[Callable[[], Tensor | None], str]] = {}
    pairs: list[tuple[str, str]] = []

    def note(name: str, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        # Weakly: together, what all layers give takes gigabytes.
        given[id(output)] = weakref.ref(output), name

    def match(name: str, module: nn.Module, inputs: tuple) -> None:
        output, conv = given.get(id(inputs[0]), (lambda: None, ''))
        pairs.append((conv if output() is inputs[0] else '', name))

    hooks = []
    for name, module in network.named_modules():
        if type(module) is nn.Conv2d:
            hooks.append(module.register_forward_hook(partial(note, name)))
        elif isinstance(module, _BatchNorm):
            hooks.append(module.register_forward_pre_hook(partial(match, name)))
    run()
    for hook in hooks:
        hook.remove()
    # One that runs twice would be folded for one of its uses and be wrong for the other.
    convs, norms = Counter(conv for conv, _ in pairs), Counter(norm for _, norm in pairs)
    return [(conv, norm) for conv, norm in pairs if conv and convs[conv] == norms[norm] == 1]


def fold(network: nn.Module, pairs: Sequence[tuple[str, str]]) -> None:
    """Fold the batch norm of each pair into its convolution, in place."""
    for conv, norm in pairs:
        fused = fuse_conv_bn_eval(network.get_submodule(conv), network.get_submodule(norm))
        for name, module in ((conv, fused), (norm, nn.Identity())):
            parent, _, own = name.rpartition('.')
            setattr(network.get_submodule(parent), own, module)


def fingerprint(tensors: Sequence[Tensor]) -> tuple[list[tuple], bytes]:
    """Return what differs once any tensor has changed, in the time of one read."""
    floating = [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
    # PyTorch counts a tensor's changes, except those through ``.data``, which the products see.
    counted = [(t.data_ptr(), t.shape, 0 if t.is_inference() else t._version) for t in floating]
    # Bytes, in which nan equals nan.
    return counted, torch.stack([_product(t) for t in floating]).cpu().numpy().tobytes()


def _product(tensor: Tensor) -> Tensor:
    """Multiply a tensor with fixed numbers, another for each place."""
    dense = tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)
    flat = tensor.as_strided((tensor.numel(),), (1,)) if dense else tensor.reshape(-1)
    columns = _numbers(_COLUMNS, tensor.dtype, tensor.device)
    whole = flat.numel() // _COLUMNS * _COLUMNS
    total = flat[whole:] @ columns[: flat.numel() - whole]
    if whole:
        rows = _numbers(whole // _COLUMNS, tensor.dtype, tensor.device)
        total = total + (flat[:whole].view(-1, _COLUMNS) @ columns) @ rows
    return total.float()


@cache
def _numbers(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    numbers = torch.rand(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    return (numbers + 0.5).to(device, dtype)
