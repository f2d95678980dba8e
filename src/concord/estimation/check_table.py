"""Whether a table fits annotations, from arrays as people have them."""

from __future__ import annotations

from typing import Any

from concord.estimation.calibration import calibrated
from concord.estimation.check import RelationCheck, check_observations
from concord.estimation.observations import observed
from concord.relations import Relation
from concord.tasks import MulticlassTask, Task


def check_relation(
    relation_or_tasks: Relation | tuple[MulticlassTask, Task],
    classes: Any,
    targets: Any,
    *,
    class_proba: Any,
    target_proba: Any = None,
    weights: Any = None,
    groups: Any = None,
) -> RelationCheck:
    """Weigh a table against annotations and predictions, and say which relation to use, if any.

    The predictions come from heads that were trained without coupling, and not on the rows in question:
    coupled heads would only confirm the table that they were trained with. `CoupledClassifier.cross_fit`
    makes such predictions from features. Both heads are calibrated on their annotated rows first.

    Args:
        relation_or_tasks: The table to check, or (source, target) where there is none: then the check says
            whether the two tasks are related at all, and estimates their relation.
        classes: Shape (n,): classes of the source as names or indices, with gaps.
        targets: Shape (n, K) labels, or (n,) classes of the target, with gaps; see `encode` of the task.
        class_proba: Shape (n, C): class probabilities, out of sample. Columns of a table are taken by name.
        target_proba: Shape (n, K): probabilities of the target, likewise; None takes the base rates for them,
            by which a relation is found through rows that are annotated for both tasks alone.
        weights: Shape (n,), >= 0: how many samples a row counts for, in tables, rates and everything that is
            averaged; None counts each once. Rows of weight 0 are as good as absent. Where noise is measured a
            row is one draw whatever its weight: z does not grow with a common factor on all weights.
        groups: Shape (n,): videos, persons. Rows of one group count as one sample where noise is measured;
            None: each row stands alone.

    Returns:
        The verdict, with the relation to use, the data's own estimate, and cells that the data contradict.

    Raises:
        NoAnnotationError: A task without any annotation.
        ShapeError: Arrays of different lengths, or predictions of another width than their task.
        RangeError: Predictions outside [0, 1], class probabilities that do not sum to 1, a negative weight.
        DenseOnlyError: The table is sparse.

    Example:
        >>> from concord import MulticlassTask, MultilabelTask, Relation
        >>> pet, trait = MulticlassTask("pet", ["cat", "dog"]), MultilabelTask("trait", ["barks"])
        >>> table = Relation(pet, trait, [[0.0], [1.0]])
        >>> gap = float("nan")  # 40 rows with a class alone, 40 others with a label alone
        >>> classes = ["cat", "dog"] * 20 + [None] * 40
        >>> labels = [[gap]] * 40 + [[0.0], [1.0]] * 20
        >>> p = [[0.95, 0.05], [0.05, 0.95]] * 40  # what a class head predicts for all 80
        >>> q = [[0.1], [0.9]] * 40  # and a label head
        >>> check_relation(table, classes, labels, class_proba=p, target_proba=q).verdict
        'kept'
    """
    relation = relation_or_tasks if isinstance(relation_or_tasks, Relation) else None
    source, target = (
        (relation_or_tasks.source, relation_or_tasks.target)
        if isinstance(relation_or_tasks, Relation)
        else relation_or_tasks
    )
    rows = observed(source, target, classes, targets, class_proba, target_proba, weights, groups)
    return check_observations(calibrated(rows), relation)
