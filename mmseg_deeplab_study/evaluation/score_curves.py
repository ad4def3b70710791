"""The curve of a score over validations, in figures.

Beware of iteration 0. The head transfer makes the rows of unmatched classes from the source's background row,
and the class that wins those pixels (road, on Cityscapes) has an IoU that it has not learnt. Its iterations
to an IoU or to a share of its best may then be 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

CLASS_PREFIX = 'IoU.'
BOUNDARY_CLASS_PREFIX = 'BIoU.'
TRIMAP_PREFIX = 'trimap.'
# An ascending curve: (iteration, score in percent).
Curve = Sequence[tuple[int, float]]
# The lowest best score, in percent, whose share is an event: a few pixels reach a share of less.
MIN_BEST = 10
_PARTS = {CLASS_PREFIX: 'class_iou', BOUNDARY_CLASS_PREFIX: 'class_biou', TRIMAP_PREFIX: 'trimap'}


class Adaptation(NamedTuple):
    """An adaptation in figures: scores in percent, iterations in updates done.

    ``start`` is None where iteration 0 does not have the score; ``dip`` (``start - lowest``) and
    ``recovery_iter`` are None then, the latter also for a curve that never fell, and for one that has not
    come back; ``last`` is None where the last validation does not have the score.
    """

    start: float | None
    lowest: float
    lowest_iter: int
    recovery_iter: int | None
    last: float | None
    last_iter: int
    best: float
    best_iter: int
    dip: float | None
    area: float


def find_score(row: Mapping[str, Any], score: str) -> float | None:
    """A row's score in percent; None if null or missing.

    A class's names are ``'IoU.<class>'`` and ``'BIoU.<class>'``, a trimap's mIoU is ``'trimap.<width>'``.
    """
    for prefix, part in _PARTS.items():
        if score.startswith(prefix):
            value = (row.get(part) or {}).get(score.removeprefix(prefix))
            return value.get('mIoU') if isinstance(value, Mapping) else value
    return row.get(score)


def boundary_score_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the boundary scores that rows have: BIoU and trimaps, narrowest first."""
    widths = sorted({int(width) for row in rows for width in row.get('trimap') or {}})
    return ['BIoU', *(f'{TRIMAP_PREFIX}{width}' for width in widths)] if rows_with(rows, 'BIoU') else []


def rows_with(rows: Sequence[Mapping[str, Any]], score: str) -> list[Mapping[str, Any]]:
    """The rows that have a score."""
    return [row for row in rows if find_score(row, score) is not None]


def score_curve(rows: Sequence[Mapping[str, Any]], score: str) -> list[tuple[int, float]]:
    """The points (iteration, score in percent) of the rows that have a score."""
    return [(row['iter'], find_score(row, score)) for row in rows_with(rows, score)]


def summarise_adaptation(validations: Sequence[Mapping[str, Any]], score: str = 'mIoU') -> Adaptation:
    """Compute the figures of a curve of scores ``s_i`` at ascending iterations ``i``.

    With ``s_0`` the score before the first update::

        lowest        = min s_i              at the first i that has it
        recovery_iter = min {i > lowest_iter : s_i >= s_0}   if lowest < s_0
        best          = max s_i              at the first i that has it
        last          = s_i                  at the last validation, None if it is null there
        dip           = s_0 - lowest
        area          = area_under_curve

    Raises:
        ValueError: no validation has the score, or the iterations do not ascend.
    """
    curve = score_curve(validations, score)
    iterations = [i for i, _ in curve]
    if not curve:
        raise ValueError(
            f'{score}: expected a validation with this score, but none of {len(validations)} has it'
        )
    if any(later <= earlier for earlier, later in zip(iterations, iterations[1:], strict=False)):
        raise ValueError(f'{score}: iterations must ascend, but got {iterations}')
    start = curve[0][1] if iterations[0] == 0 else None
    lowest_iter, lowest = min(curve, key=lambda point: point[1])
    best_iter, best = max(curve, key=lambda point: point[1])
    fell = start is not None and lowest < start
    recovered = [i for i, value in curve if fell and i > lowest_iter and value >= start]
    return Adaptation(
        start=start,
        lowest=lowest,
        lowest_iter=lowest_iter,
        recovery_iter=recovered[0] if recovered else None,
        last=find_score(validations[-1], score),
        last_iter=validations[-1]['iter'],
        best=best,
        best_iter=best_iter,
        dip=None if start is None else start - lowest,
        area=area_under_curve(curve),
    )


def area_under_curve(curve: Curve) -> float:
    """The mean height of a curve in percent, by the trapezoid rule::

        sum_k (i_{k+1} - i_k) (s_k + s_{k+1}) / 2  /  (i_last - i_first)

    Of a single point it is the score.
    """
    if len(curve) == 1:
        return curve[0][1]
    steps = zip(curve, curve[1:], strict=False)
    return sum((j - i) * (s + t) / 2 for (i, s), (j, t) in steps) / (curve[-1][0] - curve[0][0])


def iterations_to(curve: Curve, iou: float) -> int | None:
    """The first iteration at or above an IoU in percent, ``min {i : s_i >= iou}``.

    None if there is none.

    Raises:
        ValueError: ``iou`` is outside (0, 100].
    """
    if not 0 < iou <= 100:
        raise ValueError(f'iou must be in (0, 100] percent, but got {iou}')
    return next((i for i, value in curve if value >= iou), None)


def iterations_to_share(curve: Curve, share: float = 0.5) -> int | None:
    """The first iteration at a share of the best, ``min {i : s_i >= share max s_k}``.

    None for a curve without a point, or with a best below ``MIN_BEST``.

    Raises:
        ValueError: ``share`` is outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f'share must be in (0, 1], but got {share}')
    best = max((value for _, value in curve), default=0)
    return next((i for i, value in curve if value >= share * best), None) if best >= MIN_BEST else None


def half_iteration(validations: Sequence[Mapping[str, Any]], score: str) -> int | None:
    """``iterations_to_share`` of a half, for a score that validations may lack."""
    return iterations_to_share(score_curve(validations, score))


def over_labelled(rows: Sequence[Mapping[str, Any]], score: str) -> str:
    """The name of a mean IoU over labelled classes; ``score`` itself if no row has it."""
    labelled = f'{score}.labelled'
    return labelled if score_curve(rows, labelled) else score
