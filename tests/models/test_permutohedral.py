"""The lattice against one that goes point by point with a dictionary, and against Gaussians."""

import numpy as np
import pytest
import torch

from mmseg_deeplab_study.models import permutohedral
from mmseg_deeplab_study.models.permutohedral import PermutohedralLattice


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class SlowLattice:
    """Adams, Baek and Davis 2010, sections 3.1 to 3.4, in float64: corners are tuples, values in a dict."""

    def __init__(self, points: np.ndarray) -> None:
        self.d = points.shape[1]
        self.places = [self.enclose(point) for point in points]

    def enclose(self, point: np.ndarray) -> list[tuple[tuple[int, ...], float]]:
        """Corners of a point's simplex, and barycentric weights."""
        d = self.d
        # The columns of the basis of the hyperplane, each of unit length, times the lattice's own size.
        basis = np.zeros((d + 1, d))
        for i in range(1, d + 1):
            basis[:i, i - 1], basis[i, i - 1] = 1, -i
        basis /= np.sqrt((basis**2).sum(axis=0))
        x = basis @ point * (d + 1) * np.sqrt(2 / 3)
        nearest = (d + 1) * np.rint(x / (d + 1))
        order = np.argsort(-(x - nearest), kind='stable')
        # Off the hyperplane by a multiple of d + 1: move those that were rounded furthest.
        off = int(nearest.sum()) // (d + 1)
        moved = order[len(order) - off :] if off > 0 else order[:-off] if off < 0 else order[:0]
        nearest[moved] -= np.sign(off) * (d + 1)
        rest = x - nearest
        order = np.argsort(-rest, kind='stable')
        rest = rest[order]
        corners, weights = [], []
        for k in range(d + 1):
            corner = nearest.copy()
            corner += k
            corner[order[d + 1 - k :]] -= d + 1
            corners.append(tuple(int(value) for value in corner))
            weights.append(
                (rest[d - k] - rest[d + 1 - k]) / (d + 1) if k else 1 - (rest[0] - rest[d]) / (d + 1)
            )
        return list(zip(corners, weights, strict=True))

    def filter(self, values: np.ndarray) -> np.ndarray:
        table = {}
        for place, value in zip(self.places, values, strict=True):
            for corner, weight in place:
                table[corner] = table.get(corner, 0) + weight * value
        for direction in range(self.d + 1):
            step = np.full(self.d + 1, -1)
            step[direction] = self.d
            before, table = table, {}
            for corner, value in before.items():
                sides = (tuple(int(v) for v in np.add(corner, sign * step)) for sign in (-1, 1))
                table[corner] = value + 0.5 * sum(before.get(side, 0) for side in sides)
        return np.stack([sum(weight * table[corner] for corner, weight in place) for place in self.places])


@pytest.mark.parametrize('d', [1, 2, 3, 5])
@pytest.mark.parametrize('spread', [0.3, 3])
def test_is_what_a_dictionary_gives(d, spread):
    points, values = spread * draw(60, d), draw(60, 4, seed=1)
    slow = SlowLattice(points.double().numpy())
    lattice = PermutohedralLattice(points)
    assert lattice.size == len({corner for place in slow.places for corner, _ in place})
    np.testing.assert_allclose(lattice.filter(values), slow.filter(values.numpy()), rtol=1e-4, atol=1e-4)


def test_points_in_several_parts_are_the_same(monkeypatch):
    points, values = draw(50, 5), draw(50, 3, seed=1)
    whole = PermutohedralLattice(points).filter(values)
    monkeypatch.setattr(permutohedral, '_CHUNK', 7)
    assert torch.equal(PermutohedralLattice(points).filter(values), whole)


def test_is_a_gaussian_of_variance_one():
    # What single points of a line come back as, in the mean over where they lie between two corners.
    points = torch.linspace(-6, 6, 1201)
    sources = torch.arange(400, 800)
    values = torch.zeros(1201, len(sources))
    values[sources, torch.arange(len(sources))] = 1
    found = PermutohedralLattice(points[:, None]).filter(values)
    apart = (points[:, None] - points[sources]) ** 2
    variances = (found * apart).sum(dim=0) / found.sum(dim=0)
    assert variances.mean() == pytest.approx(1, abs=0.02)
    assert variances.min() > 0.8 and variances.max() < 1.2


def test_scale_is_that_of_values_and_of_results():
    points, values, factors = draw(40, 3), draw(40, 2, seed=1), draw(40, seed=2).abs()
    lattice = PermutohedralLattice(points)
    expected = lattice.filter(values * factors[:, None]) * factors[:, None]
    lattice.scale(factors)
    torch.testing.assert_close(lattice.filter(values), expected)


def test_refuses_points_that_cannot_be_numbered():
    with pytest.raises(ValueError, match='points of 5 dimensions span too many standard deviations'):
        PermutohedralLattice(1e5 * draw(10, 5))
