"""Joint decoding of all tasks through all relations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.arrays import group_of_rows
from concord.decoding.joint import JointDecoder, decode_classes, decode_targets, implied
from concord.errors import CheckpointError
from concord.relations import Relation
from concord.tasks import Encoded

Array = npt.NDArray[np.float64]
ByTask = Mapping[str, Array]


class Decoders:
    """One `JointDecoder` a relation.

    A task of several relations is moved by each of them in turn. Targets move classes by the other head
    itself. Classes move targets by what is known of them without any target: by their head, moved by
    relations that lead to them if these came before. So no prediction counts twice, and along a chain each
    task is told what the one before was decided to be.

    Args:
        relations: The relations; none leaves all predictions as they are.

    Attributes:
        decoders: One a relation, in its order, with its fitted strengths.
    """

    def __init__(self, relations: Sequence[Relation]) -> None:
        self.decoders = [JointDecoder(relation) for relation in relations]

    @property
    def relations(self) -> list[Relation]:
        """The relations, in order."""
        return [decoder.relation for decoder in self.decoders]

    def fit(
        self, probabilities: ByTask, targets: Mapping[str, npt.NDArray[Any]], groups: Any = None
    ) -> Decoders:
        """Fit all strengths on validation rows; a direction without annotated rows stays at 0.

        Args:
            probabilities: By task, (n, C) or (n, K), of rows that the network was not trained on.
            targets: By task, (n,) with -1 or (n, K) with NaN.
            groups: (n,) which rows belong together, as in `JointDecoder.fit`.
        """
        current, told = dict(probabilities), dict(probabilities)
        group = None if groups is None else group_of_rows(groups, len(next(iter(probabilities.values()))))
        with ExitStack() as anew:  # where one of them fails, none has changed
            for decoder in self.decoders:
                anew.enter_context(decoder._begun_anew())
                source, target = decoder.relation.source, decoder.relation.target
                p, q = told[source.name], probabilities[target.name]
                y, a = Encoded(targets[source.name]), Encoded(targets[target.name])
                if target.annotated(targets[target.name]).any():
                    decoder._fit(p, current[target.name], None, a, groups=group)
                if source.annotated(targets[source.name]).any():
                    decoder._fit(current[source.name], q, y, None, groups=group)
                current, told = self._moved(decoder, probabilities, current, told)
        return self

    def decode(self, probabilities: ByTask) -> dict[str, Array]:
        """Better probabilities of all tasks: by task, (n, C) or (n, K)."""
        current = {name: np.asarray(values, dtype=np.float64) for name, values in probabilities.items()}
        told = dict(current)
        for decoder in self.decoders:
            current, told = self._moved(decoder, probabilities, current, told)
        return current

    def disagreement(self, probabilities: ByTask) -> dict[str, Array]:
        """By relation, how far the target's head lies from what the class head implies: (n,) in [0, 1].

        Labels: mean absolute difference, weighted with the class mass that knows the label. Class to class:
        total variation distance.
        """
        out = {}
        for relation in self.relations:
            q = np.asarray(probabilities[relation.target.name], dtype=np.float64)
            suggestion, mass = implied(np.asarray(probabilities[relation.source.name], np.float64), relation)
            if relation.class_to_class:
                out[relation.name] = np.clip(np.abs(suggestion - q).sum(axis=1) / 2, 0, 1)
            else:
                total = mass.sum(axis=1)
                summed = (mass * np.abs(suggestion - q)).sum(axis=1)
                out[relation.name] = np.divide(summed, total, out=np.zeros(len(q)), where=total > 0)
        return out

    def strengths(self) -> dict[str, dict[str, float]]:
        """By relation, how much classes move targets (`target`) and targets move classes (`class`)."""
        return {
            decoder.relation.name: {
                "target": float(decoder.target_strength),
                "class": float(decoder.class_strength),
            }
            for decoder in self.decoders
        }

    def set_strengths(self, strengths: Mapping[str, Mapping[str, float]]) -> None:
        """Restore what `strengths` gave.

        Raises:
            CheckpointError: Strengths of other relations.
        """
        if set(strengths) != {relation.name for relation in self.relations}:
            raise CheckpointError(
                f"these are strengths of relations {', '.join(strengths)}, not of "
                f"{', '.join(relation.name for relation in self.relations)}"
            )
        for decoder in self.decoders:
            known = strengths[decoder.relation.name]
            decoder.target_strength, decoder.class_strength = known["target"], known["class"]

    @staticmethod
    def _moved(
        decoder: JointDecoder, heads: ByTask, current: ByTask, told: ByTask
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """What is moved by one relation more; and the same of heads that are moved as targets alone."""
        relation, strength = decoder.relation, decoder.target_strength
        source, target = relation.source.name, relation.target.name
        current, told = dict(current), dict(told)
        if strength:
            p, q, own = told[source], current[target], told[target]
            current[target] = decode_targets(p, q, relation, strength)
            told[target] = current[target] if own is q else decode_targets(p, own, relation, strength)
        if decoder.class_strength:
            moved = decode_classes(current[source], heads[target], relation, decoder.class_strength)
            current[source] = moved
        return current, told
