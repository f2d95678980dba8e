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

    A task of several relations is moved by each of them in turn, always by the other head itself.

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
        current = dict(probabilities)
        group = None if groups is None else group_of_rows(groups, len(next(iter(probabilities.values()))))
        with ExitStack() as anew:  # where one of them fails, none has changed
            for decoder in self.decoders:
                anew.enter_context(decoder._begun_anew())
                source, target = decoder.relation.source, decoder.relation.target
                p, q = probabilities[source.name], probabilities[target.name]
                y, a = Encoded(targets[source.name]), Encoded(targets[target.name])
                if target.annotated(targets[target.name]).any():
                    decoder._fit(p, current[target.name], None, a, groups=group)
                if source.annotated(targets[source.name]).any():
                    decoder._fit(current[source.name], q, y, None, groups=group)
                current = self._moved(decoder, probabilities, current)
        return self

    def decode(self, probabilities: ByTask) -> dict[str, Array]:
        """Better probabilities of all tasks: by task, (n, C) or (n, K)."""
        current = {name: np.asarray(values, dtype=np.float64) for name, values in probabilities.items()}
        for decoder in self.decoders:
            current = self._moved(decoder, probabilities, current)
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
    def _moved(decoder: JointDecoder, heads: ByTask, current: Mapping[str, Array]) -> dict[str, Array]:
        relation, out = decoder.relation, dict(current)
        source, target = relation.source.name, relation.target.name
        if decoder.target_strength:
            out[target] = decode_targets(heads[source], current[target], relation, decoder.target_strength)
        if decoder.class_strength:
            out[source] = decode_classes(current[source], heads[target], relation, decoder.class_strength)
        return out
