"""Images that two CSV files annotate, one with classes, one with labels, as mixed batches with gaps."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import concord as cc
from concord.data import Images, Mixture, Source, from_csv

SHAPES = ("beam", "post", "cross")
PARTS = ("across", "down")
EPOCHS = 12
TABLE = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]


def write(folder: Path, n: int, rng: np.random.Generator) -> None:
    """`n` images of 16 x 16, half of them in `shapes.csv`, half in `parts.csv`."""
    shapes, parts = ["path,shape"], ["path,across,down"]
    for i in range(n):
        c = int(rng.integers(3))
        across, down = c != 1, c != 0
        pixels = rng.integers(0, 60, size=(16, 16))
        pixels[7:9] += 150 * across
        pixels[:, 7:9] += 150 * down
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:03}.png")
        if i < n // 2:
            shapes.append(f"{i:03}.png,{SHAPES[c]}")
        else:
            parts.append(f"{i:03}.png,{int(across)},{int(down)}")
    (folder / "shapes.csv").write_text("\n".join(shapes) + "\n", encoding="utf-8")
    (folder / "parts.csv").write_text("\n".join(parts) + "\n", encoding="utf-8")


def main() -> None:
    """Read both files, train a small residual net on the mixture, and say how well it does on its rows."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write(folder, 160, np.random.default_rng(0))
        images = Images(root=folder, size=16)
        first = from_csv(folder / "shapes.csv", path_column="path", classes={"shape": SHAPES})
        second = from_csv(folder / "parts.csv", path_column="path", labels={"parts": PARTS})
        mixture = Mixture([Source(first, images), Source(second, images)], batch_size=32, share="equal")
        shape, parts = mixture.tasks
        network = cc.MultiTaskNetwork(
            cc.trunks.SmallResNet(width=8, stages=2), [shape, parts], torch.zeros(2, 3, 16, 16)
        )
        objective = cc.CoupledObjective(
            [shape, parts],
            relations=[cc.Relation(shape, parts, TABLE)],
            couplings=[cc.couplings.PosteriorCoannotation(0.5)],
        )
        optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
        for _ in range(EPOCHS):
            for batch in mixture:
                result = objective(network(batch.inputs), batch.targets)
                optimiser.zero_grad()
                result.loss.backward()
                optimiser.step()
        network.eval()
        right = known = 0
        with torch.no_grad():
            for batch in mixture:
                y = batch.targets["shape"]
                right += int(((network(batch.inputs)["shape"].argmax(dim=1) == y) & (y >= 0)).sum())
                known += int((y >= 0).sum())
    print(f"batches of {', '.join(mixture.names)}: {len(mixture)} an epoch")
    print(f"{right} of {known} annotated shapes right after {EPOCHS * len(mixture)} steps")


if __name__ == "__main__":
    main()
