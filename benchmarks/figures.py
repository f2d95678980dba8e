"""Figures of the documentation, made from the library's own code: `python benchmarks/figures.py`.

Every figure is drawn from numbers that are computed here; nothing in them is drawn by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

import concord as cc
from concord.couplings import View, class_posterior

FOLDER = Path(__file__).parents[1] / "docs" / "figures"
BLUE, ORANGE, GREY, LIGHT = "#2b6cb0", "#c05621", "#555555", "#eeeeee"

mpl.rcParams.update({"svg.hashsalt": "concord", "svg.fonttype": "none", "font.size": 10})


def problem() -> Figure:
    """Two data sets with gaps, the table between their tasks, and one network for both."""
    kinds, traits = ["cat", "dog", "owl"], ["purrs", "barks", "flies"]
    table = np.array([[0.9, 0.0, 0.0], [0.0, 0.9, 0.0], [0.0, 0.0, 0.8]])
    rng = np.random.default_rng(1)
    y = rng.integers(3, size=8)
    a = (rng.random((8, 3)) < table[y]).astype(int)
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    for row in range(8):
        cells = [kinds[y[row]] if row < 3 else "?"] + [str(v) if row >= 3 else "?" for v in a[row]]
        for column, text in enumerate(cells):
            known = text != "?"
            face = LIGHT if not known else ("#d6e6f5" if column == 0 else "#f8dfcf")
            left.add_patch(mpl.patches.Rectangle((column, row), 0.94, 0.9, color=face))
            left.text(column + 0.47, row + 0.47, text, ha="center", va="center", color="k" if known else GREY)
    left.set(xlim=(-0.1, 4), ylim=(8.1, -0.2), title="what is annotated: no row has both")
    left.set_xticks(np.arange(4) + 0.47, ["kind", *traits])
    left.set_yticks([1.5, 5.5], ["first\ndata set", "second\ndata set"])
    left.xaxis.tick_top()
    right.imshow(table, cmap="Oranges", vmin=0, vmax=1)
    for row in range(3):
        for column in range(3):
            shade = "w" if table[row, column] > 0.6 else "k"
            right.text(column, row, f"{table[row, column]:g}", ha="center", va="center", color=shade)
    right.set(title="what is known: P(trait | kind)")
    right.set_xticks(range(3), traits)
    right.set_yticks(range(3), kinds)
    right.xaxis.tick_top()
    for axes in (left, right):
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _one_label(cell: float) -> cc.Relation:
    source, target = cc.MulticlassTask("kind", ["first", "second"]), cc.MultilabelTask("label", ["label"])
    return cc.Relation(source, target, [[cell], [0.0]])


def matching() -> Figure:
    """Where each form of matching sends the label head, by what the class head implies."""
    implied = np.linspace(0.02, 0.98, 25)
    said = torch.linspace(-4, 4, 81)
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    for form, style in (("class-mean", "-"), ("bernoulli", "--"), ("paper", ":")):
        coupling = cc.couplings.DistributionMatching(form)
        best = []
        for q in implied:
            relation = _one_label(float(q))
            losses = [
                float(
                    coupling(
                        {"kind": torch.tensor([[30.0, 0.0]]), "label": z.reshape(1, 1)},
                        {"kind": torch.tensor([-1]), "label": torch.tensor([[torch.nan]])},
                        relation,
                    )
                )
                for z in said
            ]
            best.append(float(said[int(np.argmin(losses))].sigmoid()))
        axes.plot(implied, best, style, label=form, color={"-": BLUE, "--": ORANGE, ":": GREY}[style])
    axes.set(
        xlabel="probability that the class head implies",
        ylabel="label probability of least loss",
        title="what matching pulls a label to",
    )
    axes.legend(frameon=False)
    return figure


def posterior() -> Figure:
    """How sure Bayes' rule becomes of a class as labels are seen, by the exponent."""
    most = 8
    labels = [f"label {k}" for k in range(most)]
    relation = cc.Relation(
        cc.MulticlassTask("kind", ["first", "second"]),
        cc.MultilabelTask("labels", labels),
        [[0.7] * most, [0.3] * most],
    )
    targets = torch.full((most + 1, most), torch.nan)
    for row in range(1, most + 1):
        targets[row, :row] = 1.0
    view = View(
        {"kind": torch.zeros(most + 1, 2), "labels": torch.zeros(most + 1, most)},
        {"kind": torch.full((most + 1,), -1), "labels": targets},
        relation,
    )
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    for exponent, colour in ((1.0, BLUE), (0.5, ORANGE), (0.2, GREY)):
        sure = class_posterior(view, exponent)[:, 0].numpy()
        axes.plot(range(most + 1), sure, "o-", color=colour, label=f"exponent {exponent:g}")
    axes.set(
        xlabel="labels seen, each .7 against .3",
        ylabel="P(first class | labels)",
        title="evidence adds up, as if labels were independent",
    )
    axes.legend(frameon=False)
    return figure


def population() -> Figure:
    """Loss of two label heads with the same mean: sample by sample matching wants no spread."""
    relation = _one_label(0.5)
    spread = np.linspace(0, 0.45, 19)
    n = 64
    targets = {"kind": torch.zeros(n, dtype=torch.int64), "label": torch.full((n, 1), torch.nan)}
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    couplings: tuple[tuple[str, Any, str], ...] = (
        ("matching, sample by sample", cc.couplings.DistributionMatching(), BLUE),
        ("population", cc.couplings.PopulationMatching(), ORANGE),
    )
    for name, coupling, colour in couplings:
        losses = []
        for s in spread:
            p = torch.tensor([0.5 - s, 0.5 + s]).repeat(n // 2).unsqueeze(1)
            logits = {"kind": torch.tensor([[30.0, 0.0]]).repeat(n, 1), "label": p.logit().float()}
            losses.append(float(coupling(logits, targets, relation)))
        axes.plot(spread, np.array(losses) - losses[0], color=colour, label=name)
    axes.set(
        xlabel="distance of the two halves of a class from its mean of .5",
        ylabel="loss above that of no spread",
        title="variation inside a class: forbidden, or left open",
    )
    axes.legend(frameon=False)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "problem": problem,
    "matching": matching,
    "posterior": posterior,
    "population": population,
}


def main(folder: Path = FOLDER) -> None:
    """Draw all figures into the folder, as SVG without dates."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        draw().savefig(folder / f"{name}.svg", metadata={"Date": None})
        print(f"drew {folder.name}/{name}.svg")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
