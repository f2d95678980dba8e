"""A relation from annotations, whatever their overlap."""

from __future__ import annotations

from typing import Any

from concord.errors import RangeError
from concord.estimation.calibration import calibrated
from concord.estimation.em import FREE_STRENGTH, estimate_by_em
from concord.estimation.observations import observed
from concord.relations import Relation
from concord.tasks import MulticlassTask, Task


def estimate_relation(
    source: MulticlassTask,
    target: Task,
    classes: Any,
    targets: Any,
    *,
    class_proba: Any = None,
    target_proba: Any = None,
    weights: Any = None,
    groups: Any = None,
    pseudo_count: float | None = None,
    level: float = 0.95,
) -> Relation:
    """Estimate a relation from annotations that overlap fully, partly or not at all.

    Without predictions only the co-annotated samples count (`Relation.from_annotations`). With predictions of
    heads that were trained without coupling, and not on the sample in question, every sample counts: a label
    whose sample has no class counts for each class by its predicted probability, and a class whose sample has
    no label counts for as much as the label head knows beyond the base rate (EM over both). All of the latter
    count at most as much as the rows with a label, since that is what the label head was trained on. Both
    heads are calibrated on their annotated rows first (bias-corrected temperature scaling).
    `CoupledClassifier.cross_fit` makes such predictions from features.

    Args:
        source: The task of the rows.
        target: The task of the columns.
        classes: Shape (n,): classes as names or indices, with gaps.
        targets: Shape (n, K) labels, or (n,) classes of the target, with gaps; see `encode` of the task.
        class_proba: Shape (n, C): class probabilities, out of sample; None where there are none. Columns of a
            table are taken by name.
        target_proba: Shape (n, K): probabilities of the target, likewise; None takes the base rates for them.
        weights: Shape (n,), >= 0: how many samples a row counts for; None counts each once.
        groups: Shape (n,): videos, persons; the intervals count their rows as far as they differ. None: each
            row stands alone.
        pseudo_count: Weight of a label's base rate, in observations, > 0; None is 1 without
            predictions and 2 with them.
        level: Probability mass of the intervals, in (0, 1). With predictions they are conditional: they hold
            sampling noise and doubt about classes, not a bias of the heads; `audit_relation` makes others.

    Returns:
        The relation with `strength` (effective counts), `interval`, `prior` and, with predictions,
        `base_rate`.

    Raises:
        NoAnnotationError: No sample carries both annotations, and there are no predictions; or one of
            the tasks has no annotation at all.
        ShapeError: Arrays of different lengths, or predictions of another width than their task.
        RangeError: Predictions outside [0, 1], class probabilities that do not sum to 1, a negative
            weight, or target_proba without class_proba.

    Example:
        >>> from concord import MulticlassTask, MultilabelTask
        >>> pet, trait = MulticlassTask("pet", ["cat", "dog"]), MultilabelTask("trait", ["barks"])
        >>> classes, unknown = ["cat", "dog"] * 10, [[float("nan")]] * 20  # 20 rows with a class alone
        >>> labels = [[0.0], [1.0]] * 10  # 20 others with a label alone
        >>> p = [[0.99, 0.01], [0.01, 0.99]] * 20  # what a class head says of all 40
        >>> found = estimate_relation(pet, trait, classes + [None] * 20, unknown + labels, class_proba=p)
        >>> found.table.round(1).tolist()
        [[0.1], [0.9]]
    """
    if class_proba is None:
        if target_proba is not None:
            raise RangeError("target_proba is of use only together with class_proba")
        return Relation.from_annotations(
            source,
            target,
            classes,
            targets,
            weights=weights,
            groups=groups,
            pseudo_count=1.0 if pseudo_count is None else pseudo_count,
            level=level,
        )
    rows = calibrated(observed(source, target, classes, targets, class_proba, target_proba, weights, groups))
    return estimate_by_em(rows, level=level, strength=FREE_STRENGTH if pseudo_count is None else pseudo_count)
