"""What a record says about an adaptation: how far it fell, when it was back, which classes came early.

Beware what iteration 0 means. The head transfer makes the rows of unmatched classes from the source's
background row, and the class that wins those pixels (road, on Cityscapes) has an IoU there that it has not
learnt: it has inherited the background. Its iterations to an IoU or to a share of its best may then be 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..runs.history import History, Kind

CLASS_PREFIX = 'IoU.'
BOUNDARY_CLASS_PREFIX = 'BIoU.'
TRIMAP_PREFIX = 'trimap.'
# An ascending curve: (iteration, score in percent).
Curve = Sequence[tuple[int, float]]
# The least best score, in percent, whose share is an event: a share of less is reached by a few pixels more.
MIN_BEST = 10


class Adaptation(NamedTuple):
    """An adaptation in figures: scores in percent, iterations in updates done.

    ``start`` is None where the score is not known at iteration 0. ``recovery_iter`` is None then, for a curve
    that never fell and for one that has not come back. ``last`` is None where the last validation does not
    know the score.
    """

    start: float | None
    lowest: float
    lowest_iter: int
    recovery_iter: int | None
    last: float | None
    last_iter: int
    best: float
    best_iter: int

    @property
    def dip(self) -> float | None:
        """How far the score fell below its start, in percentage points: ``start - lowest``."""
        return None if self.start is None else self.start - self.lowest


class Forgetting(NamedTuple):
    """mIoU (%) on the source's validation set; ``drop = start - last`` in percentage points.

    ``start`` is that at iteration 0; None where it is not known, as ``last``, and then ``drop`` too.
    """

    start: float | None
    last: float | None
    last_iter: int
    drop: float | None


class ProbeAgreement(NamedTuple):
    """How near the mIoU of the probe is to that of the whole validation set.

    Differences in percentage points over the ``points`` iterations that have both; at ``intervals`` of these
    the probe has an interval, and at ``inside`` the whole set's mIoU lies in it, ends included.
    """

    points: int
    largest: float
    mean: float
    intervals: int
    inside: int


class ClassTiming(NamedTuple):
    """When a class came: the iteration of half its best IoU; ``seen`` as ``seen_classes`` says, or None."""

    name: str
    seen: bool | None
    half_iter: int | None


def find_score(row: Mapping[str, Any], score: str) -> float | None:
    """A row's score in percent; None if null or missing.

    A class's is called ``'IoU.<class>'`` and ``'BIoU.<class>'``, a trimap's mIoU ``'trimap.<width>'``.
    """
    if score.startswith(CLASS_PREFIX):
        return (row.get('class_iou') or {}).get(score.removeprefix(CLASS_PREFIX))
    if score.startswith(BOUNDARY_CLASS_PREFIX):
        return (row.get('class_biou') or {}).get(score.removeprefix(BOUNDARY_CLASS_PREFIX))
    if score.startswith(TRIMAP_PREFIX):
        return ((row.get('trimap') or {}).get(score.removeprefix(TRIMAP_PREFIX)) or {}).get('mIoU')
    return row.get(score)


def _score_names(row: Mapping[str, Any]) -> set[str]:
    parts = (('class_iou', CLASS_PREFIX), ('class_biou', BOUNDARY_CLASS_PREFIX), ('trimap', TRIMAP_PREFIX))
    return {*row, *(prefix + name for key, prefix in parts for name in row.get(key) or ())}


def boundary_scores(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the boundary scores that rows have: ``'BIoU'`` and the trimaps, from the narrowest."""
    widths = sorted({int(width) for row in rows for width in row.get('trimap') or {}})
    return ['BIoU', *(f'{TRIMAP_PREFIX}{width}' for width in widths)] if rows_with(rows, 'BIoU') else []


def rows_with(rows: Sequence[Mapping[str, Any]], score: str) -> list[Mapping[str, Any]]:
    """The rows where a score is known."""
    return [row for row in rows if find_score(row, score) is not None]


def score_curve(validations: Sequence[Mapping[str, Any]], score: str = 'mIoU') -> list[tuple[int, float]]:
    """The points (iteration, score in percent) of a history's validations.

    ``score`` is one of their keys or ``'IoU.<class>'``. A validation where it is null, for want of the class
    or as a mean over no class, or missing has no point.

    Raises:
        KeyError: there are validations, and none has such a score.
    """
    if validations and not any(score in _score_names(row) for row in validations):
        first = validations[0]
        raise KeyError(f'iteration {first["iter"]} has no score {score!r}; it has {sorted(first)}')
    return [(row['iter'], find_score(row, score)) for row in rows_with(validations, score)]


