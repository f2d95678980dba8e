"""`auto`: the package's own choice of coupling, task by task, with its guard."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from concord.auto import EFFORTS, Artefact, Automatic, Choice, Effort, FirstStage, first_stage, select
from concord.data import StreamedInputs
from concord.errors import StudyError, UnknownNameError
from concord.estimation import RelationCheck
from concord.fitting import Rows
from concord.learners import EstimatorLearner
from concord.relations import Relation
from concord.study.conditions.base import Condition, Predictor, Setting
from concord.study.conditions.learner import StudyLearner
from concord.study.conditions.registry import condition as named
from concord.study.conditions.tables import Control, shown
from concord.study.spec import AnyNetwork, Network
from concord.tasks import MulticlassTask, Task

Table = Literal["given", "none", Control]
"""Tables that `auto` is shown: the regime's, none, so that it must estimate the relations, or wrong ones."""

CLIP = 1e-9


class Auto(Condition):
    """`concord.auto.select` over the study's trunk and budget: cross-fitted on training rows alone.

    The account of the choice goes into the run's record: what was said of each relation, what each task
    got and why, out-of-fold scores and losses of all candidates, and the cost.

    Args:
        effort: A name of `concord.auto.EFFORTS`.
        artefact: What it ends with, one network or a bag.
        table: `given`, `none`, `shuffled` or `partly-wrong`.
        rivals: Estimators that compete with single-task networks, by the name of the kind. Networks of folds
            are then trained for all steps: what is fitted in full is compared with what is finished.
    """

    def __init__(
        self, effort: str, artefact: Artefact, table: Table, rivals: Mapping[str, EstimatorLearner]
    ) -> None:
        self.effort, self.artefact, self.table, self.competing = effort, artefact, table, rivals

    def check(self, tasks: Sequence[Task], relations: Sequence[Relation], network: AnyNetwork) -> None:
        """See `Condition.check`.

        Raises:
            StudyError: Perceptrons, where frozen features of a trunk decide.
        """
        del tasks, relations
        perceptrons = isinstance(network, Network) and network.kind == "mlp"
        if perceptrons and EFFORTS[self.effort].on_features:
            raise StudyError(
                f"condition 'auto' with effort {self.effort!r} decides on frozen features of a trunk, and "
                "perceptrons (network.kind mlp) have none; choose another effort, or give a trunk by name"
            )

    def train(self, setting: Setting) -> Predictor:
        """Choose and train; the setting's account is filled."""
        learner = StudyLearner(setting, self.competing)
        known: list[Relation | tuple[MulticlassTask, Task]]
        if self.table == "none":
            known = [(relation.source, relation.target) for relation in setting.relations]
        else:
            known = list(shown(setting, self.table).relations)
        effort = EFFORTS[self.effort]
        if self.competing:
            effort = replace(effort, share=1.0)
        effort = effort.for_steps(setting.budget.steps)
        outcome = select(
            learner,
            setting.rows,
            setting.tasks,
            known,
            effort=effort,
            seed=setting.seed,
            artefact=self.artefact,
            first=None if effort.on_features else _first_stage(setting, learner, effort),
        )
        setting.account.update(account(outcome))
        whole = effort.share == 1.0 or effort.holds_out  # else the networks of folds have a part of the steps
        if self.artefact == "distilled" or whole:
            _note_curves(setting, learner, outcome)
        tasks = setting.tasks

        def predict(inputs: Any) -> dict[str, Tensor]:
            found = outcome.probabilities(learner, Rows(inputs, {}))
            return {task.name: _logits(task, torch.from_numpy(found[task.name])) for task in tasks}

        return predict


KEPT = 2
"""First stages that a process keeps: runs of one seed follow each other."""


@dataclass(frozen=True)
class _Made:
    stage: FirstStage
    curves: dict[int, list[dict[str, Any]]]
    seconds: float


_made: OrderedDict[str, _Made] = OrderedDict()


def _first_stage(setting: Setting, learner: StudyLearner, effort: Effort) -> FirstStage:
    """The first stage, trained once for all conditions of a seed: no relation has a part in it."""
    key = _key(setting, learner, effort)
    if key in _made:
        made = _made[key]
        _made.move_to_end(key)
        setting.spared.append(made.seconds)
    else:
        start = time.perf_counter()
        stage = first_stage(learner, setting.rows, setting.tasks, effort=effort, seed=setting.seed)
        made = _made[key] = _Made(stage, dict(learner.curves), time.perf_counter() - start)
        while len(_made) > KEPT:
            _made.popitem(last=False)
    learner.curves.update(made.curves)
    return made.stage


def _key(setting: Setting, learner: StudyLearner, effort: Effort) -> str:
    """What a first stage and its learning curves depend on."""
    parts = (
        setting.tasks,
        setting.network,
        setting.budget,
        setting.recipe,
        setting.device,
        effort,
        setting.seed,
        sorted(setting.metrics.items()),
        sorted((kind, repr(rival.estimator)) for kind, rival in learner.rivals.items()),
    )
    found = hashlib.sha256(repr((*parts, torch.get_num_threads())).encode())
    for rows in (setting.rows, setting.validation):
        if isinstance(rows.inputs, StreamedInputs):
            # What is kept holds these objects, so that no other can have their numbers meanwhile.
            found.update(repr([id(source) for source in rows.inputs.sources]).encode())
        for values in _tensors(rows):
            found.update(repr((values.dtype, values.shape)).encode())
            found.update(values.numpy().tobytes())
    return found.hexdigest()


