"""The problems that the benchmarks run on: features, two tasks, a relation, and how rows are drawn.

Open packs are read from the data root (`CONCORD_DATA`, or `../shared/data` beside the checkout); digits and
the synthetic faces need no files. Every problem has a training pool, from which a regime draws its
annotated rows, and test rows that nothing but the final comparison sees.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from concord import MulticlassTask, MultilabelTask, Relation, tables
from concord.tasks import Task

ROOT = Path(os.environ.get("CONCORD_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))
SEGMENTS = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")


@dataclass(frozen=True)
class Problem:
    """Features with both annotations, of which a regime hides most."""

    name: str
    x: np.ndarray
    y: np.ndarray
    a: np.ndarray
    relation: Relation
    train: np.ndarray
    test: np.ndarray
    scarce: int = 100
    rich: int = 1500
    balanced: int = 300
    source: np.ndarray | None = None  # 0: rows that can be annotated with a class, 1: with labels; None: all

    @property
    def tasks(self) -> list[Task]:
        """The class task and the label (or second class) task."""
        return [self.relation.source, self.relation.target]


@dataclass(frozen=True)
class Draw:
    """Annotated rows of one regime and seed: targets with gaps for `rows` of a problem."""

    rows: np.ndarray
    targets: dict[str, np.ndarray]


def regimes(problem: Problem) -> dict[str, tuple[int, int, int]]:
    """Rows annotated for the class alone, for the labels alone, and for both, by regime."""
    s, r, b = problem.scarce, problem.rich, problem.balanced
    return {
        "few-class": (s, r, 0),
        "few-label": (r, s, 0),
        "balanced": (b, b, 0),
        "partial": (b - b // 4, b - b // 4, b // 4),
        "full": (0, 0, r),
    }


def draw(problem: Problem, regime: str, seed: int) -> Draw:
    """Draw the rows of a regime; every class has a class-annotated row where the pool allows it."""
    n_class, n_label, n_both = regimes(problem)[regime]
    rng = np.random.default_rng([seed, 20_26])
    if problem.source is not None:
        return _draw_two(problem, n_class, n_label, rng)
    pool = rng.permutation(problem.train)
    first = _one_each(problem.y[pool], rng, problem.relation.source.width)
    pool = np.concatenate([pool[first], np.delete(pool, first)])
    total = min(n_class + n_label + n_both, len(pool))
    scale = total / (n_class + n_label + n_both)
    n_class, n_both = int(n_class * scale), int(n_both * scale)
    rows = pool[:total]
    order = np.arange(total)
    has_y = order < n_class + n_both
    has_a = (order >= n_class) | (order >= total)
    y = np.where(has_y, problem.y[rows], -1)
    if problem.relation.class_to_class:
        a = np.where(has_a, problem.a[rows], -1)
    else:
        a = np.where(has_a[:, None], problem.a[rows], np.nan)
    return Draw(rows, {problem.relation.source.name: y, problem.relation.target.name: a})


def _draw_two(problem: Problem, n_class: int, n_label: int, rng: np.random.Generator) -> Draw:
    """Class rows from one data set, label rows from the other: nothing overlaps."""
    assert problem.source is not None
    rows, parts = [], []
    for kind, n in ((0, n_class), (1, n_label)):
        pool = rng.permutation(problem.train[problem.source[problem.train] == kind])
        if kind == 0:
            first = _one_each(problem.y[pool], rng, problem.relation.source.width)
            pool = np.concatenate([pool[first], np.delete(pool, first)])
        rows.append(pool[:n])
        parts.append(np.full(len(pool[:n]), kind))
    index, kinds = np.concatenate(rows), np.concatenate(parts)
    return Draw(
        index,
        {
            problem.relation.source.name: np.where(kinds == 0, problem.y[index], -1),
            problem.relation.target.name: np.where((kinds == 1)[:, None], problem.a[index], np.nan),
        },
    )


def _one_each(y: np.ndarray, rng: np.random.Generator, classes: int) -> np.ndarray:
    found = [np.flatnonzero(y == c)[:2] for c in range(classes)]
    index = np.concatenate([f for f in found if len(f)])
    return rng.permutation(index)


def _sized(
    relation: Relation,
    x: np.ndarray,
    y: np.ndarray,
    a: np.ndarray,
    name: str,
    train: np.ndarray,
    test: np.ndarray,
    **sizes: int,
) -> Problem:
    mean, std = x[train].mean(axis=0), x[train].std(axis=0) + 1e-6
    x = np.clip((x - mean) / std, -6, 6).astype(np.float32)
    return Problem(name, x, y, a, relation, train, test, **sizes)


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
    return _sized(
        relation, x, y, table[y], "digits", order[800:], order[:800], scarce=50, rich=600, balanced=200
    )


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
    return _sized(relation, x, y, a, "synthetic", np.arange(6000), np.arange(6000, 8000))


def clothing10() -> Problem:
    """Photos of garments; attributes derived from the hand-written class table."""
    index = _csv("clothing10/index.csv.gz")
    x = np.load(ROOT / "clothing10/features.npz")["x"].astype(np.float32)
    y = index["class_id"].cast(pl.Int64).to_numpy()
    names = index.select("class_id", "class_name").unique().sort(pl.col("class_id").cast(pl.Int64))
    task = MulticlassTask("garment", names["class_name"].to_list())
    header = (ROOT / "clothing10/class_attribute.csv").read_text().splitlines()[0].split(",")[1:]
    relation = Relation.from_csv(
        task, MultilabelTask("attributes", header), ROOT / "clothing10/class_attribute.csv"
    )
    cell = relation.table[y]
    a = np.where(cell >= 0.9, 1.0, np.where(cell <= 0.1, 0.0, np.nan))
    train = np.flatnonzero((index["split"] != "test").to_numpy())
    test = np.flatnonzero((index["split"] == "test").to_numpy())
    return _sized(relation, x, y, a, "clothing10", train, test)


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
    return _sized(
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
    return _sized(
        relation,
        data["x"].astype(np.float32),
        y,
        data["y_attr"].astype(float),
        "goemotions",
        np.flatnonzero(keep & (split == "train")),
        np.flatnonzero(keep & (split == "test"))[:4000],
        scarce=150,
        rich=3000,
        balanced=600,
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
    return _sized(
        relation,
        x,
        y,
        a,
        "grocery81",
        np.flatnonzero(split != "test"),
        np.flatnonzero(split == "test"),
        scarce=240,
        rich=1500,
        balanced=500,
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
    return _sized(
        relation,
        x,
        task.encode(frame["family"].to_list()),
        a,
        "mushroom",
        np.flatnonzero(split == "train"),
        np.flatnonzero(split == "test"),
        scarce=115,
        rich=1500,
        balanced=300,
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
    return _sized(
        relation,
        x,
        y,
        a,
        "clinc150",
        np.flatnonzero(inside & (split == "train")),
        np.flatnonzero(inside & (split == "test")),
        scarce=450,
        rich=3000,
        balanced=900,
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
    return replace(given, name="digits_images", x=x)


def mnist_images() -> Problem:
    """Digits with measured shape attributes as images, 14 x 14 pixels (means of 2 x 2)."""
    given = mnist10k_shape()
    x = np.load(ROOT / "mnist10k_shape/data.npz")["x"].astype(np.float32) / 255
    x = x.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5))
    return replace(given, name="mnist_images", x=x, test=given.test[:1000], rich=1000)


def clothing_to_fmnist() -> Problem:
    """Two data sets: photos annotated with garments, grey thumbnails annotated with attributes.

    Photos are made grey, 28 x 28 pixels, inverted: the shift that is left is a real one. Classes are
    tested on photos, labels on thumbnails.
    """
    import io
    import zipfile

    from PIL import Image

    index = _csv("clothing10/index.csv.gz")
    photos = clothing10()
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
        MulticlassTask("article", names), photos.relation.target, ROOT / "fmnist900/class_attribute.csv"
    ).table[data["y"].astype(int)]
    labels = np.where(table >= 0.9, 1.0, np.where(table <= 0.1, 0.0, np.nan))
    n, m = len(images), len(thumbs)
    source = np.concatenate([np.zeros(n, int), np.ones(m, int)])
    a = np.concatenate([np.full((n, labels.shape[1]), np.nan), labels])
    y = np.concatenate([photos.y, np.full(m, -1)])
    split = data["split"]
    train = np.concatenate([photos.train, n + np.flatnonzero(split == "train")])
    test = np.concatenate([photos.test, n + np.flatnonzero(split == "test")])
    return Problem(
        "clothing_to_fmnist",
        x.astype(np.float32),
        y,
        a,
        photos.relation,
        train,
        test,
        scarce=100,
        rich=600,
        balanced=300,
        source=source,
    )


IMAGE_PROBLEMS: dict[str, Callable[[], Problem]] = {
    f.__name__: f for f in (digits_images, mnist_images, clothing_to_fmnist)
}


def shuffled(given: Problem) -> Problem:
    """A control: the labels of other rows. Nothing relates the tasks, and labels cannot be learned."""
    order = np.random.default_rng(31).permutation(len(given.a))
    return replace(given, a=given.a[order])


def nuisance(given: Problem) -> Problem:
    """A control: labels of a nuisance, which can be learned from features of its own.

    Sixteen features that are independent of everything else are added, and labels are the signs of random
    projections of them.
    """
    rng = np.random.default_rng(32)
    extra = rng.normal(size=(len(given.x), 16)).astype(np.float32)
    a = (extra @ rng.normal(size=(16, given.relation.target.width)) > 0).astype(float)
    return replace(given, x=np.concatenate([given.x, extra], axis=1), a=a)


def entangled(given: Problem) -> Problem:
    """A harder control: labels that live in the same features as the class, independent of it by themselves.

    Signs of random projections of the features after each class's mean is taken away: a head that knows the
    class badly sees labels depend on what it takes for the class.
    """
    rng = np.random.default_rng(33)
    residual = given.x.copy()
    for c in np.unique(given.y):
        residual[given.y == c] -= given.x[given.y == c].mean(axis=0)
    a = (residual @ rng.normal(size=(given.x.shape[1], given.relation.target.width)) > 0).astype(float)
    return replace(given, a=a)


CONTROLS: dict[str, Callable[[Problem], Problem]] = {f.__name__: f for f in (shuffled, nuisance, entangled)}


@cache
def problem(name: str) -> Problem:
    """A problem by name, loaded once; `NAME~shuffled`, `NAME~nuisance`, `NAME~entangled` are its controls."""
    base, _, control = name.partition("~")
    found = {**PROBLEMS, **IMAGE_PROBLEMS}[base]()
    return CONTROLS[control](found) if control else found


def observed(given: Problem) -> np.ndarray:
    """The relation as a table of counts over all training rows: what an estimate should find. (C, K)."""
    y, a = given.y[given.train], given.a[given.train]
    if given.relation.class_to_class:
        a = np.eye(given.relation.target.width)[a.astype(int)]
    out = np.full((given.relation.source.width, given.relation.target.width), np.nan)
    for c in np.unique(y[y >= 0]):
        rows = a[y == c]
        seen = (~np.isnan(rows)).sum(axis=0)
        out[c] = np.divide(np.nansum(rows, axis=0), seen, out=out[c], where=seen > 0)
    return given.relation.table if np.isnan(out).all() else out
