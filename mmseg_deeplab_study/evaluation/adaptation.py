"""What a record says about an adaptation: classes, the source's view, losses."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..runs.history import History, Kind
from .score_curves import (
    CLASS_PREFIX,
    find_score,
    half_iteration,
    over_labelled,
    rows_with,
    score_curve,
    summarise_adaptation,
)


class Forgetting(NamedTuple):
    """mIoU (%) on the source's data at iteration 0 and last; ``drop = start - last``.

    ``start`` and ``last`` are None where they are not known, and then ``drop`` is too.
    """

    start: float | None
    last: float | None
    last_iter: int
    drop: float | None


class ProbeAgreement(NamedTuple):
    """How near the probe's mIoU is to the whole validation set's.

    Differences in percentage points over the ``points`` iterations that have both. At ``intervals`` of these
    the probe has an interval, and at ``inside`` it contains the whole set's mIoU.
    """

    points: int
    largest: float
    mean: float
    intervals: int
    inside: int


class SeenLead(NamedTuple):
    """Iterations by which the seen classes are earlier, negative if they are later::

        iterations = unseen_iter - seen_iter,  each min {i : s_i >= max_k s_k / 2} of its mean

    None for a mean that is not known, or whose best is below ``MIN_BEST``. Means are ``over_labelled``.
    """

    iterations: int | None
    seen_iter: int | None
    unseen_iter: int | None


class FromSource(NamedTuple):
    """A score against the source model's own, in percentage points; None where either is not known.

    ``source`` is that score in percent, ``gap`` is it less iteration 0's: what the head transfer took away.
    ``source_drop`` is it less ``min s_i``, negative for a curve that never fell below it. ``Adaptation.dip``
    is the fall from iteration 0, which the head transfer may have brought down already.
    """

    source: float | None
    gap: float | None
    source_drop: float | None


class ClassTiming(NamedTuple):
    """When a class reached half its best IoU; ``seen`` is None where not known."""

    name: str
    seen: bool | None
    half_iter: int | None


def unlabelled_classes(history: History) -> list[str]:
    """Classes that a model predicted and no validation image has a label of.

    They move the means. Empty where the record has no confusion matrices.
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


def absent_classes(history: History) -> list[str]:
    """Classes that no validation image has a label of and no validation a prediction, nor the source's view.

    Their IoU is null throughout. Empty where the record has no IoU of classes.
    """
    rows = [
        row['class_iou'] for row in [*history.validations, source_row(history) or {}] if row.get('class_iou')
    ]
    return [name for name in class_names(history) if rows and all(row.get(name) is None for row in rows)]


def seen_lead(validations: Sequence[Mapping[str, Any]]) -> SeenLead:
    """When the means over the seen and the unseen classes are at half their best."""
    seen, unseen = (
        half_iteration(validations, over_labelled(validations, f'mIoU.{part}')) for part in ('seen', 'unseen')
    )
    return SeenLead(None if seen is None or unseen is None else unseen - seen, seen, unseen)


def has_no_source(history: History) -> bool:
    """Whether a record says that there was no source model, by a null checkpoint.

    An older or imported header has no such key, and may be of a run with one.
    """
    return history.header.get('source_checkpoint', '') is None and source_row(history) is None


def seen_classes(history: History) -> list[str] | None:
    """The classes that the source model has seen; None without one or if not known."""
    return None if has_no_source(history) else history.header.get('seen_classes')


def class_names(history: History) -> list[str]:
    """The target's classes in their order, then any others that the rows have."""
    rows = [*history.validations, *history.select(Kind.SOURCE)]
    in_rows = [name for row in rows for name in row.get('class_iou') or ()]
    return list(dict.fromkeys([*(history.header.get('target_classes') or ()), *in_rows]))


def classes_early_to_late(history: History) -> list[ClassTiming]:
    """Classes by ``min {i : IoU_i >= max_k IoU_k / 2}``, those without one last."""
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
    """The row of the untouched source model's scores; None without one."""
    rows = history.select(Kind.SOURCE)
    return rows[0] if rows else None


def compare_source(history: History, score: str = 'mIoU') -> FromSource:
    """A score of the untouched source model, and how the curve begins and falls against it."""
    source = find_score(source_row(history) or {}, score)
    curve = dict(score_curve(history.validations, score))
    if source is None or not curve:
        return FromSource(source, None, None)
    return FromSource(source, source - curve[0] if 0 in curve else None, source - min(curve.values()))


def summarise_forgetting(history: History) -> Forgetting | None:
    """What the model has forgotten of the source's data, on the shared classes.

    Over those with labels there, where these are known. None if the history has no such mIoU.
    """
    rows = history.select(Kind.FORGETTING)
    if not rows_with(rows, 'mIoU'):
        return None
    found = summarise_adaptation(rows, over_labelled(rows, 'mIoU'))
    drop = None if None in (found.start, found.last) else found.start - found.last
    return Forgetting(found.start, found.last, found.last_iter, drop)


def compare_probe(history: History) -> ProbeAgreement | None:
    """The probe's mIoU ``p_i`` against the whole set's ``s_i``, where both are there::

        largest = max |p_i - s_i|      mean = mean |p_i - s_i|      inside = #{i : low_i <= s_i <= high_i}

    None if there is no such iteration.
    """
    full = dict(score_curve(history.validations, 'mIoU'))
    differences, inside = [], []
    for row in rows_with(history.probed, 'mIoU'):
        if (score := full.get(row['iter'])) is not None:
            differences.append(abs(row['mIoU'] - score))
            low, high = (row.get('interval') or {}).get('mIoU') or (None, None)
            if None not in (low, high):
                inside.append(low <= score <= high)
    if not differences:
        return None
    mean = sum(differences) / len(differences)
    return ProbeAgreement(len(differences), max(differences), mean, len(inside), sum(inside))
