"""How much training `auto` may spend."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Effort:
    """How much training `auto` may spend.

    Attributes:
        folds: Number of folds of the cross-validation; 1 where one part of the rows is held out until the
            others have chosen, and the chosen networks then go on with all rows.
        share: Steps of a fold's network, as a share of the final one's.
        caution: What a user should know before relying on it; empty where nothing.
        on_features: Whether networks of folds are heads on frozen features of the trunk (`Learner.frozen`).
    """

    folds: int
    share: float
    caution: str = ""
    on_features: bool = False

    @property
    def holds_out(self) -> bool:
        """Whether one part of the rows is held out, in place of folds."""
        return self.folds == 1

    @property
    def final_share(self) -> float:
        """Share of the steps that what was chosen is trained for in the end, on all rows.

        All of them where it is trained anew, with a hold-out those that it has not had yet.
        """
        return 1.0 - self.share if self.holds_out else 1.0

    def for_steps(self, steps: int) -> Effort:
        """The same with `FOLD_STEPS` for the networks of folds where a share of `steps` were fewer, or all.

        A network that has hardly begun to learn does not show what it would be worth in the end. Fewer than
        600 (fast) or 334 (standard) steps in all therefore cost more than the usual.
        """
        # Heads have steps of their own; after a hold-out some must be left to learn the held-out rows.
        if self.on_features or self.holds_out:
            return self
        return replace(self, share=min(1.0, max(self.share, FOLD_STEPS / steps)))

    def cost(self, families: int = 3) -> float:
        """Training cost at most of two tasks, with the pair of single-task models as 1.

        The folds of each family, then the final networks: two shared ones and one of a single task; with more
        tasks up to half a pair more. With a hold-out no family is trained for more than all steps. Heads on
        features count with the features.
        """
        if self.on_features:
            return families * ON_FEATURES
        return self.folds * self.share * families + (self.final_share * families if self.holds_out else 2.5)


FOLD_STEPS = 150
"""Steps below which a fold's network is not taken for a sample of the final one."""


ON_FEATURES = 1.3
"""Cost of a training that heads on frozen features chose, with itself as 1."""


EFFORTS = {
    "fast": Effort(2, 0.25),
    "standard": Effort(4, 0.45),
    "thorough": Effort(8, 1.0),
    "holdout": Effort(
        1,
        0.6,
        "effort holdout: experimental; on small data it gains less and harms more often than effort standard",
    ),
    "probe": Effort(
        4,
        0.5,
        "effort probe: experimental; in four draws it kept half of what effort standard gains",
        on_features=True,
    ),
}
"""Efforts by name: at most 4.0, 7.9, 26.5, 3.0, 3.9 pairs of single-task models; see `Effort.for_steps`."""


IN_FOLDS = tuple(name for name, effort in EFFORTS.items() if not effort.holds_out and not effort.on_features)
"""Efforts that predict every row by a network which has not seen it."""
