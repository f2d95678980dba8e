"""The objective in a PyTorch loop of one's own: 30 rows with a class, 600 other rows with labels.

The lines that Concord adds to a plain loop are the relation, the objective, and the call of it.
"""

import numpy as np
import torch

import concord as cc

kind = cc.MulticlassTask("kind", ["cat", "dog", "owl"])
traits = cc.MultilabelTask("traits", ["purrs", "barks", "flies", "has_fur"])
relation = cc.Relation(
    kind,
    traits,
    [
        [0.9, 0.0, 0.0, 1.0],
        [0.0, 0.9, 0.0, 1.0],
        [0.0, 0.0, 0.8, 0.1],
    ],
)


def draw(n: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (n, 24) that tell something of both, classes (n,) and labels (n, 4)."""
    y = rng.integers(3, size=n)
    a = (rng.random((n, 4)) < relation.table[y]).astype(np.float32)
    directions = np.random.default_rng(7).normal(size=(7, 24))
    x = 0.4 * np.eye(3)[y] @ directions[:3] + 0.6 * a @ directions[3:] + rng.normal(size=(n, 24))
    return torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y), torch.as_tensor(a)


def train(
    objective: cc.CoupledObjective, x: torch.Tensor, targets: dict[str, torch.Tensor]
) -> torch.nn.Module:
    """A loop as one has it already; only the call of the objective is Concord's."""
    torch.manual_seed(0)
    network = cc.MultiTaskNetwork(cc.trunks.mlp(24, [64]), [kind, traits], x[:2])
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    classes, labels = torch.arange(30), torch.arange(30, len(x))
    for _ in range(300):
        # As many rows of each task in every step: the small table is not drowned by the large one.
        rows = torch.cat([classes[torch.randint(30, (16,))], labels[torch.randint(len(labels), (48,))]])
        result = objective(network(x[rows]), {name: values[rows] for name, values in targets.items()})
        optimiser.zero_grad()
        result.loss.backward()
        optimiser.step()
    return network.eval()


def main() -> None:
    """Train uncoupled and coupled on the same rows, and compare on rows that neither has seen."""
    rng = np.random.default_rng(0)
    x, y, a = draw(630, rng)
    y[30:], a[:30] = -1, torch.nan  # gaps: no row is annotated for both
    unseen_x, unseen_y, _ = draw(3000, rng)
    couplings = {
        "uncoupled": [],
        "coupled": [cc.couplings.PosteriorCoannotation(), cc.couplings.ClassToLabels(weight=0.3)],
    }
    for name, chosen in couplings.items():
        objective = cc.CoupledObjective([kind, traits], relations=[relation], couplings=chosen)
        network = train(objective, x, {"kind": y, "traits": a})
        with torch.no_grad():
            right = network(unseen_x)["kind"].argmax(dim=1) == unseen_y
        print(f"{name}: {right.float().mean():.3f} of the kinds right")


if __name__ == "__main__":
    main()
