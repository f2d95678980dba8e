"""The objective: supervised losses where annotated, couplings through relations. Knows no data loader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from concord.arrays import Array
from concord.couplings import Coupling, wide
from concord.errors import (
    AnnotationError,
    NotFiniteError,
    RangeError,
    ShapeError,
    UnknownNameError,
)
from concord.losses import (
    Local,
    Population,
    multiclass_loss,
    multilabel_loss,
    soft_multiclass_loss,
    soft_multilabel_loss,
)
from concord.relations import Relation, check_between, relation_digest
from concord.tasks import Encoded, MulticlassTask, Task, task_names

__all__ = ["CoupledObjective", "ObjectiveResult"]

NUMBERS = "biuf"
"""Kinds of NumPy arrays that torch takes."""

FEW = 3
"""Parts up to which a loss is added one by one."""


@dataclass(frozen=True)
class ObjectiveResult:
    """What the objective returns.

    Attributes:
        loss: Scalar to call `backward` on: the sum of the parts.
        parts: Weighted contribution of every term, detached: a task's name for its supervised loss,
            `TASK/soft` for its soft targets, `COUPLING:SOURCE->TARGET` for a coupling.
    """

    loss: Tensor
    parts: dict[str, Tensor]


class CoupledObjective(nn.Module):
    """Supervised losses with gaps, plus couplings. A plain module for anyone's training loop.

    Every mean divides by the number of annotated samples it saw (inside a sample: labels). A batch
    without any annotation of a task contributes exactly 0 for it, with every head still in the graph.

    Args:
        tasks: The tasks; logits and targets are dictionaries by their names.
        relations: Relations between pairs of these tasks.
        couplings: Couplings, or one, applied to every relation that supports them, or a mapping from a
            relation's name (`SOURCE->TARGET`) to its own couplings.
        task_weights: Factor of a task's supervised loss, by name, >= 0; 1 unless named.
        soft_weights: Factor of a task's soft-target loss, by name, >= 0; 1 unless named.
        validate: Check values (finite logits, targets in range) besides shapes on every call. On an
            accelerator that waits for the device, so a training loop may switch it off after its first
            steps.

    Raises:
        UnknownNameError: A relation, weight or mapping that names no task or relation given here.
        ShapeError: A coupling without a relation to work on, a relation of another version of a task, or
            what is neither coupling nor relation.
        DuplicateNameError: Two tasks of one name, or two relations between the same tasks.
        RangeError: A negative weight.

    Example:
        >>> import torch, concord as cc
        >>> relation = cc.tables.expressions()
        >>> objective = cc.CoupledObjective(
        ...     [relation.source, relation.target],
        ...     relations=[relation],
        ...     couplings=[cc.couplings.PosteriorCoannotation()],
        ... )
        >>> logits = {"expression": torch.zeros(2, 7), "action_units": torch.zeros(2, 17)}
        >>> targets = {"expression": torch.tensor([1, -1]), "action_units": torch.zeros(2, 17)}
        >>> sorted(objective(logits, targets).parts)
        ['action_units', 'expression', 'posterior-coannotation:expression->action_units']
    """

    takes_pieces: bool = True
    """Whether its gradient reaches the network through the logits alone, so that a batch may be cut up."""

    def __init__(
        self,
        tasks: Sequence[Task],
        relations: Sequence[Relation] = (),
        couplings: Coupling | Sequence[Coupling] | Mapping[str, Coupling | Sequence[Coupling]] = (),
        *,
        task_weights: Mapping[str, float] | None = None,
        soft_weights: Mapping[str, float] | None = None,
        validate: bool = True,
    ) -> None:
        super().__init__()
        names = task_names(tasks)
        self.tasks = {task.name: task for task in tasks}
        if isinstance(relations, Relation):
            raise ShapeError("relations are a list of relations, found one; give relations=[...]")
        self.relations = {relation.name: relation for relation in relations}
        check_between(relations, self.tasks.values(), "the objective")
        pairs = _pairs(self.relations, couplings)
        self.couplings = nn.ModuleList(coupling for _, coupling in pairs)
        self._relation_of = [name for name, _ in pairs]
        self.part_names = _part_names(pairs)
        self.task_weights = _weights("task", task_weights, names)
        self.soft_weights = _weights("soft target", soft_weights, names)
        self.validate = validate
        self._population: Population = Local()

    def identity(self) -> dict[str, Any]:
        """What its loss depends on, as JSON holds it: couplings by their settings, relations by a digest."""
        return {
            "task_weights": dict(self.task_weights),
            "soft_weights": dict(self.soft_weights),
            "couplings": [
                {"part": part, "coupling": type(coupling).__name__, **_plain_settings(coupling)}
                for part, coupling in zip(self.part_names, self.couplings, strict=True)
            ],
            "relations": {name: relation_digest(relation) for name, relation in self.relations.items()},
        }

    @property
    def population(self) -> Population:
        """What all means and sums run over; set to `Distributed()` under data-parallel training."""
        return self._population

    @population.setter
    def population(self, population: Population) -> None:
        self._population = population
        for coupling in self.couplings:
            assert isinstance(coupling, Coupling)
            coupling.population = population

    def begin(self) -> None:
        """Forget what couplings kept of earlier batches: a training begins."""
        for coupling in self.couplings:
            assert isinstance(coupling, Coupling)
            coupling.begin()

    def forward(
        self,
        logits: Mapping[str, Tensor],
        targets: Mapping[str, Tensor | Array],
        *,
        soft: Mapping[str, Tensor | Array] | None = None,
        sample_weight: Mapping[str, Tensor | Array] | None = None,
        shares: Mapping[str, Tensor | Array] | None = None,
    ) -> ObjectiveResult:
        """Loss of a batch.

        Args:
            logits: By task: (n, C) or (n, K).
            targets: By task: (n,) int64 in -1 .. C-1, or (n, K) with 0, 1 or NaN. NumPy arrays, here and
                below, are copied to the device of the logits.
            soft: By task, where there are any: (n, C) distributions or (n, K) probabilities, NaN for
                none: targets from a first stage, a teacher or a co-annotated file.
            sample_weight: By task, where there are any: (n,) >= 0, for the supervised losses.
            shares: By task, where there are any: (n, C) distributions or (n, K) probabilities, NaN for none,
                that stand in place of `targets` in the supervised loss (shares of votes, say); a row counts
                once. Couplings know `targets`, which hold the class of most votes.

        Raises:
            UnknownNameError: A task without logits or targets; soft targets, shares or sample weights of
                none.
            ShapeError: Logits, targets, soft targets, shares or sample weights of another shape.
            AnnotationError: Neither a tensor nor an array of numbers, a class index out of range, or a label
                other than 0, 1 or NaN.
            RangeError: Soft targets or shares outside [0, 1], or a sample weight that is negative or not
                finite.
            NotFiniteError: NaN or infinite logits.
        """
        targets = _as_tensors(targets, logits)
        soft = None if soft is None else _as_tensors(soft, logits, np.float32)
        sample_weight = None if sample_weight is None else _as_tensors(sample_weight, logits, np.float32)
        shares = {} if shares is None else _as_tensors(shares, logits, np.float32)
        self._check_shapes(logits, targets)
        self._check_extras(logits, soft or {}, sample_weight or {}, shares)
        if self.validate:
            self._check_values(logits, targets)
            _check_extra_values(soft or {}, sample_weight or {})
            _check_extra_values(shares, {})
        parts: dict[str, Tensor] = {}
        for name, task in self.tasks.items():
            z = wide(logits[name])
            hard_loss, soft_loss = (
                (multiclass_loss, soft_multiclass_loss)
                if isinstance(task, MulticlassTask)
                else (multilabel_loss, soft_multilabel_loss)
            )
            weight = None if sample_weight is None else sample_weight.get(name)
            if name in shares:
                known = _shared(task, targets[name], shares[name])
                hard = soft_loss(z, known, sample_weight=weight, population=self._population)
            else:
                hard = hard_loss(z, targets[name], sample_weight=weight, population=self._population)
            parts[name] = _weighed(self.task_weights[name], hard)
            if soft is not None and name in soft:
                soft_part = soft_loss(z, soft[name], population=self._population)
                parts[f"{name}/soft"] = _weighed(self.soft_weights[name], soft_part)
        for part, relation, coupling in zip(self.part_names, self._relation_of, self.couplings, strict=True):
            assert isinstance(coupling, Coupling)
            parts[part] = _weighed(coupling.weight, coupling(logits, targets, self.relations[relation]))
        loss = _sum([wide(part) for part in parts.values()])
        return ObjectiveResult(loss, {name: part.detach() for name, part in parts.items()})

    def _check_shapes(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
        rows: int | None = None
        for name, task in self.tasks.items():
            for kind, given in (("logits", logits), ("targets", targets)):
                if name not in given:
                    raise UnknownNameError.of(f"task in the {kind}", name, given)
                _check_tensor(name, kind, given[name])
            z, t = logits[name], targets[name]
            rows = (z.shape[0] if z.dim() else 0) if rows is None else rows
            expected = (rows, task.width)
            if tuple(z.shape) != expected:
                raise ShapeError(
                    f"task {name!r}: logits have shape {expected}, found {tuple(z.shape)}; "
                    "are they another task's?"
                )
            expected_targets = expected[:1] if isinstance(task, MulticlassTask) else expected
            if tuple(t.shape) != expected_targets:
                raise ShapeError(
                    f"task {name!r}: targets have shape {expected_targets}, found {tuple(t.shape)}"
                )
            if isinstance(task, MulticlassTask) and t.dtype != torch.int64:
                raise AnnotationError(f"task {name!r}: class targets are int64, found {t.dtype}")

    def _check_extras(
        self,
        logits: Mapping[str, Tensor],
        soft: Mapping[str, Tensor],
        sample_weight: Mapping[str, Tensor],
        shares: Mapping[str, Tensor],
    ) -> None:
        for kind, given in (("soft targets", soft), ("shares", shares), ("sample weights", sample_weight)):
            for name, values in given.items():
                if name not in self.tasks:
                    raise UnknownNameError.of(f"task in the {kind}", name, self.tasks)
                _check_tensor(name, kind, values)
                z = logits[name]
                expected = tuple(z.shape[:1] if kind == "sample weights" else z.shape)
                if tuple(values.shape) != expected:
                    raise ShapeError(
                        f"task {name!r}: {kind} have shape {expected}, found {tuple(values.shape)}"
                    )

    def _check_values(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
        for name, task in self.tasks.items():
            if not bool(torch.isfinite(logits[name]).all()):
                raise NotFiniteError(f"task {name!r}: logits hold NaN or infinity")
            t = targets[name]
            if isinstance(task, MulticlassTask):
                wrong = (t < -1) | (t >= task.width)
            else:
                wrong = ~(torch.isnan(t) | (t == 0) | (t == 1))
            if bool(wrong.any()):
                task.encode(Encoded(t.detach()))  # raises, naming the row and the value

    def extra_repr(self) -> str:
        """Tasks and relations in the printed module."""
        return f"tasks={list(self.tasks)}, relations={list(self.relations)}"


def _shared(task: Task, targets: Tensor, shares: Tensor) -> Tensor:
    """What is known of each row: its shares, else its annotation as shares, else NaN."""
    if not isinstance(task, MulticlassTask):
        hard = targets if targets.is_floating_point() else targets.to(shares.dtype)
        return torch.where(torch.isnan(shares), hard, shares.to(hard.dtype))
    hard = torch.nn.functional.one_hot(targets.clamp(min=0), task.width).to(shares.dtype)
    hard = hard.masked_fill((targets < 0)[:, None], torch.nan)
    return torch.where(torch.isnan(shares).any(dim=1, keepdim=True), hard, shares)


def _as_tensors(
    given: Mapping[str, Tensor | Array], logits: Mapping[str, Tensor], dtype: Any = None
) -> Mapping[str, Tensor]:
    """Values whose NumPy arrays are tensors where the logits are; what cannot be one is refused later."""
    if not any(isinstance(values, np.ndarray) for values in given.values()):
        return given  # type: ignore[return-value]
    return {name: _as_tensor(values, logits.get(name), dtype) for name, values in given.items()}


def _as_tensor(values: Any, logits: Tensor | None, dtype: Any) -> Any:
    if not (isinstance(values, np.ndarray) and isinstance(logits, Tensor) and values.dtype.kind in NUMBERS):
        return values
    # Copied: torch takes neither reversed nor foreign byte orders, and warns of arrays that are read-only.
    if dtype is None:
        dtype = np.int64 if values.dtype.kind in "iu" else np.float32
    return torch.from_numpy(np.array(values, dtype=dtype, order="C")).to(logits.device)


def _check_tensor(task: str, kind: str, values: object) -> None:
    if isinstance(values, Tensor):
        return
    found, mend = type(values).__name__, "torch.as_tensor"
    if isinstance(values, np.ndarray):
        found = f"a NumPy array of {values.dtype}"
        mend = mend if values.dtype.kind in NUMBERS else "task.encode"
    raise AnnotationError(f"task {task!r}: {kind} are tensors, found {found}; use {mend}")


def _weighed(weight: float, loss: Tensor) -> Tensor:
    """Weight times loss, without a node in the graph where that changes nothing."""
    return loss if weight == 1.0 else weight * loss


def _sum(parts: Sequence[Tensor]) -> Tensor:
    # Stacking costs a small network more than a few additions; they give the same bits.
    if len(parts) <= FEW:
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total
    return torch.stack(list(parts)).sum()


def _check_extra_values(soft: Mapping[str, Tensor], sample_weight: Mapping[str, Tensor]) -> None:
    for name, values in soft.items():
        if bool(((values < 0) | (values > 1)).any()):
            raise RangeError(f"task {name!r}: soft targets lie in [0, 1] or are NaN (none)")
    for name, values in sample_weight.items():
        if not bool(((values >= 0) & torch.isfinite(values)).all()):
            raise RangeError(f"task {name!r}: sample weights are finite and >= 0")


def _pairs(
    relations: Mapping[str, Relation],
    couplings: Coupling | Sequence[Coupling] | Mapping[str, Coupling | Sequence[Coupling]],
) -> list[tuple[str, Coupling]]:
    if isinstance(couplings, Mapping):
        for name in couplings:
            if name not in relations:
                raise UnknownNameError.of("relation of a coupling", name, relations)
        pairs = [(name, coupling) for name, given in couplings.items() for coupling in _couplings(given)]
    else:
        couplings = _couplings(couplings)
        pairs = [
            (name, coupling)
            for coupling in couplings
            for name, relation in relations.items()
            if coupling.supports(relation)
        ]
        for coupling in couplings:
            if not any(coupling is used for _, used in pairs):
                raise ShapeError(
                    f"coupling {coupling.name!r} has no relation to work on; give relations=[...]"
                )
    return pairs


def _couplings(given: Any) -> list[Coupling]:
    """Couplings as they were listed; one alone is a list of one."""
    listed = [given] if isinstance(given, Coupling) else given
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        raise ShapeError(f"couplings are a list of couplings, found {given!r}; see make_couplings")
    listed = list(listed)
    for each in listed:
        if not isinstance(each, Coupling):
            raise ShapeError(f"couplings are a list of couplings, found {each!r} in it; see make_couplings")
    return listed


def _plain_settings(coupling: nn.Module) -> dict[str, Any]:
    """Numbers, names and switches that a coupling was made with."""
    return {
        name: value
        for name, value in vars(coupling).items()
        if not name.startswith("_")
        and name != "training"
        and isinstance(value, (str, int, float, type(None)))
    }


def _part_names(pairs: Sequence[tuple[str, Coupling]]) -> list[str]:
    names: list[str] = []
    for relation, coupling in pairs:
        name, number = f"{coupling.name}:{relation}", 2
        while name in names:
            name, number = f"{coupling.name}-{number}:{relation}", number + 1
        names.append(name)
    return names


def _weights(kind: str, given: Mapping[str, float] | None, names: Sequence[str]) -> dict[str, float]:
    weights = dict.fromkeys(names, 1.0)
    for name, weight in (given or {}).items():
        if name not in weights:
            raise UnknownNameError.of(f"task of a {kind} weight", name, names)
        if not 0 <= weight < float("inf"):
            raise RangeError(f"the {kind} weight of {name!r} is finite and >= 0, found {weight}")
        weights[name] = float(weight)
    return weights
