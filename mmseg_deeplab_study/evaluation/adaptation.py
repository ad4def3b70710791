"""What a curve of validations says about an adaptation: how far it fell, when it was back."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Adaptation(NamedTuple):
    """An adaptation in figures: scores in percent, iterations in updates done.

    ``recovery_iter`` is None for a curve that never fell and for one that has not come back.
    """

    start: float
    lowest: float
    lowest_iter: int
    recovery_iter: int | None
    last: float
    last_iter: int
    best: float
    best_iter: int

    @property
    def dip(self) -> float:
        """How far the score fell below its start, in percentage points: ``start - lowest``."""
        return self.start - self.lowest


def score_curve(validations: Sequence[Mapping[str, Any]], score: str = 'mIoU') -> list[tuple[int, float]]:
    """The points (iteration, score in percent) of a history's validations.

    A validation where the score is null, a mean over no class, has no point.

    Raises:
        KeyError: a validation has no such score.
    """
    for row in validations:
        if score not in row:
            raise KeyError(f'iteration {row["iter"]} has no score {score!r}; it has {sorted(row)}')
    return [(row['iter'], row[score]) for row in validations if row[score] is not None]


def summarise_adaptation(validations: Sequence[Mapping[str, Any]], score: str = 'mIoU') -> Adaptation:
    """Compute what a curve of scores ``s_i`` at iterations ``i``, in ascending order, comes to.

    With ``s_0`` the score before the first update::

        lowest        = min s_i              at the first i that has it
        recovery_iter = min {i > lowest_iter : s_i >= s_0}   if lowest < s_0
        best          = max s_i              at the first i that has it

    ``validations`` are those of a ``History``, ``score`` one of their keys such as ``'mIoU.unseen'``.

    Raises:
        KeyError: a validation has no such score.
        ValueError: the score is not known at iteration 0, or the iterations do not ascend.
    """
    curve = score_curve(validations, score)
    iterations = [i for i, _ in curve]
    if not curve or iterations[0] != 0:
        raise ValueError(
            f'{score}: an adaptation is measured against iteration 0, but the first of {len(curve)} '
            f'validations with a score is at {iterations[0] if curve else None}'
        )
    if any(later <= earlier for earlier, later in zip(iterations, iterations[1:], strict=False)):
        raise ValueError(f'{score}: iterations must ascend, but got {iterations}')
    start = curve[0][1]
    lowest_iter, lowest = min(curve, key=lambda point: point[1])
    best_iter, best = max(curve, key=lambda point: point[1])
    recovered = [i for i, value in curve if i > lowest_iter and value >= start]
    last_iter, last = curve[-1]
    return Adaptation(
        start=start,
        lowest=lowest,
        lowest_iter=lowest_iter,
        recovery_iter=recovered[0] if lowest < start and recovered else None,
        last=last,
        last_iter=last_iter,
        best=best,
        best_iter=best_iter,
    )
