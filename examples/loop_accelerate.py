"""The objective in a loop by accelerate: it prepares network, optimiser and batches, the loss stays.

It needs `pip install "concord-mtl[accelerate]"`.
"""

import numpy as np
import torch
from accelerate import Accelerator

import concord as cc

kind = cc.MulticlassTask("kind", ["cat", "dog", "owl"])
traits = cc.MultilabelTask("traits", ["purrs", "barks", "flies", "has_fur"])
table = [[0.9, 0.0, 0.0, 1.0], [0.0, 0.9, 0.0, 1.0], [0.0, 0.0, 0.8, 0.1]]
relation = cc.Relation(kind, traits, table)
couplings = [cc.couplings.PosteriorCoannotation(), cc.couplings.ClassToLabels(weight=0.3)]
objective = cc.CoupledObjective([kind, traits], relations=[relation], couplings=couplings)


class Animals(torch.utils.data.Dataset):
    """Rows with features (24,), of which the first `classed` have a kind and the others traits."""

    def __init__(self, n: int, classed: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        y = rng.integers(3, size=n)
        a = (rng.random((n, 4)) < np.array(table)[y]).astype(np.float32)
        directions = np.random.default_rng(7).normal(size=(7, 24))
        x = 0.4 * np.eye(3)[y] @ directions[:3] + 0.6 * a @ directions[3:] + rng.normal(size=(n, 24))
        y[classed:], a[:classed] = -1, np.nan  # gaps
        self.x = torch.as_tensor(x, dtype=torch.float32)
        self.y, self.a = torch.as_tensor(y), torch.as_tensor(a)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.x)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        """A row with both targets, gaps among them."""
        return {"x": self.x[i], "kind": self.y[i], "traits": self.a[i]}

    def balanced(self, batches: int, size: int) -> torch.utils.data.Sampler[int]:
        """An order in which both tasks have as many rows: a small table is not drowned by a large one."""
        classed = self.y >= 0
        weights = torch.where(classed, 1 / classed.sum(), 1 / (~classed).sum())
        return torch.utils.data.WeightedRandomSampler(weights, batches * size)


def right(network: torch.nn.Module) -> float:
    """Share of the kinds that are right on rows that were not trained on."""
    unseen = Animals(3000, 3000, seed=1)
    with torch.no_grad():
        guess = network.eval().cpu()(unseen.x)["kind"].argmax(dim=1)
    return float((guess == unseen.y).float().mean())


def main() -> None:
    """Train, and tell how many kinds are right."""
    torch.manual_seed(0)
    rows = Animals(630, 30, seed=0)
    loader = torch.utils.data.DataLoader(rows, 64, sampler=rows.balanced(300, 64))
    network = cc.MultiTaskNetwork(cc.trunks.mlp(24, [64]), [kind, traits], rows.x[:2])
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    accelerator = Accelerator(cpu=True)  # leave `cpu` out to train where accelerate is configured to
    network, optimiser, loader = accelerator.prepare(network, optimiser, loader)
    for batch in loader:
        result = objective(network(batch["x"]), {"kind": batch["kind"], "traits": batch["traits"]})
        optimiser.zero_grad()
        accelerator.backward(result.loss)
        optimiser.step()
    print(f"accelerate: {right(accelerator.unwrap_model(network)):.3f} of the kinds right")


if __name__ == "__main__":
    main()
