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
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import concord as cc
from concord.couplings import View, class_posterior, hard_classes, hard_labels, indicator_scores, soft_classes

FOLDER = Path(__file__).parents[1] / "docs" / "figures"
BLUE, ORANGE, GREY, LIGHT = "#2b6cb0", "#c05621", "#555555", "#eeeeee"

mpl.rcParams.update({"svg.hashsalt": "concord", "svg.fonttype": "none", "font.size": 10})


KNOWN_CLASS, KNOWN_LABEL, FILLED = "#d6e6f5", "#f8dfcf", "#c6e6c8"


def _cells(axes: Axes, texts: list[list[str]], colours: list[list[str]], columns: list[str]) -> None:
    """A table of coloured cells; a cell that nobody knows is a question mark."""
    for row, (line, faces) in enumerate(zip(texts, colours, strict=True)):
        for column, (text, face) in enumerate(zip(line, faces, strict=True)):
            axes.add_patch(mpl.patches.Rectangle((column, row), 0.94, 0.9, color=face))
            colour = GREY if text == "?" else "k"
            axes.text(column + 0.47, row + 0.47, text, ha="center", va="center", color=colour)
    axes.set(xlim=(-0.1, len(columns)), ylim=(len(texts) + 0.1, -0.2))
    axes.set_xticks(np.arange(len(columns)) + 0.47, columns)
    axes.set_yticks([])
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _heat(axes: Axes, table: np.ndarray, rows: list[str], columns: list[str]) -> None:
    axes.imshow(table, cmap="Oranges", vmin=0, vmax=1)
    for row, column in np.ndindex(*table.shape):
        shade = "w" if table[row, column] > 0.6 else "k"
        axes.text(column, row, f"{table[row, column]:g}", ha="center", va="center", color=shade)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    _bare(axes)


def problem() -> Figure:
    """Two data sets with gaps, the table between their tasks, and one network for both."""
    kinds, traits = ["cat", "dog", "owl"], ["purrs", "barks", "flies"]
    table = np.array([[0.9, 0.0, 0.0], [0.0, 0.9, 0.0], [0.0, 0.0, 0.8]])
    rng = np.random.default_rng(1)
    y = rng.integers(3, size=8)
    a = (rng.random((8, 3)) < table[y]).astype(int)
    figure = Figure(figsize=(5.4, 5.6), layout="constrained")
    (top, bottom) = figure.subfigures(2, 1, height_ratios=[5, 4])
    upper = top.subplots()
    texts = [
        [kinds[y[row]] if row < 3 else "?"] + [str(v) if row >= 3 else "?" for v in a[row]]
        for row in range(8)
    ]
    colours = [
        [
            LIGHT if text == "?" else (KNOWN_LABEL if column else KNOWN_CLASS)
            for column, text in enumerate(line)
        ]
        for line in texts
    ]
    _cells(upper, texts, colours, ["kind", *traits])
    upper.set(title="annotated: no row has both")
    upper.set_yticks([1.5, 5.5], ["first\ndata set", "second\ndata set"])
    left, right = bottom.subplots(1, 2, width_ratios=[5, 6])
    _heat(left, table, kinds, traits)
    left.set(title="known: P(trait | kind)")
    _network(right)
    return figure


def _network(axes: Axes) -> None:
    """A trunk with two heads, which the table ties."""
    boxes = {
        "one network": (2.0, 0.4, LIGHT),
        "kind": (0.8, 2.2, KNOWN_CLASS),
        "traits": (3.2, 2.2, KNOWN_LABEL),
    }
    for text, (x, y, face) in boxes.items():
        axes.text(
            x, y, text, ha="center", va="center", bbox={"boxstyle": "round,pad=.5", "fc": face, "ec": "none"}
        )
    for x in (0.8, 3.2):
        axes.annotate("", (x, 1.85), (2.0, 0.75), arrowprops={"arrowstyle": "-|>", "color": GREY})
    axes.annotate("", (2.55, 2.2), (1.35, 2.2), arrowprops={"arrowstyle": "<|-|>", "color": ORANGE, "lw": 2})
    axes.text(2.0, 2.75, "tied by the table", ha="center", va="center", color=ORANGE)
    axes.set(xlim=(-0.1, 4.1), ylim=(-0.1, 3.2), title="trained together")
    axes.axis("off")


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
            losses = torch.vmap(
                lambda z, relation=relation, coupling=coupling: coupling(
                    {"kind": torch.tensor([[30.0, 0.0]]), "label": z.reshape(1, 1)},
                    {"kind": torch.tensor([-1]), "label": torch.tensor([[torch.nan]])},
                    relation,
                )
            )(said)
            best.append(float(said[int(losses.argmin())].sigmoid()))
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


def class_to_labels() -> Figure:
    """What it costs to be right about each sample, where the class alone is the target."""
    cells = np.linspace(0.01, 0.99, 50)
    n, sure = 200, 3.0  # logits of plus or minus 3: labels known to 95 %
    targets = {"kind": torch.zeros(n, dtype=torch.int64), "label": torch.full((n, 1), torch.nan)}
    coupling = cc.couplings.ClassToLabels()
    right, flat = [], []
    for cell in cells:
        relation = _one_label(float(cell))
        present = torch.arange(n) < round(cell * n)
        heads = {"right": torch.where(present, sure, -sure), "flat": torch.full((n,), cell).logit().float()}
        losses = {
            name: float(coupling({"kind": torch.zeros(n, 2), "label": z[:, None]}, targets, relation))
            for name, z in heads.items()
        }
        right.append(losses["right"])
        flat.append(losses["flat"])
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(cells, right, color=BLUE, label="head that knows each sample, to 95 %")
    axes.plot(cells, flat, color=ORANGE, label="head that says the cell of every sample")
    axes.fill_between(cells, flat, right, color=LIGHT)
    axes.set(
        xlabel="cell of the table: share of the class with the label",
        ylabel="loss of class to labels",
        title="what knowing more than the class costs",
        ylim=(0, 2.2),
    )
    axes.legend(frameon=False, loc="upper left")
    return figure


