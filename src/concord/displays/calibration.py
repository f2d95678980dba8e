"""How often a task's predictions come true, against how sure they are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from concord.arrays import as_numbers, check_probability
from concord.displays.axes import axes_of, one_named
from concord.errors import AnnotationError, ShapeError
from concord.estimator import by_task
from concord.metrics import contributions, measured
from concord.tasks import Encoded, Task
from concord.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class CalibrationDisplay:
    """A reliability diagram of one task: hits against confidence, in the bins of the calibration error.

    Of a class task the confidence is that of the most probable class, and a hit is that class; of a label
    task every annotated cell counts with the label's probability. Gaps are left out. Make one with
    `from_estimator` or `from_predictions`.

    Args:
        confidence: (b,) mean confidence in each bin that holds anything, in [0, 1].
        hits: (b,) share of hits there, in [0, 1].
        counts: (b,) number of rows or cells there, >= 1.
        error: The expected calibration error, in [0, 1] (Naeini, Cooper and Hauskrecht 2015).
        task: Name of the task.

    Attributes:
        ax_: The axes, once plotted.
        figure_: Their figure.

    Example:
        >>> import concord as cc
        >>> pet = cc.MulticlassTask("pet", ["cat", "dog"])
        >>> display = cc.CalibrationDisplay.from_predictions(
        ...     pet, ["cat", None, "dog", "cat"], [[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.4, 0.6]]
        ... )
        >>> display.counts.sum(), round(display.error, 2)
        (np.int64(3), 0.3)
    """

    def __init__(
        self,
        confidence: npt.NDArray[np.float64],
        hits: npt.NDArray[np.float64],
        counts: npt.NDArray[np.int64],
        error: float,
        *,
        task: str = "",
    ) -> None:
        self.confidence, self.hits, self.counts, self.error = confidence, hits, counts, error
        self.task = task
        self.ax_: Axes
        self.figure_: Figure

    @classmethod
    def from_predictions(
        cls, task: Task, y: Any, probabilities: Any, *, ax: Any = None
    ) -> CalibrationDisplay:
        """Plot predictions of a task.

        Args:
            task: The task.
            y: (n,) classes or (n, K) labels, with gaps.
            probabilities: (n, C) or (n, K), in [0, 1].
            ax: Axes of matplotlib; None makes a figure.

        Raises:
            ShapeError: Probabilities of another shape.
            RangeError: Probabilities outside [0, 1].
            NotFiniteError: A gap or infinity among them.
            NoAnnotationError: No row is annotated.
        """
        targets = task.encode(y)
        p = as_numbers(f"task {task.name!r}: probabilities", probabilities, None, task.outputs)
        check_probability(f"task {task.name!r}", p)
        error = measured(task, targets, p)["ece"]  # refuses another shape, gaps, and rows without annotation
        sums = contributions("ece", task, targets, p).sum(axis=0)
        confident, right, seen = sums
        held = seen > 0
        return cls(
            confident[held] / seen[held],
            right[held] / seen[held],
            seen[held].astype(np.int64),
            error,
            task=task.name,
        ).plot(ax=ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, task: str | None = None, *, ax: Any = None
    ) -> CalibrationDisplay:
        """Plot the predictions of a fitted `CoupledClassifier` for rows that it was not trained on.

        Args:
            estimator: The fitted model.
            X: (n, d) features.
            y: Targets as `fit` takes them, with gaps.
            task: Which task; None where the model has a single one.
            ax: Axes of matplotlib; None makes a figure.

        Raises:
            UnknownNameError: The model has no task of that name, or several and none is named.
            AnnotationError: A value of a one-dimensional y that the model was not fitted on.
            ShapeError: Targets of another number of rows than X, or of other tasks only.
            NoAnnotationError: No row is annotated for the task.
        """
        check_is_fitted(estimator, "tasks_")
        chosen = one_named("task", task, estimator.tasks_)
        probabilities = estimator.predict_proba(X)
        if not isinstance(probabilities, Mapping):
            indices = Encoded(_indices(y, estimator.classes_))  # classes may be called by numbers
            return cls.from_predictions(chosen, indices, probabilities, ax=ax)
        targets = by_task(y, estimator.tasks_)
        if chosen.name not in targets:
            raise ShapeError(f"y holds no targets of task {chosen.name!r}")
        return cls.from_predictions(chosen, targets[chosen.name], probabilities[chosen.name], ax=ax)

    def plot(self, ax: Any = None, *, name: str | None = None, **line: Any) -> CalibrationDisplay:
        """Draw the diagram; several may share axes.

        Args:
            ax: Axes of matplotlib; None makes a figure.
            name: In the legend; the task's name unless given.
            **line: Of `matplotlib.axes.Axes.plot`.
        """
        self.ax_ = axes = axes_of(ax)
        self.figure_ = axes.figure  # type: ignore[assignment]
        if not any(drawn.get_label() == "calibrated" for drawn in axes.lines):
            axes.plot([0, 1], [0, 1], linestyle=":", color="0.4", label="calibrated")
        label = f"{printable(self.task if name is None else name)} (error {self.error:.3f})"
        if label.startswith("_"):  # matplotlib leaves such names out of legends
            label = f" {label}"
        axes.plot(self.confidence, self.hits, **({"marker": "o", "label": label} | line))
        axes.set(xlabel="confidence", ylabel="share that is right", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        for text in axes.legend(loc="upper left").get_texts():
            text.set_parse_math(False)  # two dollar signs in a name make no formula
        return self


def _indices(y: Any, classes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Places of the values of a one-dimensional y among the classes: (n,).

    They are looked up, not sorted in: a y of another kind, or with a gap, has no order among the classes.
    """
    values = np.asarray(y)
    if values.ndim != 1:
        raise ShapeError(f"y is one-dimensional as in the fit, (n,), found shape {values.shape}")
    if values.dtype.kind == classes.dtype.kind == "M":
        values = values.astype(classes.dtype)  # dates in another unit
    places = {value: place for place, value in enumerate(classes.tolist())}
    listed = values.tolist()
    for value in listed:
        if not isinstance(value, Hashable) or value not in places:
            raise AnnotationError(f"y holds {value!r}, which is none of the classes of the fit")
    return np.array([places[value] for value in listed], dtype=np.int64)
