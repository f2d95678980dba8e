"""A coupling of one's own: a subclass with a loss, used in the objective like the built-in ones.

This one is the squared distance between what the class head implies for the labels, and what the label head
says. In the library such a class would be a file of its own in `src/concord/couplings/`.
"""

import torch

import concord as cc
from concord.couplings import Coupling, View


class SquaredMatching(Coupling):
    """Mean over samples of the squared distance of the two views, weighted by the known class mass."""

    def loss(self, view: View) -> torch.Tensor:
        """A scalar; every sample takes part, annotated or not."""
        q, _, mass = view.mixed()
        terms = (mass * (view.target_logits.sigmoid() - q) ** 2).mean(dim=-1)
        # The population is the batch, or the batches of all ranks; a plain mean would know one rank only.
        return self.population.mean(terms, torch.ones_like(terms))


def main() -> None:
    """Take 100 steps on free logits, and print how far the heads lie apart before and after."""
    relation = cc.tables.expressions()
    objective = cc.CoupledObjective(
        [relation.source, relation.target], relations=[relation], couplings=[SquaredMatching(weight=2.0)]
    )
    torch.manual_seed(0)
    logits = {
        "expression": torch.randn(8, relation.source.width, requires_grad=True),
        "action_units": torch.randn(8, relation.target.width, requires_grad=True),
    }
    targets = {
        "expression": torch.arange(8) % 7,
        "action_units": torch.full((8, relation.target.width), torch.nan),
    }
    optimiser = torch.optim.Adam(list(logits.values()), lr=0.1)
    part = "squared-matching:expression->action_units"
    before = objective(logits, targets).parts[part]
    for _ in range(100):
        optimiser.zero_grad()
        objective(logits, targets).loss.backward()
        optimiser.step()
    after = objective(logits, targets).parts[part]
    print(f"{part}: {before:.4f} -> {after:.4f}")


if __name__ == "__main__":
    main()