def summarise_adaptation(validations: Sequence[Mapping[str, Any]], score: str = 'mIoU') -> Adaptation:
    """Compute what a curve of scores ``s_i`` at iterations ``i``, in ascending order, comes to.

    With ``s_0`` the score before the first update, if it is known::

        lowest        = min s_i              at the first i that has it
        recovery_iter = min {i > lowest_iter : s_i >= s_0}   if lowest < s_0
        best          = max s_i              at the first i that has it
        last          = s_i                  at the last validation, None if it is null there

    ``validations`` are those of a ``History``, ``score`` as for ``score_curve``.

    Raises:
        KeyError: there are validations, and none has such a score.
        ValueError: no validation knows the score, or the iterations do not ascend.
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
    )


def area_under_curve(curve: Curve) -> float:
    """The mean height of a curve in percent, by the trapezoid rule over the iterations it spans::

        sum_k (i_{k+1} - i_k) (s_k + s_{k+1}) / 2  /  (i_last - i_first)

    That of a single point is its score.

    Raises:
        ValueError: the curve has no point.
    """
    if not curve:
        raise ValueError('the area under a curve needs at least one point, but got none')
    if len(curve) == 1:
        return curve[0][1]
    steps = zip(curve, curve[1:], strict=False)
    return sum((j - i) * (s + t) / 2 for (i, s), (j, t) in steps) / (curve[-1][0] - curve[0][0])


def iterations_to(curve: Curve, iou: float) -> int | None:
    """The first iteration at or above an IoU in percent, ``min {i : s_i >= iou}``; None if there is none.

    Raises:
        ValueError: ``iou`` is outside (0, 100].
    """
    if not 0 < iou <= 100:
        raise ValueError(f'iou must be in (0, 100] percent, but got {iou}')
    return next((i for i, value in curve if value >= iou), None)


def iterations_to_share(curve: Curve, share: float = 0.5) -> int | None:
    """The first iteration at or above a share of the curve's best, ``min {i : s_i >= share max_k s_k}``.

    None for a curve without a point or whose best is below ``MIN_BEST``.

    Raises:
        ValueError: ``share`` is outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f'share must be in (0, 1], but got {share}')
    best = max((value for _, value in curve), default=0)
    return next((i for i, value in curve if value >= share * best), None) if best >= MIN_BEST else None


def half_iteration(validations: Sequence[Mapping[str, Any]], score: str) -> int | None:
    """``iterations_to_share`` of one half, for a score that validations may lack."""
    return iterations_to_share(score_curve(rows_with(validations, score), score))


def over_labelled(rows: Sequence[Mapping[str, Any]], score: str) -> str:
    """The name of a mean of IoU over the classes that have labels, ``score`` itself if no row knows it."""
    labelled = f'{score}.labelled'
    return labelled if rows_with(rows, labelled) else score


def unlabelled_classes(history: History) -> list[str]:
    """Classes that were predicted, but that no validation image has a label of: they move the means.

    Predicted by the adapting model or by the source's. None are known where the record has no confusion
    matrices.
    """
    classes = history.header.get('target_classes') or ()
    matrices = [row['confusion'] for row in history.validations if row.get('confusion')]
    square = [m for m in matrices if len(m) == len(classes) and all(len(row) == len(m) for row in m)]
    if not square:
        return []
    # In the source's view the IoU of such a class is 0, or null where it was not predicted.
    source = (source_row(history) or {}).get('class_iou') or {}
    return [
        name
        for place, name in enumerate(classes)
        if not any(square[0][place])
        and (source.get(name) == 0 or any(row[place] for matrix in square for row in matrix))
    ]


def seen_lead(validations: Sequence[Mapping[str, Any]]) -> int | None:
    """By how many iterations the seen classes are earlier than the others, negative if they are later::

        half(mIoU.unseen) - half(mIoU.seen),  half(s) = min {i : s_i >= max_k s_k / 2}

    None if a mean is not known or its best is below ``MIN_BEST``. Means are ``over_labelled``.
    """
    seen, unseen = (half_of_mean(validations, part) for part in ('seen', 'unseen'))
    return None if seen is None or unseen is None else unseen - seen


