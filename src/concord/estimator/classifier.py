"""`CoupledClassifier`: the whole method in scikit-learn's manners, for features and embeddings."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from concord import metrics
from concord.archive import pack, read_archive, save_archive, tensor_bytes, unpack
from concord.arrays import group_of_rows, whole_number
from concord.auto import (
    EFFORTS,
    IN_FOLDS,
    Artefact,
    Automatic,
    Choice,
    Effort,
    FirstStage,
    Train,
    first_stage,
    held_out_probabilities,
    possible_pairs,
    select,
    train_shared,
    train_single,
    two_stage,
)
from concord.config import training_length
from concord.decoding import Thresholds, checked_metric
from concord.errors import (
    CheckpointError,
    ConcordError,
    ConcordWarning,
    ConfigError,
    MissingExtraError,
    NoAnnotationError,
    ShapeError,
    SourceShiftWarning,
)
from concord.estimation import PriorShift
from concord.estimator.annotations import SINGLE, annotations_of, check_annotated, say_missing
from concord.estimator.base import adopt_tags, checked_base, rival_learners
from concord.estimator.couplings import checked_couplings, checked_relations
from concord.estimator.cuts import chosen_thresholds
from concord.estimator.features import inputs_of
from concord.estimator.inputs import are_related, check_whole, zero_shot_classes
from concord.estimator.progress import training_bar
from concord.estimator.saving import ESTIMATORS, WEIGHTS, card_of, one_line, restored, state_of
from concord.estimator.settings import (
    check_device,
    number,
    one_of,
    processes,
    sequence_of,
)
from concord.estimator.soft import with_soft
from concord.estimator.tables import TableForm, by_task
from concord.estimator.warned import warn_caller
from concord.estimator.weights import weighted
from concord.fitting import HeldFeatures, Rows
from concord.hub import README, is_name, located, pushed
from concord.learners import EstimatorLearner, Learner, Model, TorchLearner, train_alone
from concord.networks import seeded, usual_torch
from concord.relations import Relation
from concord.tasks import MulticlassTask, MultilabelTask, Task
from concord.terminal import say

Array = npt.NDArray[Any]


EXPECTED_FAILED_CHECKS: dict[str, str] = {
    f"check_sample_weight_equivalence_on_{kind}_data": "training draws batches of rows: a row of weight 2 is "
    "drawn once where two rows are drawn twice, so the two agree in expectation and not number by number"
    for kind in ("dense", "sparse")
}
"""Checks of scikit-learn's contract that a single task does not pass, each with its reason.

