"""The problems that the benchmarks run on: features or images, two tasks, a relation, and sizes of regimes.

Open packs are read from the data root (`CONCORD_DATA`, or `../shared/data` beside the checkout); digits and
the synthetic faces need no files. A plan names them as `problems:NAME`, and a control, whose tasks are not
related, as `problems:NAME_shuffled`, `problems:NAME_nuisance` or `problems:NAME_entangled`.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from concord import MulticlassTask, MultilabelTask, Relation, tables
from concord.study import Problem

ROOT = Path(os.environ.get("CONCORD_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))
SEGMENTS = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")
VALIDATION = 300
SCARCE = ("few-class", "few-label")
"""Regimes in which one task has few rows."""
DEFAULT_SIZES = (100, 1500, 300)
SIZES = {
    "digits": (50, 600, 200),
    "digits_images": (50, 600, 200),
    "mnist_images": (100, 1000, 300),
    "clothing_to_fmnist": (100, 500, 250),
    "goemotions": (150, 3000, 600),
    "grocery81": (240, 1500, 500),
    "mushroom": (115, 1500, 300),
    "clinc150": (450, 3000, 900),
}
"""Annotated rows of a scarce and of a rich task, and of each where both have as many."""


def regimes(name: str) -> dict[str, dict[str, Any]]:
    """Rows annotated for the class (or first) task and for the other one, and their overlap, by regime."""
    scarce, rich, same = SIZES.get(name, DEFAULT_SIZES)
    return {
        "few-class": {"rows": (scarce, rich)},
        "few-label": {"rows": (rich, scarce)},
        "balanced": {"rows": (same, same)},
        "partial": {"rows": (same, same), "overlap": 0.25},
        "full": {"rows": (rich, rich), "overlap": 1.0},
    }


def _problem(
    relation: Relation,
    x: np.ndarray,
    y: np.ndarray,
    a: np.ndarray,
    name: str,
    train: np.ndarray,
    test: np.ndarray,
    *,
    standardise: bool = True,
) -> Problem:
    """A problem whose validation rows are taken from the training rows.

    Labels that no test row or fewer than two training rows show cannot be judged and are left out.
    """
    if not relation.class_to_class:
        shown = [(a[rows] == 1).sum(axis=0) for rows in (train, test)]
        relation, a = _of_labels(relation, a, (shown[0] > 1) & (shown[1] > 0))
    if standardise:
        mean, std = x[train].mean(axis=0), x[train].std(axis=0) + 1e-6
        x = np.clip((x - mean) / std, -6, 6).astype(np.float32)
    held = _validation(y, a, train)
    return Problem(
        name=name,
        tasks=(relation.source, relation.target),
        inputs=x,
        targets={relation.source.name: y, relation.target.name: a},
        splits={"train": np.setdiff1d(train, held), "val": held, "test": test},
        relations=(relation,),
    )


def _of_labels(relation: Relation, a: np.ndarray, keep: np.ndarray) -> tuple[Relation, np.ndarray]:
    if keep.all():
        return relation, a
    names = [label for label, kept in zip(relation.target.outputs, keep, strict=True) if kept]
    labels = MultilabelTask(relation.target.name, names)
    return Relation(relation.source, labels, relation.table[:, keep]), a[:, keep]


def _validation(y: np.ndarray, a: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Rows of the training pool, a row of each class and label among them."""
    pool = np.random.default_rng(3).permutation(train)
    columns = [y[pool] == c for c in np.unique(y[pool]) if c >= 0]
    columns += [a[pool] == c for c in np.unique(a[pool]) if c >= 0] if a.ndim == 1 else list(a[pool].T == 1)
    first = [pool[np.flatnonzero(column)[0]] for column in columns if column.any()]
    return np.unique(np.concatenate([first, pool[: VALIDATION - len(set(first))]]).astype(np.int64))


def _csv(name: str) -> pl.DataFrame:
    with gzip.open(ROOT / name) as file:
        return pl.read_csv(file.read(), infer_schema=False).fill_null("")