def _tensors(rows: Rows) -> list[Tensor]:
    by_task = (rows.targets, rows.soft, rows.weights, rows.shares)
    group = [] if rows.group is None else [rows.group]
    held = rows.inputs
    known = torch.from_numpy(held.number) if isinstance(held, StreamedInputs) else held
    return [known, *group, *(values[name] for values in by_task for name in sorted(values))]


def account(outcome: Automatic) -> dict[str, Any]:
    """What `auto` found and chose, as plain data."""
    return {
        "relations": [_relation(check) for check in outcome.checks],
        "choices": [_choice(choice) for choice in outcome.choices.values()],
        "cost": _plain(outcome.cost),
        "sentences": outcome.sentences(),
    }


def _relation(check: RelationCheck) -> dict[str, Any]:
    return {
        "name": check.relation.name,
        "verdict": check.verdict,
        "exponent": _plain(check.exponent),
        "trust": _plain(check.trust),
        "agreement": _plain(check.evidence.agreement),
        "z": _plain(check.evidence.z),
        "table": [[_plain(cell) for cell in row] for row in _dense(check.relation)],
        "estimate": [[_plain(cell) for cell in row] for row in _dense(check.estimate)],
        "contradictions": [str(each) for each in check.told_contradictions],
        "contradicted": [[each.source, each.target] for each in check.contradictions],
    }


def _dense(relation: Relation) -> Any:
    return relation.dense().table


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "task": choice.task,
        "weights": {name: _plain(share) for name, share in choice.weights.items()},
        "strength": {name: _plain(value) for name, value in choice.strength.items()},
        "scores": {name: _plain(score) for name, score in choice.scores.items()},
        "losses": {name: _plain(loss) for name, loss in choice.losses.items()},
        "gain": _plain(choice.gain),
        "z": _plain(choice.z),
        "start": choice.start,
        "critical": _plain(choice.critical),
        "alpha": _plain(choice.alpha),
        "pool": choice.pool,
        "reason": choice.reason,
    }


def _plain(value: Any) -> float | None:
    number = float(value)
    return round(number, 6) if np.isfinite(number) else None


def _note_curves(setting: Setting, learner: StudyLearner, outcome: Automatic) -> None:
    """Learning curves of the final networks, for each task those of the one that most of it comes from."""
    for task, choice in outcome.choices.items():
        main = max(choice.weights, key=lambda name: choice.weights[name]).partition("/")[0]
        network = outcome.families[main].networks[0][task]
        points = learner.curves.get(id(network), [])
        setting.curves.extend(point for point in points if point["task"] == task)


def _logits(task: Task, p: Tensor) -> Tensor:
    """Logits that give these probabilities: float32, so that they are what a network would say."""
    p = p.clamp(CLIP, 1 - CLIP)
    return (p.log() if isinstance(task, MulticlassTask) else torch.logit(p)).float()


def condition(
    name: str = "auto",
    effort: str = "standard",
    artefact: Artefact = "distilled",
    table: Table = "given",
    rivals: Sequence[str] = (),
) -> Condition:
    """The condition `auto`.

    Args:
        name: Of the condition, for messages.
        effort: How much training may be spent.
        artefact: What it ends with.
        table: What it is shown.
        rivals: Conditions that fit estimators, which compete with single-task networks: `logistic`, say.

    Raises:
        UnknownNameError: An effort, artefact, table or rival of another name, or a bag where heads on frozen
            features decide.
        StudyError: A rival that fits no estimator, or an effort that has no place for one.
    """
    for what, given, known in (
        ("effort", effort, tuple(EFFORTS)),
        ("artefact", artefact, get_args(Artefact)),
        ("table", table, get_args(Table)),
    ):
        if given not in known:
            raise UnknownNameError.of(f"{what} of condition {name!r}", given, known)
    if artefact == "bagged" and EFFORTS[effort].on_features:
        raise UnknownNameError.of(
            f"artefact of condition {name!r} with effort {effort}", artefact, ("distilled",)
        )
    if rivals and EFFORTS[effort].on_features:
        raise StudyError(
            f"condition {name!r}: with effort {effort!r} heads on frozen features decide, and nothing else "
            "is tried; leave rivals out, or choose another effort"
        )
    return Auto(effort, artefact, table, _estimators(name, rivals))


def _estimators(name: str, rivals: Sequence[str]) -> dict[str, EstimatorLearner]:
    """The estimators of conditions by name.

    Raises:
        UnknownNameError: No such condition.
        StudyError: A name alone in place of a list, or a condition that fits no estimator.
    """
    if isinstance(rivals, str):
        raise StudyError(f"rivals of condition {name!r} is a list: [{rivals}]")
    found: dict[str, EstimatorLearner] = {}
    for rival in rivals:
        if not (fitted := named(rival).rivals()):
            raise StudyError(f"rival {rival!r} of condition {name!r} fits no estimator; logistic does, say")
        found |= fitted
    return found
