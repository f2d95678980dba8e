"""What all couplings share: the view of a batch through a relation.

A coupling is an `nn.Module` from logits, targets and a relation to a scalar. It computes in float32 at
least, whatever the autocast, has no data-dependent control flow (so it can be vectorised over models),
and treats gaps as gaps: what lies under one changes nothing.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from concord.couplings.cells import Cells, Structure
from concord.errors import RangeError, UnknownNameError
from concord.losses import Local, Population
from concord.relations import Relation, least_probability
from concord.tasks import MISSING_CLASS, Task

CLIP = 1e-6
"""Probabilities of targets are kept in [CLIP, 1 - CLIP] before their logarithm; see `clip`."""

LEAST_MASS = 1e-6
"""Least mass that a sum is divided by."""


def clip(task: Task) -> float:
    """Least probability of a target before its logarithm: `CLIP`, or less among thousands of classes.

    There `CLIP` for every class would add up to a share that counts.
    """
    return min(CLIP, least_probability(task))


@dataclass(frozen=True)
class RelationTensors:
    """A relation as tensors of one dtype on one device; unknown cells hold 0 in all of them.

    Of a sparse relation, tables are `Cells`, which share one structure.
    """

    present: Tensor | Cells  # (C, K) P(label = 1 | class)
    absent: Tensor | Cells  # (C, K) P(label = 0 | class)
    known: Tensor | Cells  # (C, K) 1 where known
    weight_present: Tensor | Cells  # (C, K) evidence of a present target: log R / base rate
    weight_absent: Tensor | Cells  # (C, K) evidence of an absent label: log (1 - R) / (1 - base rate); or 0
    log_prior: Tensor  # (C,)
    neutral: Tensor  # (C,) bool: a known row of zeros

    @cached_property
    def whole(self) -> bool:
        """Whether some cell of every class is known."""
        return bool((self.known.sum(dim=-1) > 0).all())


_cache: WeakKeyDictionary[Relation, dict[tuple[torch.device, torch.dtype], RelationTensors]] = (
    WeakKeyDictionary()
)


def relation_tensors(relation: Relation, like: Tensor) -> RelationTensors:
    """The relation as tensors of the dtype and device of `like`, made once for each."""
    made = _cache.setdefault(relation, {})
    key = (like.device, like.dtype)
    if key not in made:
        with torch.inference_mode(False):  # made while predicting, they must serve in training too
            made[key] = (_make_sparse if relation.sparse else _make)(relation, like)
    return made[key]


def _make(relation: Relation, like: Tensor) -> RelationTensors:
    table, known, evidence = np.nan_to_num(relation.table), relation.known, relation.evidence()

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=like.dtype, device=like.device)

    return RelationTensors(
        present=tensor(table),
        absent=tensor((1 - table) * known),
        known=tensor(known.astype(np.float64)),
        weight_present=tensor(evidence.on),
        weight_absent=tensor(np.zeros_like(table) if evidence.off is None else evidence.off),
        log_prior=tensor(_log_prior(relation)),
        neutral=torch.as_tensor(relation.neutral, device=like.device),
    )


def _make_sparse(relation: Relation, like: Tensor) -> RelationTensors:
    table, evidence = relation.table, relation.evidence()
    structure = Structure(
        torch.as_tensor(table.indptr.astype(np.int64), device=like.device),
        torch.as_tensor(table.indices.astype(np.int64), device=like.device),
        table.shape,
    )
    # Made here: what is made while predicting could not serve training.
    assert len(structure.rows) == table.nnz
    assert structure.blocks

    def tensor(values: np.ndarray) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device)

    def cells(values: np.ndarray, constant: np.ndarray | None = None) -> Cells:
        return Cells(tensor(values), structure, None if constant is None else tensor(constant))

    # From class to class a known row is 0 wherever it stores nothing, and so known there.
    rest = relation.known_rows.astype(np.float64) if relation.class_to_class else None
    stored = np.ones_like(table.data)
    return RelationTensors(
        present=cells(table.data),
        absent=cells(1 - table.data if rest is None else -table.data, rest),
        known=cells(stored if rest is None else 0 * stored, rest),
        weight_present=cells(evidence.on.data, None if rest is None else evidence.rest),
        weight_absent=cells(0 * stored if evidence.off is None else evidence.off.data),
        log_prior=tensor(_log_prior(relation)),
        neutral=torch.as_tensor(relation.neutral, device=like.device),
    )


def _log_prior(relation: Relation) -> np.ndarray:
    prior = np.maximum(relation.class_prior(), clip(relation.source))
    return np.log(prior / prior.sum())


class View:
    """One batch, seen through one relation. All tensors are float32 or wider.

    Args:
        logits: By task: (n, C) of the source, (n, K) of the target.
        targets: By task: (n,) class indices with -1, (n, K) labels with NaN.
        relation: The relation between the two.

    Raises:
        UnknownNameError: Logits or targets that lack one of the two tasks.
    """

    def __init__(
        self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor], relation: Relation
    ) -> None:
        source, target = relation.source.name, relation.target.name
        for name in (source, target):
            if name not in logits:
                raise UnknownNameError.of("task in the logits", name, logits)
            if name not in targets:
                raise UnknownNameError.of("task in the targets", name, targets)
        self.relation = relation
        dtype = torch.promote_types(logits[source].dtype, logits[target].dtype)
        self.source_logits = wide(logits[source].to(dtype))
        self.target_logits = wide(logits[target].to(dtype))
        self.source_targets = targets[source]
        self.target_targets = targets[target]
        self.tensors = relation_tensors(relation, self.source_logits)

    @cached_property
    def log_p(self) -> Tensor:
        """Log of the class distribution of the source head: (n, C)."""
        return functional.log_softmax(self.source_logits, dim=-1)

    @cached_property
    def p(self) -> Tensor:
        """Class distribution of the source head: (n, C)."""
        return self.log_p.exp()

    @cached_property
    def class_known(self) -> Tensor:
        """1.0 for samples annotated with a class of the source: (n,)."""
        return (self.source_targets != MISSING_CLASS).to(self.source_logits.dtype)

    @cached_property
    def seen(self) -> Tensor:
        """1.0 for annotated labels of the target (class to class: a whole row): (n, K)."""
        if self.relation.class_to_class:
            annotated = (self.target_targets != MISSING_CLASS).unsqueeze(-1)
            return annotated.to(self.target_logits.dtype).expand_as(self.target_logits)
        return (~torch.isnan(self.target_targets)).to(self.target_logits.dtype)

    @cached_property
    def active(self) -> Tensor:
        """1.0 for labels annotated as present (class to class: the one-hot class): (n, K)."""
        if self.relation.class_to_class:
            one_hot = functional.one_hot(self.target_targets.clamp(min=0), self.relation.target.width)
            return one_hot.to(self.target_logits.dtype) * self.seen
        return torch.nan_to_num(self.target_targets).to(self.target_logits.dtype)

    @cached_property
    def target_known(self) -> Tensor:
        """1.0 for samples with at least one annotation of the target: (n,)."""
        return self.seen.amax(dim=-1)

    @cached_property
    def informed(self) -> Tensor:
        """1.0 for samples with an annotated label that some class has a known cell for: (n,)."""
        return (self.seen * self.tensors.known.amax(dim=0)).amax(dim=-1)

    @cached_property
    def table_rows(self) -> tuple[Tensor, Tensor]:
        """Cells of each sample's annotated class, and which are known: twice (n, K); 0 without a class."""
        index = self.source_targets.clamp(min=0)
        known = self.tensors.known[index] * self.class_known.unsqueeze(-1)
        return self.tensors.present[index] * known, known

    def mixed(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the class head implies for the target: q, 1 - q (each clipped) and the known mass.

        Each has shape (n, K): q_k = sum_c p_c R_ck over known cells, divided by the class mass that has
        a known cell. The mass is a weight and has no gradient: with one, the class head could lower the
        loss by fleeing into classes that nobody knows. Products of probabilities need no log space: terms
        below the clip count the same.
        """
        mass = self.p @ self.tensors.known
        safe, least = mass.clamp(min=LEAST_MASS), clip(self.relation.target)
        q = (self.p @ self.tensors.present / safe).clamp(least, 1 - least)
        not_q = (self.p @ self.tensors.absent / safe).clamp(least, 1 - least)
        return q, not_q, mass.detach()

    def evidence(self) -> Tensor:
        """Log-likelihood of each class by the annotated labels, relative to base rates: (n, C).

        Unknown cells and gaps contribute 0: they are evidence neither for a class nor against it.
        """
        found = self.active @ self.tensors.weight_present.T
        if self.relation.class_to_class:
            return found
        return found + (self.seen - self.active) @ self.tensors.weight_absent.T


def wide(tensor: Tensor) -> Tensor:
    """The tensor as float32 at least."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


class Coupling(nn.Module, ABC):
    """A loss that ties the heads of two tasks through their relation. Abstract.

    Args:
        weight: Factor of this coupling in the objective, >= 0.

    Raises:
        RangeError: A negative or infinite weight.
    """

    #: Name of the coupling in parts and logs: its class's in kebab-case, unless the class gives another.
    name: str

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        given: Any = weight
        if not isinstance(given, Real) or not 0 <= weight < float("inf"):
            raise RangeError(f"{type(self).__name__}: a weight is finite and >= 0, found {weight}")
        self.weight: float = weight
        self.population: Population = Local()

    def forward(
        self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor], relation: Relation
    ) -> Tensor:
        """The unweighted loss: a scalar, float32 or wider; exactly 0 where no sample takes part.

        Args:
            logits: By task name, (n, C) and (n, K).
            targets: By task name, (n,) with -1 for gaps, and (n, K) with NaN (or (n,) class to class).
            relation: The relation between two of these tasks.
        """
        device = next(iter(logits.values())).device
        with torch.autocast(device.type, enabled=False):
            return self.loss(View(logits, targets, self.prepared(relation)))

    @abstractmethod
    def loss(self, view: View) -> Tensor:
        """The loss of one batch, seen through one relation."""

    def prepared(self, relation: Relation) -> Relation:
        """The relation as this coupling reads it."""
        return relation

    def begin(self) -> None:
        """Forget what was kept of earlier batches: a training begins that is resumed from nothing."""

    def supports(self, relation: Relation) -> bool:
        """Whether the coupling is defined for this kind of relation."""
        del relation
        return True

    def extra_repr(self) -> str:
        """Options in the printed module."""
        return f"weight={self.weight:g}"


def check_exponent(exponent: float) -> float:
    """Return an evidence exponent, or raise `RangeError` where it lies outside [0, 1]."""
    if not 0 <= exponent <= 1:
        raise RangeError(f"an evidence exponent lies in [0, 1], found {exponent}")
    return float(exponent)