def digits() -> Problem:
    """scikit-learn's digits and the seven segments; labels follow from the class exactly."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    table = np.array([[float(s in on) for s in "abcdefg"] for on in SEGMENTS])
    relation = Relation(
        MulticlassTask("digit", range(10)), MultilabelTask("segments", list("abcdefg")), table
    )
    order = np.random.default_rng(7).permutation(len(x))
    return _problem(relation, x, y, table[y], "digits", order[800:], order[:800])


def synthetic() -> Problem:
    """Expressions and action units as in the probe: a ~ Bernoulli(.85 R + .03), 64 nonlinear features."""
    relation = tables.expressions()
    rng = np.random.default_rng(11)
    n = 8000
    y = rng.integers(0, 7, n)
    a = (rng.random((n, 17)) < 0.85 * relation.table[y] + 0.03).astype(float)
    z = a * rng.uniform(0.5, 1.5, (n, 17)) + 0.6 * rng.normal(size=(n, 17))
    w1, w2 = rng.normal(size=(17, 64)) / 4, rng.normal(size=(64, 64)) / 8
    x = np.tanh(np.tanh(z @ w1) @ w2) + 0.05 * rng.normal(size=(n, 64))
    return _problem(relation, x, y, a, "synthetic", np.arange(6000), np.arange(6000, 8000))


def _clothing_index() -> tuple[pl.DataFrame, Relation, np.ndarray, dict[str, np.ndarray]]:
    """Rows, relation, classes and splits of clothing10."""
    index = _csv("clothing10/index.csv.gz")
    names = index.select("class_id", "class_name").unique().sort(pl.col("class_id").cast(pl.Int64))
    task = MulticlassTask("garment", names["class_name"].to_list())
    header = (ROOT / "clothing10/class_attribute.csv").read_text().splitlines()[0].split(",")[1:]
    relation = Relation.from_csv(
        task, MultilabelTask("attributes", header), ROOT / "clothing10/class_attribute.csv"
    )
    held_out = (index["split"] == "test").to_numpy()
    splits = {"train": np.flatnonzero(~held_out), "test": np.flatnonzero(held_out)}
    return index, relation, index["class_id"].cast(pl.Int64).to_numpy(), splits


def clothing10() -> Problem:
    """Photos of garments; attributes derived from the hand-written class table."""
    _, relation, y, splits = _clothing_index()
    x = np.load(ROOT / "clothing10/features.npz")["x"].astype(np.float32)
    cell = relation.table[y]
    a = np.where(cell >= 0.9, 1.0, np.where(cell <= 0.1, 0.0, np.nan))
    return _problem(relation, x, y, a, "clothing10", splits["train"], splits["test"])


def mnist10k_shape() -> Problem:
    """Digits with shape attributes measured on each image: real labels, real disagreement with the table."""
    data = np.load(ROOT / "mnist10k_shape/data.npz")
    x = data["x"].reshape(len(data["x"]), -1).astype(np.float32) / 255
    split = data["split"]
    train, test = np.flatnonzero(split != "test"), np.flatnonzero(split == "test")
    mean = x[train].mean(axis=0)
    _, _, basis = np.linalg.svd(x[train][:3000] - mean, full_matrices=False)
    task = MulticlassTask("digit", range(10))
    labels = MultilabelTask("shape", [str(v) for v in data["attr_names"]])
    relation = Relation.from_csv(task, labels, ROOT / "mnist10k_shape/class_attribute.csv")
    return _problem(
        relation,
        (x - mean) @ basis[:64].T,
        data["y"].astype(int),
        data["attr"].astype(float),
        "mnist10k_shape",
        train,
        test,
    )


def goemotions() -> Problem:
    """Comments: Ekman class against 28 emotions, real labels, official 'may occur' mapping."""
    frame = _csv("goemotions/data.csv.gz")
    data = np.load(ROOT / "goemotions/features_lsa.npz")
    emotions = (ROOT / "goemotions/attribute_names.txt").read_text().split()
    classes = ["anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral"]
    task, labels = MulticlassTask("ekman", classes), MultilabelTask("emotions", emotions)
    relation = Relation.from_csv(task, labels, ROOT / "goemotions/class_attribute_ekman.csv")
    y = task.encode(frame["ekman"].to_list())
    keep = y >= 0
    split = frame["split"].to_numpy()
    return _problem(
        relation,
        data["x"].astype(np.float32),
        y,
        data["y_attr"].astype(float),
        "goemotions",
        np.flatnonzero(keep & (split == "train")),
        np.flatnonzero(keep & (split == "test"))[:4000],
    )


def grocery81() -> Problem:
    """Photos of groceries in 81 classes; attributes derived from a hand-written table with unknown cells."""
    index = _csv("grocery81/index.csv.gz")
    x = np.load(ROOT / "grocery81/features.npz")["x"].astype(np.float32)
    y = index["class_id"].cast(pl.Int64).to_numpy()
    names = index.select("class_id", "class_name").unique().sort(pl.col("class_id").cast(pl.Int64))
    task = MulticlassTask("item", names["class_name"].to_list())
    header = (ROOT / "grocery81/class_attribute.csv").read_text().splitlines()[0].split(",")[1:]
    relation = Relation.from_csv(
        task, MultilabelTask("attributes", header), ROOT / "grocery81/class_attribute.csv"
    )
    cell = relation.table[y]
    a = np.where(np.isnan(cell), np.nan, (cell >= 0.5).astype(float))
    split = index["split"].to_numpy()
    return _problem(
        relation,
        x,
        y,
        a,
        "grocery81",
        np.flatnonzero(split != "test"),
        np.flatnonzero(split == "test"),
    )


def mushroom() -> Problem:
    """Mushroom families against 37 field-guide traits."""
    frame = _csv("mushroom/data.csv.gz")
    numbers = ["cap-diameter", "stem-height", "stem-width"]
    letters = ["cap-shape", "cap-color", "cap-surface", "gill-color", "stem-color", "habitat", "season"]
    x = np.hstack(
        [np.log1p(frame.select(numbers).cast(pl.Float32, strict=False).fill_null(0).to_numpy())]
        + [frame.select(c).to_dummies().to_numpy().astype(np.float32) for c in letters]
    )
    columns = {
        "class": "class",
        "bruise": "does-bruise-or-bleed",
        "gill-attachment": "gill-attachment",
        "gill-spacing": "gill-spacing",
        "stem-surface": "stem-surface",
        "stem-root": "stem-root",
        "has-ring": "has-ring",
        "ring-type": "ring-type",
    }
    path = ROOT / "mushroom/class_attribute_family.csv"
    header = path.read_text().splitlines()[0].split(",")[2:]
    families = sorted(set(frame["family"].to_list()))
    task = MulticlassTask("family", families)
    wanted = [h for h in header if h.split("=")[0] in set(columns) | set(columns.values())]
    if len(wanted) > 37:
        wanted = [h for h in wanted if h != "class=e"]
    labels = MultilabelTask("traits", wanted)
    relation = Relation.from_csv(task, labels, path, extra="ignore")
    a = np.full((len(frame), len(wanted)), np.nan)
    for k, name in enumerate(wanted):
        column, value = name.split("=")
        cell = frame[columns.get(column, column)].to_numpy()
        a[:, k] = np.where(cell == "", np.nan, (cell == value).astype(float))
    split = frame["split"].to_numpy()
    return _problem(
        relation,
        x,
        task.encode(frame["family"].to_list()),
        a,
        "mushroom",
        np.flatnonzero(split == "train"),
        np.flatnonzero(split == "test"),
    )


def clinc150() -> Problem:
    """Queries: domain to intent, class to class."""
    frame = _csv("clinc150/data.csv.gz")
    x = np.load(ROOT / "clinc150/features_lsa.npz")["x"].astype(np.float32)
    path = ROOT / "clinc150/class_attribute.csv"
    lines = path.read_text().splitlines()
    domain = MulticlassTask("domain", [line.split(",")[0] for line in lines[1:]])
    intent = MulticlassTask("intent", lines[0].split(",")[1:])
    relation = Relation.from_csv(domain, intent, path, normalize=True)
    inside = frame["intent"].to_numpy() != "oos"
    y = np.full(len(frame), -1)
    a = np.full(len(frame), -1)
    y[inside] = domain.encode(frame["domain"].to_numpy()[inside].tolist())
    a[inside] = intent.encode(frame["intent"].to_numpy()[inside].tolist())
    split = frame["split"].to_numpy()
    return _problem(
        relation,
        x,
        y,
        a,
        "clinc150",
        np.flatnonzero(inside & (split == "train")),
        np.flatnonzero(inside & (split == "test")),
    )


PROBLEMS: dict[str, Callable[[], Problem]] = {
    f.__name__: f
    for f in (digits, synthetic, clothing10, mushroom, grocery81, mnist10k_shape, goemotions, clinc150)
}


def digits_images() -> Problem:
    """The digits as images of 8 x 8 pixels."""
    given = digits()
    from sklearn.datasets import load_digits

    x = (load_digits(return_X_y=True)[0].reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    return replace(given, name="digits_images", inputs=x)


def mnist_images() -> Problem:
    """Digits with measured shape attributes as images, 14 x 14 pixels (means of 2 x 2)."""
    given = mnist10k_shape()
    x = np.load(ROOT / "mnist10k_shape/data.npz")["x"].astype(np.float32) / 255
    x = x.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5))
    splits = {**given.splits, "test": given.splits["test"][:1000]}
    return replace(given, name="mnist_images", inputs=x, splits=splits)


def clothing_to_fmnist() -> Problem:
    """Two data sets: photos annotated with garments, grey thumbnails annotated with attributes.

    Photos are made grey, 28 x 28 pixels, inverted: the shift that is left is a real one. Classes are
    tested on photos, labels on thumbnails.
    """
    import io
    import zipfile

    from PIL import Image

    index, relation, classes, photos = _clothing_index()
    with zipfile.ZipFile(ROOT / "clothing10/images.zip") as archive:
        members = {Path(n).name: n for n in archive.namelist()}
        images = [
            np.asarray(
                Image.open(io.BytesIO(archive.read(members[name]))).convert("L").resize((28, 28)),
                dtype=np.float32,
            )
            for name in index["file"].to_list()
        ]
    data = np.load(ROOT / "fmnist900/data.npz")
    thumbs = data["x"].astype(np.float32)
    x = np.concatenate([255 - np.stack(images), thumbs])[:, None] / 255
    names = [str(n) for n in data["class_names"]]
    table = Relation.from_csv(
        MulticlassTask("article", names), relation.target, ROOT / "fmnist900/class_attribute.csv"
    ).table[data["y"].astype(int)]
    labels = np.where(table >= 0.9, 1.0, np.where(table <= 0.1, 0.0, np.nan))
    n, m = len(images), len(thumbs)
    a = np.concatenate([np.full((n, labels.shape[1]), np.nan), labels])
    y = np.concatenate([classes, np.full(m, -1)])
    split = data["split"]
    train = np.concatenate([photos["train"], n + np.flatnonzero(split == "train")])
    test = np.concatenate([photos["test"], n + np.flatnonzero(split == "test")])
    return _problem(
        relation, x.astype(np.float32), y, a, "clothing_to_fmnist", train, test, standardise=False
    )


IMAGE_PROBLEMS: dict[str, Callable[[], Problem]] = {
    f.__name__: f for f in (digits_images, mnist_images, clothing_to_fmnist)
}


# -- controls: tasks that are not related ----------------------------------------------------------------


def _with_labels(given: Problem, a: np.ndarray, inputs: np.ndarray | None = None) -> Problem:
    _, target = given.tasks
    targets = {**given.targets, target.name: a}
    return replace(given, targets=targets, inputs=given.inputs if inputs is None else inputs)


def shuffled(given: Problem) -> Problem:
    """The labels of other rows of the same split: nothing relates the tasks, and labels cannot be learned."""
    a = given.targets[given.tasks[1].name].copy()
    rng = np.random.default_rng(31)
    for rows in given.splits.values():
        a[rows] = a[rng.permutation(rows)]
    return _with_labels(given, a)


def nuisance(given: Problem) -> Problem:
    """Labels of a nuisance, which can be learned from features of its own.

    Sixteen features that are independent of everything else are added, and labels are the signs of random
    projections of them.
    """
    rng = np.random.default_rng(32)
    extra = rng.normal(size=(len(given.inputs), 16)).astype(np.float32)
    a = (extra @ rng.normal(size=(16, given.tasks[1].width)) > 0).astype(float)
    return _with_labels(given, a, np.concatenate([given.inputs, extra], axis=1))


def entangled(given: Problem) -> Problem:
    """Labels that live in the same features as the class, independent of it by themselves: harder to tell.

    Signs of random projections of the features after each class's mean is taken away: a head that knows the
    class badly sees labels depend on what it takes for the class.
    """
    rng = np.random.default_rng(33)
    y, residual = given.targets[given.tasks[0].name], given.inputs.copy()
    for c in np.unique(y):
        residual[y == c] -= given.inputs[y == c].mean(axis=0)
    a = (residual @ rng.normal(size=(residual.shape[1], given.tasks[1].width)) > 0).astype(float)
    return _with_labels(given, a)


CONTROLS: dict[str, Callable[[Problem], Problem]] = {f.__name__: f for f in (shuffled, nuisance, entangled)}


def _control(base: Callable[[], Problem], control: Callable[[Problem], Problem]) -> Problem:
    return control(base())


globals().update(
    {
        f"{name}_{kind}": partial(_control, base, control)
        for name, base in PROBLEMS.items()
        for kind, control in CONTROLS.items()
    }
)


def observed(given: Problem) -> np.ndarray:
    """The relation as a table of counts over all training rows: what an estimate should find. (C, K)."""
    source, target = given.tasks
    rows = given.splits["train"]
    y, a = given.targets[source.name][rows], given.targets[target.name][rows]
    table = given.relations[0].table
    if given.relations[0].class_to_class:
        a = np.eye(target.width)[a.astype(int)]
    out = np.full(table.shape, np.nan)
    for c in np.unique(y[y >= 0]):
        mine = a[y == c]
        seen = (~np.isnan(mine)).sum(axis=0)
        out[c] = np.divide(np.nansum(mine, axis=0), seen, out=out[c], where=seen > 0)
    return table if np.isnan(out).all() else out
