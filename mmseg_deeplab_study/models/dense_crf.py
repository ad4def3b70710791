"""The fully connected CRF for DeepLab's edges (Krähenbühl and Koltun 2011)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .permutohedral import PermutohedralLattice

BACKENDS = ('torch', 'pydensecrf2')
_REACH = 4  # standard deviations; beyond them the spatial kernel is below 0.04 % of its height


@dataclass(eq=False)
class DenseCRF:
    """Infer marginals of the dense CRF with Potts compatibility by mean field.

    Of labels x, with unary energies from the logits and every pixel joined to every other, the energy is::

        E(x) = sum_i -log p_i(x_i) + sum_{i<j} [x_i != x_j] k(i, j)
        k(i, j) = spatial_weight   exp(-|p_i - p_j|^2 / (2 spatial_sigma^2))
                + bilateral_weight exp(-|p_i - p_j|^2 / (2 bilateral_sigma_xy^2)
                                       -|I_i - I_j|^2 / (2 bilateral_sigma_rgb^2))

    with positions p in pixels and colours I in 0 to 255. As in the authors' code, each Gaussian is normalised
    symmetrically, ``D^-1/2 K D^-1/2`` with D its row sums, and includes i = j. The spatial Gaussian is a
    separable convolution, the bilateral one a filter on the permutohedral lattice. ``iterations`` are mean
    field updates; ``backend='pydensecrf2'`` is that package, which needs a compiler to install.

    Raises:
        ValueError: a value out of range, or an unknown backend.
        ImportError: the backend is not installed.
    """

    iterations: int = 10
    spatial_weight: float = 3.0
    spatial_sigma: float = 1.0
    bilateral_weight: float = 4.0
    bilateral_sigma_xy: float = 67.0
    bilateral_sigma_rgb: float = 3.0
    backend: str = 'torch'

    def __post_init__(self) -> None:
        """Check the arguments."""
        if type(self.iterations) is not int or self.iterations < 1:
            raise ValueError(
                f'dense CRF: iterations must be a whole number from 1, but got {self.iterations!r}'
            )
        for name, value in self.parameters.items():
            least = 'at least' if name.endswith('weight') else 'above'
            right = isinstance(value, int | float) and (value >= 0 if least == 'at least' else value > 0)
            if not right or not math.isfinite(value):
                raise ValueError(f'dense CRF: {name} must be {least} 0, but got {value!r}')
        if self.backend not in BACKENDS:
            raise ValueError(
                f'dense CRF: backend must be one of {", ".join(BACKENDS)}, but got {self.backend!r}'
            )
        if self.backend == 'pydensecrf2' and find_spec('pydensecrf') is None:
            raise ImportError(
                "dense CRF: backend='pydensecrf2' is not installed: pip install mmseg_deeplab_study[crf] "
                "(builds with a C++ compiler, on Python up to 3.12), or take backend='torch'"
            )

    @property
    def parameters(self) -> dict[str, float]:
        """Return all arguments but the backend."""
        return {name: getattr(self, name) for name in DEEPLABV2_RESNET101}

    @torch.no_grad()
    def __call__(self, logits: Tensor, images: Tensor) -> Tensor:
        """Return marginal probabilities (N, C, H, W), float32, on the logits' device.

        ``logits`` are (N, C, H, W), ``images`` (N, 3, H, W) uint8, in any order of the channels.

        Raises:
            ValueError: other shapes or types, or sigmas too small for images of this size.
        """
        count, _, *size = logits.shape
        if images.shape != (count, 3, *size) or images.dtype != torch.uint8:
            raise ValueError(
                f'dense CRF: images {tuple(images.shape)} of {images.dtype} with logits '
                f'{tuple(logits.shape)}; expected images {(count, 3, *size)} of uint8'
            )
        infer = self._infer if self.backend == 'torch' else self._infer_by_pydensecrf
        images = images.to(logits.device)
        with torch.autocast(logits.device.type, enabled=False):
            return torch.stack([infer(*pair) for pair in zip(logits.float(), images, strict=True)])

    def _infer(self, logits: Tensor, image: Tensor) -> Tensor:
        classes, height, width = logits.shape
        unary = logits.flatten(1).T.contiguous()  # (pixels, classes), in which all sums go along memory
        kernels = []
        if weight := self.spatial_weight:
            sigma = self.spatial_sigma
            kernels.append((weight, _SpatialGaussian(height, width, sigma, logits.device)))
        if weight := self.bilateral_weight:
            kernels.append((weight, self._bilateral(image)))
        marginals = unary.softmax(dim=1)
        for _ in range(self.iterations):
            energy = unary.clone()
            for weight, kernel in kernels:
                energy.add_(kernel.filter(marginals), alpha=weight)
            marginals = energy.softmax(dim=1)
        return marginals.T.reshape(classes, height, width)

    def _bilateral(self, image: Tensor) -> PermutohedralLattice:
        height, width = image.shape[1:]
        axes = [torch.arange(size, device=image.device).float() for size in (height, width)]
        places = torch.stack(torch.meshgrid(*axes, indexing='ij')) / self.bilateral_sigma_xy
        colours = image / self.bilateral_sigma_rgb
        try:
            lattice = PermutohedralLattice(torch.cat([places, colours]).flatten(1).T)
        except ValueError as error:
            raise ValueError(
                f'dense CRF: bilateral_sigma_xy={self.bilateral_sigma_xy} and '
                f'bilateral_sigma_rgb={self.bilateral_sigma_rgb} are too small for an image of '
                f'{height}x{width}'
            ) from error
        ones = torch.ones(height * width, 1, device=image.device)
        lattice.scale(lattice.filter(ones).squeeze(1).clamp_(min=1e-20).rsqrt_())
        return lattice

    def _infer_by_pydensecrf(self, logits: Tensor, image: Tensor) -> Tensor:
        from pydensecrf.densecrf import DenseCRF2D

        classes, height, width = logits.shape
        field = DenseCRF2D(width, height, classes)
        field.setUnaryEnergy(-logits.log_softmax(dim=0).flatten(1).cpu().contiguous().numpy())
        field.addPairwiseGaussian(sxy=self.spatial_sigma, compat=self.spatial_weight)
        field.addPairwiseBilateral(
            sxy=self.bilateral_sigma_xy,
            srgb=self.bilateral_sigma_rgb,
            rgbim=image.permute(1, 2, 0).cpu().contiguous().numpy(),
            compat=self.bilateral_weight,
        )
        marginals = torch.tensor(np.array(field.inference(self.iterations)))
        return marginals.reshape(logits.shape).to(logits.device)


# Released with DeepLabV2's ResNet-101 for PASCAL VOC (Chen et al. 2017); none are published for Cityscapes.
DEEPLABV2_RESNET101 = {field.name: field.default for field in fields(DenseCRF) if field.name != 'backend'}


def build_dense_crf(config: Mapping[str, Any]) -> DenseCRF:
    """Build a ``DenseCRF`` from a config, that of ``model.test_cfg.crf``.

    Raises:
        ValueError, ImportError: an unknown key, or as ``DenseCRF``.
    """
    if not isinstance(config, Mapping):
        raise ValueError(
            f'model.test_cfg.crf must be a dict, empty for the default values, but got {config!r}; on a '
            f'command line --cfg-options model.test_cfg.crf.iterations={DEEPLABV2_RESNET101["iterations"]}'
        )
    known = (*DEEPLABV2_RESNET101, 'backend')
    if unknown := sorted(set(config) - set(known)):
        raise ValueError(f'model.test_cfg.crf has no {unknown[0]!r}; it has {", ".join(known)}')
    return DenseCRF(**config)


class _SpatialGaussian:
    """Filter an image's pixels, row by row, with the normalised Gaussian of positions."""

    def __init__(self, height: int, width: int, sigma: float, device: torch.device) -> None:
        self.size = height, width
        reaches = [min(math.ceil(_REACH * sigma), size - 1) for size in self.size]
        steps = [torch.arange(-reach, reach + 1, device=device) for reach in reaches]
        self.kernels = [(-0.5 * (step / sigma) ** 2).exp() for step in steps]
        sums = [
            F.conv1d(torch.ones(1, 1, size, device=device), kernel[None, None], padding=len(kernel) // 2)
            for size, kernel in zip(self.size, self.kernels, strict=True)
        ]
        self.factors = (sums[0].reshape(-1, 1) * sums[1].reshape(1, -1)).rsqrt().reshape(-1, 1)

    def filter(self, values: Tensor) -> Tensor:
        """Filter ``values (H W, C)``."""
        height, width = self.size
        classes = values.shape[1]
        # (1, C, H, W) in channels-last, without a copy.
        planes = (values * self.factors).view(1, height, width, classes).permute(0, 3, 1, 2)
        for dim, kernel in zip((2, 3), self.kernels, strict=True):
            shape, padding = [classes, 1, 1, 1], [0, 0]
            shape[dim], padding[dim - 2] = len(kernel), len(kernel) // 2
            weight = kernel.repeat(classes).reshape(shape)
            planes = F.conv2d(planes, weight, padding=padding, groups=classes)
        return planes.permute(0, 2, 3, 1).reshape(-1, classes) * self.factors