def marginal() -> Figure:
    """How hard each coupling pushes the class head, by what the head says already."""
    relation = cc.Relation(
        cc.MulticlassTask("kind", ["first", "second"]), cc.MultilabelTask("label", ["label"]), [[0.9], [0.1]]
    )
    said = torch.linspace(0.005, 0.995, 100)
    targets = {"kind": torch.full((len(said),), -1), "label": torch.ones(len(said), 1)}
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    couplings: tuple[tuple[str, Any, str], ...] = (
        ("posterior co-annotation", cc.couplings.PosteriorCoannotation(), ORANGE),
        ("marginal likelihood", cc.couplings.MarginalLikelihood(), BLUE),
    )
    for name, coupling, colour in couplings:
        logits = torch.stack([said.logit(), torch.zeros(len(said))], dim=1).requires_grad_()
        loss = coupling({"kind": logits, "label": torch.zeros(len(said), 1)}, targets, relation)
        (gradient,) = torch.autograd.grad(loss * len(said), logits)
        axes.plot(said, -gradient[:, 0], color=colour, label=name)
    axes.axhline(0, color=GREY, lw=0.8)
    axes.set(
        xlabel="what the class head says of the class that the label speaks for",
        ylabel="push on its logit",
        title="one label, .9 against .1: who listens to it",
    )
    axes.legend(frameon=False)
    return figure


def soft_coannotation() -> Figure:
    """A class of one label against a class of four of which three are there."""
    classes = ["few: A", "many: A B C D", "no label"]
    table = np.array([[0.9, 0.05, 0.05, 0.05], [0.9, 0.9, 0.9, 0.9], [0.0, 0.0, 0.0, 0.0]])
    relation = cc.Relation(
        cc.MulticlassTask("kind", classes), cc.MultilabelTask("labels", list("ABCD")), table
    )
    view = View(
        {"kind": torch.zeros(1, 3), "labels": torch.zeros(1, 4)},
        {"kind": torch.tensor([-1]), "labels": torch.tensor([[1.0, 1.0, 1.0, 0.0]])},
        relation,
    )
    scores = indicator_scores(view)[0][0]
    bars = (
        ("score", scores, GREY),
        ("soft target", soft_classes(view)[0][0].exp(), BLUE),
        ("Bayes' rule", class_posterior(view)[0], ORANGE),
    )
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    for i, (name, values, colour) in enumerate(bars):
        axes.bar(np.arange(3) + 0.27 * (i - 1), values.numpy(), 0.25, color=colour, label=name)
    axes.set_xticks(range(3), classes)
    axes.set(ylim=(0, 1.35), title="a sample with A, B and C, without D")
    axes.legend(frameon=False, ncols=3, loc="upper center")
    return figure


def hard_coannotation() -> Figure:
    """What is written into the gaps of six rows, and what stays open."""
    kinds, traits = ["cat", "dog", "owl"], ["purrs", "barks", "flies", "tail"]
    table = np.array([[1, 0, 0, 0.7], [0, 1, 0, 0.8], [0, 0, 1, 0]])
    relation = cc.Relation(cc.MulticlassTask("kind", kinds), cc.MultilabelTask("traits", traits), table)
    gap = [torch.nan] * 4
    y = torch.tensor([0, 2, -1, -1, -1, -1])
    a = torch.tensor(
        [gap, gap, [1, 0, 0, 1], [0, 0, 0, 1], [1, 1, 0, 1], [torch.nan, torch.nan, 1, 0]],
        dtype=torch.float32,
    )
    view = View({"kind": torch.zeros(6, 3), "traits": torch.zeros(6, 4)}, {"kind": y, "traits": a}, relation)
    weights = hard_labels(view)
    index, given = hard_classes(view)
    texts, colours = [], []
    for row in range(6):
        known = int(y[row]) >= 0
        filled = bool(given[row])
        line = [kinds[y[row]] if known else kinds[index[row]] if filled else "?"]
        faces = [KNOWN_CLASS if known else FILLED if filled else LIGHT]
        for label, weight in zip(a[row], weights[row], strict=True):
            seen, written = not bool(label.isnan()), float(weight) > 0
            line.append(
                f"{label:.0f}" if seen else f"1 (x {weight:g})" if 0 < weight < 1 else "1" if written else "?"
            )
            faces.append(KNOWN_LABEL if seen else FILLED if written else LIGHT)
        texts.append(line)
        colours.append(faces)
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[2, 3])
    _heat(upper, table, kinds, traits)
    upper.set_aspect("auto")
    upper.set(title="table")
    _cells(lower, texts, colours, ["kind", *traits])
    lower.set(title="annotated, and in green what the table adds")
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "problem": problem,
    "matching": matching,
    "posterior": posterior,
    "population": population,
    "class-to-labels": class_to_labels,
    "marginal": marginal,
    "soft-coannotation": soft_coannotation,
    "hard-coannotation": hard_coannotation,
}


def main(folder: Path = FOLDER) -> None:
    """Draw all figures into the folder, as SVG without dates."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        draw().savefig(folder / f"{name}.svg", metadata={"Date": None})
        print(f"drew {folder.name}/{name}.svg")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
