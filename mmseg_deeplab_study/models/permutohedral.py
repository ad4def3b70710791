"""Gaussian filters on the permutohedral lattice (Adams, Baek and Davis 2010)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 1 << 18  # points whose corners are found at once, which takes ten times their memory


class PermutohedralLattice:
    """Filter values at N points with a Gaussian of variance 1 in d dimensions.

    ``points`` are (N, d) floats, in units of the standard deviation. A point gives its value to the d + 1
    corners of the simplex it lies in, corners that points lie at are blurred along d + 1 directions, and
    points read from their corners. Time and memory grow linearly with N (d + 1) and with the number of
    corners. The result has an unknown constant factor.

    Raises:
        ValueError: the points span so much that corners cannot be numbered in 63 bits.
    """

    def __init__(self, points: Tensor) -> None:
        """See the class."""
        elevated = _elevate(points.float())
        place = _places(elevated)
        d, count = len(elevated) - 1, elevated.shape[1]
        keys = torch.empty(count, d + 1, dtype=torch.int64, device=points.device)
        self._weights = torch.empty(count, d + 1, device=points.device)
        for start in range(0, count, _CHUNK):
            part = slice(start, start + _CHUNK)
            keys[part], self._weights[part] = _find_corners(elevated[:, part], place)
        found, self._corners, number = _number_by_appearance(keys)
        del keys, elevated
        self.size = len(found)
        steps = [(d + 1) * int(p) - int(place.sum()) for p in place]
        self._blurs = [_neighbours(found, number, step) for step in steps]
        # The corners' side of the same: which points they take from, and how much.
        entries = torch.argsort(self._corners.flatten(), stable=True)
        self._points = (entries // (d + 1)).int()
        self._point_weights = self._weights.flatten()[entries]
        taken = torch.bincount(self._corners.flatten(), minlength=self.size)
        self._starts = F.pad(taken.cumsum(0), (1, 0))[:-1].int()

    def filter(self, values: Tensor) -> Tensor:
        """Filter ``values (N, C)``, float32."""
        blurred = F.embedding_bag(
            self._points, values, self._starts, mode='sum', per_sample_weights=self._point_weights
        )
        for neighbours, weights in self._blurs:
            blurred = F.embedding_bag(neighbours, blurred, mode='sum', per_sample_weights=weights)
        return F.embedding_bag(self._corners, blurred, mode='sum', per_sample_weights=self._weights)

    def scale(self, factors: Tensor) -> None:
        """Multiply values and results of ``filter`` by ``factors (N,)`` from now on."""
        self._weights *= factors[:, None]
        self._point_weights *= factors[self._points]


def _elevate(points: Tensor) -> Tensor:
    """Map points to the lattice's hyperplane, (d + 1, N); each column sums to 0.

    Scaled so that splatting, blurring by (1/2, 1, 1/2) and slicing have a variance of 1 together.
    """
    d = points.shape[1]
    scales = [math.sqrt(2 / 3) * (d + 1) / math.sqrt((i + 1) * (i + 2)) for i in range(d)]
    scaled = points.T * torch.tensor(scales, device=points.device)[:, None]
    elevated = torch.zeros(d + 1, len(points), device=points.device)
    for i, coordinate in enumerate(scaled, 1):
        elevated[:i] += coordinate
        elevated[i] -= i * coordinate
    return elevated


def _places(elevated: Tensor) -> Tensor:
    """Return what 1 along each of d + 1 coordinates adds to a corner's number.

    A corner's last coordinate follows from the others and adds nothing.
    """
    d = len(elevated) - 1
    # Rounding moves a coordinate by at most 1.5 (d + 1), other corners and neighbours by d each.
    margin = 8 * (d + 1)
    lowest, highest = elevated[:-1].amin(dim=1).tolist(), elevated[:-1].amax(dim=1).tolist()
    place = [1]
    for low, high in zip(lowest, highest, strict=True):
        place.append(place[-1] * (math.ceil(high) - math.floor(low) + margin))
    if place[-1] >= 2**62:
        raise ValueError(
            f'points of {d} dimensions span too many standard deviations to be filtered: take larger ones'
        )
    return torch.tensor([*place[:-1], 0], device=elevated.device)


def _find_corners(elevated: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Number each point's d + 1 corners, with barycentric weights: both (N, d + 1)."""
    d, count = len(elevated) - 1, elevated.shape[1]
    # The corner of remainder 0 near the point: each coordinate rounded to a multiple of d + 1, and those that
    # rounding moved most moved back until they sum to 0.
    multiple = (elevated / (d + 1)).round()
    rest = elevated - multiple * (d + 1)
    excess = multiple.sum(dim=0).int()
    rank = _descending_ranks(rest) + excess
    shift = (rank < 0).int() - (rank > d).int()
    rank += shift * (d + 1)
    multiple += shift
    rest = elevated / (d + 1) - multiple
    # By descending rank, from d to 0.
    order = (d - rank).long()
    sorted_rest = torch.zeros_like(rest).scatter_(0, order, rest)
    sorted_place = torch.zeros(d + 1, count, dtype=torch.int64, device=elevated.device)
    sorted_place.scatter_(0, order, place[:, None].expand(-1, count))
    weights = sorted_rest - sorted_rest.roll(1, dims=0)
    weights[0] += 1
    # From a corner to the next, all coordinates grow by 1, and that of the highest rank left falls by d + 1.
    steps = place.sum() - (d + 1) * sorted_place[:-1]
    first = (multiple.long() * (d + 1) * place[:, None]).sum(dim=0, keepdim=True)
    return torch.cat([first, steps]).cumsum(0).T, weights.T


def _descending_ranks(values: Tensor) -> Tensor:
    """Rank each value in its column (d + 1, N), from 0 for the largest; ties in order."""
    ranks = torch.zeros(values.shape, dtype=torch.int32, device=values.device)
    for i in range(len(values)):
        for j in range(i + 1, len(values)):
            later = values[i] < values[j]
            ranks[i] += later
            ranks[j] += ~later
    return ranks


def _number_by_appearance(keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number distinct keys (N, k) by first appearance, to keep neighbours near.

    Returns the distinct keys (M,) in ascending order, the number of each key (N, k) as int32, and that of
    each distinct key (M,).
    """
    found, place = torch.unique(keys, return_inverse=True)
    place = place.flatten()
    first = torch.full_like(found, len(place))
    first.scatter_reduce_(0, place, torch.arange(len(place), device=keys.device), 'amin')
    number = torch.empty(len(found), dtype=torch.int32, device=keys.device)
    number[first.argsort()] = torch.arange(len(found), dtype=torch.int32, device=keys.device)
    return found, number[place].reshape(keys.shape), number


def _neighbours(found: Tensor, number: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Return each corner, the next and the previous, and their weights: both (M, 3).

    A corner that no point lies at counts as 0.
    """
    wanted = found + step
    place = torch.searchsorted(found, wanted).clamp_(max=len(found) - 1)
    there = found[place] == wanted
    after, before = number[place[there]], number[there]
    corners = torch.arange(len(found), dtype=torch.int32, device=found.device)[:, None].repeat(1, 3)
    weights = torch.zeros(len(found), 3, device=found.device)
    weights[:, 0] = 1
    corners[before.long(), 1], weights[before.long(), 1] = after, 0.5
    corners[after.long(), 2], weights[after.long(), 2] = before, 0.5
    return corners, weights