def half_of_mean(validations: Sequence[Mapping[str, Any]], part: str) -> int | None:
    """``half_iteration`` of the mean of the ``'seen'`` or ``'unseen'`` classes, ``over_labelled``."""
    return half_iteration(validations, over_labelled(validations, f'mIoU.{part}'))


def has_no_source(history: History) -> bool:
    """Whether a record says that there was no source model: a header with null for its checkpoint.

    An older or imported header, which does not say it, may be of a run with one.
    """
    return history.header.get('source_checkpoint', '') is None and source_row(history) is None


def seen_classes(history: History) -> list[str] | None:
    """The classes that the source model has seen; None where there was none or the record does not say."""
    return None if has_no_source(history) else history.header.get('seen_classes')


def class_names(history: History) -> list[str]:
    """The target's classes in their order, then any others that the rows have."""
    rows = [*history.validations, *history.select(Kind.SOURCE)]
    in_rows = [name for row in rows for name in row.get('class_iou') or ()]
    return list(dict.fromkeys([*(history.header.get('target_classes') or ()), *in_rows]))


def classes_early_to_late(history: History) -> list[ClassTiming]:
    """Classes by ``min {i : IoU_i >= max_k IoU_k / 2}``, those without last, equal ones as in the record."""
    seen = seen_classes(history)
    timings = [
        ClassTiming(
            name,
            None if seen is None else name in seen,
            half_iteration(history.validations, CLASS_PREFIX + name),
        )
        for name in class_names(history)
    ]
    return sorted(timings, key=lambda timing: (timing.half_iter is None, timing.half_iter or 0))


def source_row(history: History) -> dict[str, Any] | None:
    """The source's own view: scores of the untouched source model, read in the target's label space."""
    rows = history.select(Kind.SOURCE)
    return rows[0] if rows else None


def source_gap(history: History, score: str = 'mIoU') -> float | None:
    """What the head transfer took away, in percentage points: the source's own score less ``s_0``.

    None if either is not known.
    """
    source = find_score(source_row(history) or {}, score)
    starts = [find_score(row, score) for row in history.validations if row['iter'] == 0]
    return None if source is None or not starts or starts[0] is None else source - starts[0]


def source_drop(history: History, score: str = 'mIoU') -> float | None:
    """How far the score fell below the source's own, in percentage points: that less ``min s_i``.

    Negative where it never did. ``Adaptation.dip`` is how far it fell below iteration 0's, which the head
    transfer may have brought down already. None if either end is not known.
    """
    source = find_score(source_row(history) or {}, score)
    curve = score_curve(rows_with(history.validations, score), score)
    return None if source is None or not curve else source - min(value for _, value in curve)


def summarise_forgetting(history: History) -> Forgetting | None:
    """What the model has forgotten of the source's validation set, on the classes that both sets share.

    Over those that have labels there, where these are known. None if the history has no mIoU of that. Raises
    what ``summarise_adaptation`` does.
    """
    rows = history.select(Kind.FORGETTING)
    if not rows_with(rows, 'mIoU'):
        return None
    found = summarise_adaptation(rows, over_labelled(rows, 'mIoU'))
    drop = None if None in (found.start, found.last) else found.start - found.last
    return Forgetting(found.start, found.last, found.last_iter, drop)


def compare_probe(history: History) -> ProbeAgreement | None:
    """The probe's mIoU ``p_i`` against the whole set's ``s_i`` at the iterations ``i`` that have both::

        largest = max |p_i - s_i|      mean = mean |p_i - s_i|      inside = #{i : low_i <= s_i <= high_i}

    None if there is no such iteration.
    """
    full = dict(score_curve(rows_with(history.validations, 'mIoU')))
    probe = [r for r in rows_with(history.probed, 'mIoU') if r['iter'] in full]
    if not probe:
        return None
    differences = [abs(row['mIoU'] - full[row['iter']]) for row in probe]
    intervals = [(full[row['iter']], (row.get('interval') or {}).get('mIoU')) for row in probe]
    known = [(score, ends) for score, ends in intervals if ends and None not in ends]
    return ProbeAgreement(
        points=len(probe),
        largest=max(differences),
        mean=sum(differences) / len(differences),
        intervals=len(known),
        inside=sum(low <= score <= high for score, (low, high) in known),
    )