For `sklearn.utils.estimator_checks.check_estimator(model, expected_failed_checks=EXPECTED_FAILED_CHECKS)`.
"""


FEWEST_STEPS = 800
"""Steps of a final network unless others are given, or there are many rows."""


STATE = (
    "_mean",
    "_std",
    "_single",
    "_seed",
    "_network",
    "_automatic",
    "_example_shape",
    "_table",
    "_thresholds",
)
"""What a fit finds beside the attributes that end in an underscore."""


class CoupledClassifier(ClassifierMixin, BaseEstimator):
    """Several classification tasks with gaps, trained together, coupled where that helps.

    Args:
        tasks: The tasks; None makes one multiclass task from a one-dimensional y.
        relations: Relations between pairs of the tasks; None estimates them where the coupling is
            ``"auto"``, from each class task to each other task.
        coupling: ``"auto"`` chooses per task, with the balanced shared network and the single-task model
            among the candidates; None is the balanced shared network. A recipe (``"posterior"``,
            ``"population"``, ``"marginal"``, ``"matching"``, ``"coannotation"``, ``"paper-matching"``,
            ``"paper-coannotation"`` or ``"paper"``), a loss by name (`concord.couplings.LOSSES`), a coupling
            or a list of couplings trains one shared network with it.
            ``"two-stage"`` trains a cross-fitted balanced shared network and then one that also learns its
            class posteriors given the annotated targets, through the supplied relations as they are: no
            guard, no check of a table. One task alone is the single-task model.
        base: An estimator of scikit-learn with `predict_proba` in place of networks: trees, linear models,
            boosting, a pipeline. It is cloned and fitted for each class task and each label on the rows with
            that annotation; `random_state` sets its own. Features reach it as they are given, frames, sparse
            matrices and gaps included; it sees classes as numbers 0, 1, ... Coupled models learn the
            posteriors of rows without a class from weighted copies of them. Nothing is shared, so coupling is
            ``"auto"`` (single-task models are where it starts), ``"two-stage"`` or None (single-task models);
            what only networks have (`trunk`, `hidden`, `dropout`, `steps`, `rows_per_task`, `learning_rate`,
            `weight_decay`, `device`) is refused.
        rivals: Further single-task models beside the network, of which ``"auto"`` takes for each task the one
            that is best on unseen rows: ``"linear"`` (logistic regression with some penalties, kept as a
            network) and estimators of scikit-learn with `predict_proba`, which see the features
            standardised. So that no worse than single task means the best model for that task alone. Networks
            of folds are then trained for all steps, which costs more: 8.5, 14.5 and 26.5 times the pair.
        effort: ``"fast"``, ``"standard"`` or ``"thorough"``: what ``"auto"`` may spend, at most 4.0, 7.9 and
            26.5 times the pair of single-task models (more where `steps` are below 600 and 334: the networks
            of folds take 150 at least), and the folds of the first stage of ``"two-stage"``. With a `base` at
            most 6.5, 10.5 and 18.5 times: an estimator is fitted whole in each fold, and shares nothing.
            ``"holdout"``, experimental and for ``"auto"`` alone, holds a fifth of the rows, and up to half
            of a scarce task's, out of the first .6 of the training, lets them judge, and goes on with what
            was chosen on all rows: at most 3.0 times. With `base` or `rivals` nothing goes on, and a fifth
            stays held out.
            ``"probe"``, experimental too and for a `trunk`, best a pretrained one, decides by heads on its
            frozen features, and trains only what they chose: at most 1.3 times that training, where the trunk
            is large beside the heads.
        artefact: What ``"auto"`` ends with: ``"distilled"`` trains what it chose once more on all rows and
            keeps that, ``"bagged"`` keeps the networks of all folds.
        alpha: Error level of the guard of ``"auto"``, one-sided, in (0, 1): how often any of a task's
            candidates takes the place of what the task starts from without being better. It says nothing of
            averages: the greedy one of a bag, and that of single-task and shared networks, which is taken
            where sources differ, nothing is shown and it is ahead.
        trunk: A module that turns inputs into features (copied for every network), or a function that
            makes one; tasks share it as a whole. None is a multilayer perceptron on standardised features,
            whose last hidden layer is each task's own.
        hidden: Widths of its hidden layers.
        dropout: Its dropout, in [0, 1).
        steps: Optimiser steps of a final network, >= 1, whatever the coupling. None is as many as 10 passes
            over the rows of the task with most of them take, at least 800 and at most 20,000.
        rows_per_task: Rows of each task in a step, >= 1.
        learning_rate: Of AdamW; it falls to 0 along a cosine.
        weight_decay: Of AdamW.
        thresholds: Where predictions are cut: None takes the most probable class, and labels from .5 on.
            ``"f1"``, ``"balanced_accuracy"`` or ``{"precision": 0.9}`` (labels only) chooses a threshold for
            each label and class, on out-of-fold predictions of the training rows, those of ``"auto"`` or of
            networks trained for it (the folds of `effort`). Labels that fewer than ten rows (groups) show
            keep .5, and `report_` says so. Probabilities stay as they are.
        class_weight: ``"balanced"`` weighs rows against their class's frequency; None does not; a dictionary
            gives weights >= 0 by class (a value of y, or a class's name or index), 1 where not named, or by
            task name such a dictionary or ``"balanced"``. Labels have no such weights: a task of labels may
            not be named, and a ``"balanced"`` of all tasks passes it over.
        device: Where to train, such as ``"cpu"`` or ``"cuda"``.
        random_state: Seed; the same one gives the same model, bit by bit, on the same machine with the same
            number of torch's threads (`torch.get_num_threads()`), in whichever thread `fit` is called and
            whatever torch's default dtype and modes are. With another number of threads sums are rounded
            otherwise, and a wide network ends up another, as good one; ``"auto"`` and ``"two-stage"`` use one
            thread for each network. Fits in several threads take turns; no global generator is left changed.
        n_jobs: Processes for the networks of ``"auto"``, and of the folds of ``"two-stage"``: -1 is one per
            core, None is 1, this process alone. The model is the same, bit by bit, whatever the number. Each
            process holds copies of the rows and takes seconds to begin.
        verbose: Print what is about to happen, what it costs and what was chosen, and draw a progress bar on
            the standard error stream.

    Attributes:
        tasks_: The tasks.
        relations_: The relations in use, as they were weighed against the data.
        checks_: What the data said of each relation (`RelationCheck`).
        choices_: By task, what the guard chose and why (`Choice`).
        report_: The account in plain words, a list of sentences.
        cost_: Training spent, with the pair of single-task models as 1.
        zero_shot_: By task, classes without an annotated row that the model predicts through a relation;
            no annotated row can tell how well.
        thresholds_: By task, where predictions are cut: (K,) of labels; (C,) of classes, whose probabilities
            are compared in proportion to them. None where `thresholds` is.
        shifts_: Class priors of each source beside those of the class task's own rows (`PriorShift`).
        classes_: Class values, where y was one-dimensional.
        n_features_in_: Number of features.
        steps_: Optimiser steps of a final network; of a model with `base` there are none.

    Example:
        >>> import numpy as np, concord as cc
        >>> pet = cc.MulticlassTask("pet", ["cat", "dog"])
        >>> trait = cc.MultilabelTask("trait", ["purrs"])
        >>> X = np.random.default_rng(0).normal(size=(40, 3))
        >>> y = {"pet": [0] * 10 + [1] * 10 + [-1] * 20, "trait": [[np.nan]] * 20 + [[0.0], [1.0]] * 10}
        >>> model = cc.CoupledClassifier([pet, trait], coupling=None, steps=5, random_state=0).fit(X, y)
        >>> model.predict_proba(X)["trait"].shape
        (40, 1)
    """

    def __init__(
        self,
        tasks: Sequence[Task] | None = None,
        relations: Sequence[Relation] | None = None,
        coupling: Any = "auto",
        *,
        base: Any = None,
        rivals: Sequence[Any] | None = None,
        effort: str = "standard",
        artefact: str = "distilled",
        alpha: float = 0.05,
        trunk: nn.Module | Callable[[], nn.Module] | None = None,
        hidden: Sequence[int] = (128, 128),
        dropout: float = 0.2,
        steps: int | None = None,
        rows_per_task: int = 64,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        thresholds: Any = None,
        class_weight: str | Mapping[Any, Any] | None = None,
        device: str = "cpu",
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.tasks = tasks
        self.relations = relations
        self.coupling = coupling
        self.base = base
        self.rivals = rivals
        self.effort = effort
        self.artefact = artefact
        self.alpha = alpha
        self.trunk = trunk
        self.hidden = hidden
        self.dropout = dropout
        self.steps = steps
        self.rows_per_task = rows_per_task
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.thresholds = thresholds
        self.class_weight = class_weight
        self.device = device
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    # -- scikit-learn's contract -------------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        """Sparse features are taken (and made dense); predictions are not deterministic without a seed."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.non_deterministic = self.random_state is None
        if self.base is not None:
            adopt_tags(tags, self.base)
        if self.tasks is not None:
            # Else scikit-learn would stratify by y, which it takes for the classes of one task.
            tags.estimator_type = None
        return tags

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None, soft: Any = None
    ) -> CoupledClassifier:
        """Train.

        Args:
            X: (n, d) features: NumPy, pandas, polars or sparse, no dates or durations; with a trunk of your
                own also an array (n, ...), which it gets in float32; with a base whatever that takes.
            y: By task name, targets with gaps: (n,) class names or indices with -1 or None, (n, K) labels
                with NaN. Or the same as a table of pandas or polars, with a column ``TASK`` for each class
                task and ``TASK.LABEL`` for each label (`concord.target_frame` makes one); then `predict`
                gives such a table. Or one-dimensional (n,), for a single task made on the spot.
            sample_weight: (n,) >= 0, weights of rows in every supervised loss; or by task name, as a
                dictionary or a table, 1 where a task is not named. Where it is 0 the row is not annotated:
                it judges and calibrates nothing either. Not all 0 where a task is annotated.
            groups: (n,) subjects, videos: rows of one are never divided between folds.
            soft: By task name, soft targets: (n, C) distributions over the classes (shares of votes, say), a
                row of NaN where there is none, or (n, K) probabilities of labels with NaN; arrays, or tables
                whose columns are the classes or labels by name. They stand in place of y in the supervised
                loss of every model, those of ``"auto"`` included, and a row counts once. Where y has a gap,
                the likeliest class (of equals the first), and labels from .5 on, count as annotated.
                Temperatures and log-losses of ``"auto"`` go by the soft targets; couplings, checks and
                estimates of relations, decoding, metrics of the guard, thresholds, `class_weight` and
                `score` by the annotations.

        Raises:
            ShapeError: Targets, weights, groups or soft targets of another number of rows than X, tasks that
                y does not fit, or a coupling that lacks its relation.
            RangeError: Weights that are negative or all 0; soft targets that are no distributions;
                fewer annotated rows than folds or a hold-out take.
            AnnotationError: A class task of which a single class is annotated.
            NoAnnotationError: A task without any annotation.
            NotFiniteError: NaN or infinite inputs, with a trunk of your own.
            EstimatorError: A base without `predict_proba`, or that refuses its rows or their weights.
            ConfigError: A parameter or coupling that only networks have, together with a base.
            DuplicateNameError: Two tasks of one name, or two relations between the same tasks.
            UnknownNameError: A coupling, effort, artefact, task or class of another name.
            ProcessError: With `n_jobs`, a process that was ended, or a trunk that cannot be sent to one.
            ValueError: Features that are no (n, d) array of finite numbers.
        """
        fitted = self._unfitted()
        with usual_torch():
            fitted._fit(X, y, sample_weight, groups, soft)
        self.__dict__ = fitted.__dict__
        return self

    def _unfitted(self) -> CoupledClassifier:
        """The same settings without what a fit has found, so that a fit that is refused changes nothing."""
        other = copy.copy(self)
        for name in [name for name in vars(other) if name.endswith("_") or name in STATE]:
            delattr(other, name)
        return other

    def _fit(self, X: Any, y: Any, sample_weight: Any, groups: Any, soft: Any) -> None:
        self._check_settings()
        rows, missing = self._rows(X, y, sample_weight, soft)
        rows = rows.in_groups(group_of_rows(groups, len(rows)))
        learner = self._learner()
        if self.rivals and len(self.tasks_) == 1:
            raise ConfigError(
                "rivals compete where 'auto' chooses, and of one task alone it does not; leave them out"
            )
        for each in [learner] if isinstance(learner, EstimatorLearner) else learner.rivals.values():
            each.check_rows(rows)
        relations = checked_relations(self.relations, self.tasks_)
        self.checks_: tuple[Any, ...] = ()
        self.choices_: dict[str, Choice] = {}
        self.shifts_: tuple[PriorShift, ...] = ()
        self.zero_shot_: dict[str, list[str]] = {}
        self.cost_ = 1.0
        self.thresholds_: dict[str, Any] | None = None
        self._thresholds: Thresholds | None = None
        self._automatic: Automatic | None = None
        with training_bar(self._most_steps(), shown=bool(self.verbose) and self.base is None) as progress:
            if isinstance(learner, TorchLearner):
                learner = replace(learner, progress=progress)
            self._train(learner, rows, relations)
        self.relations_ = relations if self._automatic is None else list(self._automatic.relations)
        say_missing(missing, self.zero_shot_, self._say)

    def _most_steps(self) -> int:
        """Optimiser steps of all networks that a fit may train."""
        tasks, effort = len(self.tasks_), self._effort()
        if self._decides():
            return round(self._steps() * (effort.folds * effort.share + effort.final_share) * (tasks + 2))
        held_out = 0.0 if self.thresholds is None else effort.folds * self._length(effort.share)
        return round(self._steps() * (self._length(1.0) + held_out))

    def _decides(self) -> bool:
        """Whether ``"auto"`` has something to decide."""
        return len(self.tasks_) > 1 and self._chooses("auto")

    def _chooses(self, name: str) -> bool:
        """Whether the coupling is this way of choosing one; a frame or an array has an == of its own."""
        return isinstance(self.coupling, str) and self.coupling == name

    def _length(self, share: float) -> float:
        """Length of a training by anything but ``"auto"``, with that of one network as 1."""
        first = len(self.tasks_) > 1 and self._chooses("two-stage")
        effort = self._effort()
        return (effort.folds * effort.share if first else 0.0) + share

    def _train(self, learner: TorchLearner | EstimatorLearner, rows: Rows, relations: list[Relation]) -> None:
        metric = checked_metric(self.thresholds)
        judging = None
        if self._decides():
            found = self._fit_automatic(learner, rows, relations)
            held_out, judging = found.held_out, torch.from_numpy(found.judges)
        else:
            if metric is not None:
                one_of('effort of thresholds without coupling="auto"', self.effort, IN_FOLDS)
            train = partial(self._trained, learner, relations)
            self._network = train(rows, 1.0, self._seed, say=self._say)
            self.cost_ = self._length(1.0) * (1.0 if len(self.tasks_) > 1 else 0.5)
            if len(self.tasks_) > 1 and (self._chooses("two-stage") or checked_couplings(self.coupling)):
                self.zero_shot_ = zero_shot_classes(rows, self.tasks_, relations)
            held_out = {} if metric is None else self._held_out(train, learner, rows)
        if metric is not None:
            bare = replace(rows, inputs=torch.zeros(len(rows), 0))  # inputs have no say here
            judges = bare if judging is None else bare.take(judging)
            self._thresholds = chosen_thresholds(metric, self.tasks_, judges, held_out, self._say)
            self.thresholds_ = dict(self._thresholds.values)

    def _trained(
        self,
        learner: TorchLearner | EstimatorLearner,
        relations: list[Relation],
        rows: Rows,
        share: float,
        seed: int,
        say: Callable[[str], None] = lambda message: None,
    ) -> Model:
        """A model by anything but ``"auto"``, trained for a share of the steps."""
        if len(self.tasks_) == 1:
            say(f"one task, {self.tasks_[0].name}: the single-task model")
            return train_single(learner, rows, self.tasks_[0], share, seed)
        if self._chooses("two-stage"):
            effort = self._effort()
            return two_stage(
                learner, rows, self.tasks_, relations, effort=effort, seed=seed, share=share, say=say
            )
        if isinstance(learner, EstimatorLearner):
            say(f"single-task models by {learner.name}, no coupling")
            return train_alone(learner, rows, self.tasks_, seed)
        chosen = checked_couplings(self.coupling)
        say(f"one balanced shared network, {', '.join(c.name for c in chosen) or 'no coupling'}")
        return train_shared(learner.coupled(relations, chosen), rows, self.tasks_, share, seed)

    def _held_out(self, train: Train, learner: Learner, rows: Rows) -> dict[str, npt.NDArray[np.float64]]:
        """Out-of-fold probabilities by networks that are trained for the thresholds alone."""
        effort = self._effort()
        what = "networks" if self.base is None else "models"
        self._say(f"thresholds: {effort.folds} more {what} at {effort.share:.0%} of the steps, one per fold")
        self.cost_ *= 1 + effort.folds * self._length(effort.share) / self._length(1.0)
        return held_out_probabilities(train, learner, rows, self.tasks_, effort=effort, seed=self._seed)

    def cross_fit(
        self, X: Any, y: Mapping[str, Any], sample_weight: Any = None, groups: Any = None
    ) -> FirstStage:
        """The first stage of ``"auto"`` on its own: networks without coupling, and what they say of rows.

        A relation is estimated from such predictions (`estimate_relation`), and a table checked against them
        (`FirstStage.check`). The model itself is not fitted by this.

        Args:
            X: (n, d) features, as for `fit`.
            y: By task name, targets with gaps, as for `fit`.
            sample_weight: (n,) >= 0, weights of rows in every supervised loss; 0 as in `fit`.
            groups: (n,) subjects, videos: rows of one are never divided between folds.

        Returns:
            The networks of all folds with their predictions.

        Raises:
            ShapeError: Fewer than two tasks; otherwise as `fit`.
            RangeError: As `fit`: fewer annotated rows of a task than folds, weights that are negative.
            AnnotationError: As `fit`.
            NoAnnotationError: As `fit`.
            UnknownNameError: An effort, task or class of another name.
            ValueError: As `fit`.

        Example:
            >>> import numpy as np, concord as cc
            >>> pet, trait = cc.MulticlassTask("pet", ["cat", "dog"]), cc.MultilabelTask("trait", ["purrs"])
            >>> X = np.random.default_rng(0).normal(size=(40, 3))
            >>> y = {"pet": [0, 1] * 10 + [-1] * 20, "trait": [[np.nan]] * 20 + [[0.0], [1.0]] * 10}
            >>> first = cc.CoupledClassifier([pet, trait], steps=5, random_state=0).cross_fit(X, y)
            >>> p = first.predictions()
            >>> p["pet"].shape, p["trait"].shape
            ((40, 2), (40, 1))
        """
        if len(self.tasks or ()) < 2:
            raise ShapeError("cross-fitting needs a model with two or more tasks=[...]")
        model = self._unfitted()  # what fitting would write stays off this model
        model._check_settings()
        one_of("effort of cross-fitting", self.effort, IN_FOLDS)
        effort = model._effort()
        with usual_torch():
            rows, _ = model._rows(X, y, sample_weight)
            rows = rows.in_groups(group_of_rows(groups, len(rows)))
            return first_stage(
                model._learner(),
                rows,
                model.tasks_,
                effort=effort,
                seed=model._seed,
            )

    def predict_proba(self, X: Any) -> Any:
        """Probabilities for features X (n, d): by task (n, C) or (n, K); an array where y was one."""
        check_is_fitted(self, "tasks_")
        with usual_torch():
            given = inputs_of(self, X, reset=False)
            inputs = given if isinstance(given, HeldFeatures) else torch.as_tensor(given)
            if self._automatic is not None:
                out = self._automatic.probabilities(self._learner(), Rows(inputs, {}))
            else:
                logits = self._learner().predict(self._network, Rows(inputs, {}))
                out = {task.name: metrics.probabilities(task, logits[task.name]) for task in self.tasks_}
        return out[SINGLE] if self._single else out

    def predict(self, X: Any) -> Any:
        """Predictions for X (n, d): by task, classes (n,) or labels (n, K); or values of y.

        Classes come as the task was given them: numbers where they are numbers.

        A model that was fitted on a table of targets gives a table with the same columns; in pandas with the
        index of X, where X is a frame of pandas, else with rows counted from 0. In a pipeline
        ``set_output(transform="pandas")`` keeps the index of what it was given.

        A label is 1 from a probability of .5 on, or from its threshold on (`thresholds_`); of classes the
        most probable is taken, or the one that is most so in proportion to its threshold.
        """
        probabilities = self.predict_proba(X)
        if self._single:
            return self.classes_[metrics.decisions(self.tasks_[0], probabilities, self._cut(self.tasks_[0]))]
        predicted = {
            task.name: metrics.decisions(task, probabilities[task.name], self._cut(task))
            for task in self.tasks_
        }
        for task in self.tasks_:
            if isinstance(task, MulticlassTask):
                predicted[task.name] = task.as_given(predicted[task.name])
        if self._table is None:
            return predicted
        return self._table.filled(self.tasks_, predicted, X.index if hasattr(X, "iloc") else None)

    def _cut(self, task: Task) -> Any:
        """Where predictions of a task are cut."""
        return 0.5 if self._thresholds is None else self._thresholds.of(task)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of a single task; of several, the mean of each task's main metric: in [0, 1].

        Args:
            X: Features (n, d).
            y: Targets as in `fit`; tasks that it lacks are left out.
            sample_weight: (n,), where y was one-dimensional.

        Raises:
            NoAnnotationError: Targets of none of the tasks, or a given one without any annotation, or of
                labels without one that is present.
            UnknownNameError: A task of another name.
            ShapeError: Targets of another number of rows than X; weights where tasks were given.
        """
        check_is_fitted(self, "tasks_")
        if self._single:
            if isinstance(y, Mapping):
                raise ShapeError("the model was fitted on a one-dimensional y, found a dictionary")
            return float(super().score(X, y, sample_weight))
        if sample_weight is not None:
            raise ShapeError(
                "sample_weight is for a model of a one-dimensional y; metrics of tasks are unweighted"
            )
        y = by_task(y, self.tasks_)
        probabilities = self.predict_proba(X)
        values = []
        for task in self.tasks_:
            if task.name in y:
                truth, p = task.encode(y[task.name]), probabilities[task.name]
                if len(truth) != len(p):
                    raise ShapeError(f"X has {len(p)} rows, but y[{task.name!r}] has {len(truth)}")
                values.append(
                    metrics.task_metrics(task, truth, p, self._cut(task))[metrics.main_metric(task)]
                )
        if not values:
            raise NoAnnotationError("y holds targets of none of the tasks; nothing can be scored")
        return float(np.mean(values))

    # -- input -------------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        """Refuse settings that nothing can be trained with."""
        if self.steps is not None:
            whole_number("steps", self.steps)
        whole_number("rows_per_task", self.rows_per_task)
        processes(self.n_jobs)
        number("learning_rate", self.learning_rate, 0, above=True)
        number("weight_decay", self.weight_decay, 0)
        number("dropout", self.dropout, 0, 1)
        number("alpha", self.alpha, 0, 1, above=True)
        one_of("effort", self.effort, EFFORTS)
        one_of("artefact", self.artefact, get_args(Artefact))
        if not sequence_of("hidden", self.hidden, Integral, "widths"):
            raise ShapeError("hidden is a list of at least one width, found none")
        for width in self.hidden:
            whole_number("a width in hidden", width)
        sequence_of("tasks", self.tasks, (MulticlassTask, MultilabelTask), "tasks")
        sequence_of("relations", self.relations, Relation, "relations")
        checked_couplings(self.coupling)
        if self._chooses("two-stage"):
            one_of('effort of coupling="two-stage"', self.effort, IN_FOLDS)
        if not (self.trunk is None or callable(self.trunk)):
            raise ShapeError(f"trunk is a module, or a function that makes one, found {self.trunk!r}")
        if checked_metric(self.thresholds) is not None and EFFORTS[self.effort].on_features:
            one_of("effort of thresholds", self.effort, [name for name in EFFORTS if name != self.effort])
        check_device(self.device)
        rival_learners(self)
        if self.base is not None:
            checked_base(self)

    def _rows(
        self, X: Any, y: Any, sample_weight: Any, soft: Any = None
    ) -> tuple[Rows, dict[str, list[str]]]:
        """Training rows, and what of each task is never annotated; starts the report, draws the seed."""
        if self.tasks is not None:
            by_task(y, self.tasks)  # before X is looked at, as scikit-learn would take y for one task
        single = self.tasks is None and not isinstance(y, Mapping)
        if single:
            check_whole(y)
        inputs = inputs_of(self, X, y if single else None, reset=True)
        self._example_shape = () if isinstance(inputs, HeldFeatures) else inputs.shape[1:]
        given = annotations_of(self.tasks, y)
        self._table = TableForm.of(y) if self.tasks is not None else None
        self.tasks_, self._single = given.tasks, given.classes is not None
        if given.classes is not None:
            self.classes_ = given.classes
        rows = with_soft(Rows.of(inputs, given.targets, given.tasks), () if single else given.tasks, soft)
        self.report_: list[str] = []
        rows = weighted(rows, given, sample_weight, self.class_weight)
        missing = check_annotated(rows, given.tasks, self._say)
        if self.base is None:
            self._set_length({task.name: len(rows.annotated(task)) for task in given.tasks})
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1)) % 1_000_003
        return rows, missing

    def _set_length(self, annotated: Mapping[str, int]) -> None:
        """How long networks are trained: as was asked for, else by the rows."""
        if self.steps is not None:
            self.steps_ = int(self.steps)
            return
        length = training_length(annotated, int(self.rows_per_task), FEWEST_STEPS)
        self.steps_ = length.steps
        self._say(f"training length: {length.reason}")

    def _fit_automatic(self, learner: Learner, rows: Rows, relations: list[Relation]) -> Automatic:
        effort = self._effort()
        if effort.caution:
            warn_caller(effort.caution, ConcordWarning)
        for relation in relations:
            relation.cells('coupling="auto", which weighs it against the data,')
        pairs: list[Relation | tuple[MulticlassTask, Task]] = list(relations)
        if self.relations is None:
            pairs = list(possible_pairs(self.tasks_))
        elif apart := [
            f"{a.name}, {b.name}" for a, b in possible_pairs(self.tasks_) if not are_related(a, b, relations)
        ]:
            self._say(
                f"no relation was given between {'; '.join(apart[:8])}: none is estimated, none coupled"
            )
        self._automatic = select(
            learner,
            rows,
            self.tasks_,
            pairs,
            effort=effort,
            seed=self._seed,
            artefact=self.artefact,  # type: ignore[arg-type]
            alpha=self.alpha,
            say=self._say,
        )
        self.checks_, self.choices_ = self._automatic.checks, self._automatic.choices
        self.cost_ = self._automatic.cost
        self.zero_shot_ = {name: list(each) for name, each in self._automatic.zero_shot.items()}
        self.shifts_ = self._automatic.shifts
        for message in self._automatic.source_shifts():
            warn_caller(message, SourceShiftWarning)
            self._say(message)
        return self._automatic

    def _learner(self) -> TorchLearner | EstimatorLearner:
        if self.base is not None:
            return EstimatorLearner(self.base, self.n_jobs or 1)
        linear, rivals = rival_learners(self)
        return TorchLearner(
            linear=linear,
            rivals=rivals,
            trunk=self.trunk,
            hidden=tuple(self.hidden),
            dropout=self.dropout,
            steps=self._steps(),
            rows_per_task=self.rows_per_task,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            device=self.device,
            n_jobs=self.n_jobs or 1,
        )

    def _steps(self) -> int:
        """Optimiser steps of a final network, once rows are known; before that, the least there are."""
        return getattr(self, "steps_", FEWEST_STEPS if self.steps is None else int(self.steps))

    def _effort(self) -> Effort:
        effort = EFFORTS[self.effort]
        # A network of a fold may be trained for less; an estimator is fitted or it is not, and what competes
        # with one must be as far on as it will be in the end.
        if self.base is not None or self.rivals:
            return replace(effort, share=1.0)
        return effort.for_steps(self._steps())

    def _say(self, message: str) -> None:
        self.report_.append(message)
        if self.verbose:
            say(message)

    # -- keeping it --------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the model: `model.json`, `weights.safetensors` and a model card; nothing is pickled.

        With a base, logistic regressions and the scalers before them are weights as well; other estimators
        lie in `estimators.skops`, written and read by skops (`concord-mtl[skops]`).

        Not kept are a trunk of your own, which `load` takes; a coupling that was given as an object, without
        which a loaded model predicts but cannot be fitted again; `checks_`, whose words are in `report_`; and
        `shifts_`.

        Raises:
            CheckpointError: The folder holds something already, or cannot be written; or the model holds
                what could not be loaded again.
            MissingExtraError: A base that skops keeps, which is not installed.
        """
        self._save(Path(folder))

    @usual_torch()
    @seeded(None)  # what is saved is restored once, to see that it can be
    def _save(self, target: Path, licence: str | None = None) -> None:
        check_is_fitted(self, "tasks_")
        state, data = state_of(self)
        content, tensors = pack(state)
        try:
            restored(type(self), unpack(content, tensors), data, self.trunk)
        except (ConcordError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"the model is not saved, since it could not be loaded again ({one_line(error)})"
            ) from error
        files = {WEIGHTS: tensor_bytes(tensors)} | ({} if data is None else {ESTIMATORS: data})
        card = {README: card_of(self, licence)}
        save_archive(target, "estimator", content, files, uncovered=card, fresh=True)

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool = True,
        license: str | None = None,  # noqa: A002 - the hub's own word
        message: str | None = None,
        revision: str | None = None,
        token: str | None = None,
    ) -> str:
        """Send the model to the Hugging Face hub, as `save` writes it, in one commit.

        Args:
            repository: `OWNER/NAME`; made where it does not exist. An earlier model in it is replaced.
            private: Whether the repository is to be seen by its owner alone: weights may hold what their
                data's terms do not let out. One that exists keeps its visibility, and a public one is refused
                unless `private=False`.
            license: Of the weights, for the model card.
            message: Of the commit.
            revision: A branch, made where it does not exist; the main one unless given.
            token: Of the hub; that of `hf auth login` or of HF_TOKEN unless given.

        Returns:
            The address of the model; ``CoupledClassifier.load("OWNER/NAME", download=True)`` loads it.

        Raises:
            HubError: No token, no network, or a push that was refused; no file was sent.
            CheckpointError: The model holds what could not be loaded again.
            MissingExtraError: huggingface_hub (`concord-mtl[hub]`), or skops for a base, is not installed.
        """
        with TemporaryDirectory() as scratch:
            self._save(Path(scratch) / "model", license)
            return pushed(
                Path(scratch) / "model",
                "estimator",
                repository,
                private=private,
                message=message,
                revision=revision,
                token=token,
                kept="save(FOLDER) keeps the model here",
            )

    @classmethod
    @usual_torch()
    @seeded(None)  # a network draws weights before it is given its own
    def load(
        cls, folder: str | Path, *, trunk: Any = None, download: bool = False, revision: str | None = None
    ) -> CoupledClassifier:
        """Read a saved model.

        Args:
            folder: Where `save` wrote it; or `OWNER/NAME` of a model of the Hugging Face hub, in its cache.
            trunk: The trunk that it was trained with, where it was not the built-in one.
            download: Whether the hub is asked for what is not in its cache.
            revision: Of a model of the hub: branch, tag or commit.

        Raises:
            CheckpointError: No model, or one that is incomplete, was changed, or is of another network; or
                estimators of types that are not known to be safe.
            MissingExtraError: Estimators that skops keeps, which is not installed.
        """
        there = Path(folder)
        if not there.exists() and is_name(folder):
            there = located(folder, download=download, revision=revision)
        archive = read_archive(there, "estimator")
        tensors = archive.tensors(WEIGHTS)
        try:
            state = unpack(archive.content, tensors)
            if state["own_trunk"] and trunk is None:
                raise CheckpointError(f"{folder} was trained with a trunk of its own; give trunk=")
            return restored(cls, state, archive.content_of(ESTIMATORS), trunk)
        except (CheckpointError, MissingExtraError):
            raise
        except (ConcordError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"{folder} does not hold the model it says ({one_line(error)})") from error
