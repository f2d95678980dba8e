"""The open packs as ordinary manifests: on small packs written here, and on the real ones where they lie."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from concord.data import read_manifest, write_manifest
from concord.data.inspection import inspect
from concord.data.manifest import Manifest
from concord.data.readers.pack import PACKS, pack_relation, pack_relations
from concord.data.registry import read
from concord.errors import ConcordError, DataFormatError, MissingDataError, UnknownNameError

PACK_ROOT = Path(os.environ.get("CONCORD_DATA", Path(__file__).parents[3] / "shared" / "data"))

SIZES = {
    "clothing10": (3781, {"garment": 10, "attributes": 15}),
    "fmnist900": (900, {"article": 10, "attributes": 15}),
    "grocery81": (5421, {"fine": 81, "coarse": 43, "attributes": 22}),
    "mnist10k_shape": (10000, {"digit": 10, "attributes": 10}),
    "goemotions": (54263, {"ekman": 7, "sentiment": 4, "emotions": 28}),
    "clinc150": (23700, {"domain": 10, "intent": 150}),
    "mushroom": (20760, {"family": 23, "species": 173, "attributes": 37}),
}
RELATIONS = {
    "clothing10": ["garment->attributes"],
    "fmnist900": ["article->attributes"],
    "grocery81": ["fine->coarse", "fine->attributes"],
    "mnist10k_shape": ["digit->attributes"],
    "goemotions": ["ekman->emotions", "sentiment->emotions"],
    "clinc150": ["intent->domain", "domain->intent"],
    "mushroom": ["family->attributes", "species->attributes", "species->family"],
}


def real(name: str) -> Path:
    if not (PACK_ROOT / name).is_dir():
        pytest.skip(f"no pack {name} in {PACK_ROOT}; set CONCORD_DATA to the folder that holds the packs")
    return PACK_ROOT / name


@pytest.fixture(scope="module")
def manifests() -> dict[str, Manifest]:
    return {}


@pytest.fixture(params=sorted(SIZES))
def pack(request: pytest.FixtureRequest, manifests: dict[str, Manifest]) -> Manifest:
    name = request.param
    if name not in manifests:
        manifests[name] = read("pack", real(name))
    return manifests[name]


def test_every_pack_is_tested() -> None:
    assert set(SIZES) == set(RELATIONS) == set(PACKS)


def test_sizes_and_tasks(pack: Manifest) -> None:
    rows, widths = SIZES[pack.name]
    assert len(pack) == rows
    assert {task.name: task.width for task in pack.tasks} == widths
    assert pack.frame["split"].null_count() == 0
    assert pack.frame["row"].to_list() == list(range(rows))
    assert set(pack.frame["half"]) == {0, 1}


def features_of(pack: Manifest) -> Any:
    """The features that come with a pack, as its README describes them: (n, d)."""
    for name in ("features.npz", "features_lsa.npz", "data.npz"):
        if (PACK_ROOT / pack.name / name).is_file():
            x = np.load(PACK_ROOT / pack.name / name)["x"]
            return x.reshape(len(x), -1).astype(np.float32)
    pytest.skip(f"{pack.name} comes without features")


def test_features_have_the_rows_of_the_manifest(pack: Manifest) -> None:
    features = features_of(pack)
    assert features.shape[0] == len(pack)
    assert np.isfinite(features).all()


def test_features_tell_the_classes_of_their_rows_apart(pack: Manifest) -> None:
    """Nearest class mean beats chance by far: rows and features are in the same order."""
    x, y = features_of(pack), pack.targets()[pack.tasks[0].name]
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-6)
    train = (pack.frame["split"] == "train").to_numpy() & (y >= 0)
    test = (pack.frame["split"] == "test").to_numpy() & (y >= 0)
    means = np.stack([x[train & (y == c)].mean(axis=0) for c in range(pack.tasks[0].width)])
    distance = (means**2).sum(axis=1) - 2 * x[test] @ means.T
    recall = [(distance[y[test] == c].argmin(axis=1) == c).mean() for c in np.unique(y[test])]
    assert np.mean(recall) > 1.5 / pack.tasks[0].width


def test_relations_fit_the_tasks(pack: Manifest) -> None:
    relations = pack_relations(PACK_ROOT / pack.name)
    assert list(relations) == RELATIONS[pack.name]
    for name, relation in relations.items():
        source, _, target = name.partition("->")
        assert relation.source == pack.task(source)
        assert relation.target == pack.task(target)
        assert relation.known.any(axis=1).all()
    assert pack_relation(PACK_ROOT / pack.name).name == RELATIONS[pack.name][0]


def test_relations_agree_with_the_rows(pack: Manifest) -> None:
    """Observed P(target | class) is high where the table says so."""
    targets = pack.targets()
    for relation in pack_relations(PACK_ROOT / pack.name).values():
        y, a = targets[relation.source.name], targets[relation.target.name]
        if a.ndim == 1:
            a = np.where(a[:, None] < 0, np.nan, np.eye(relation.target.width)[a])
        seen = [a[y == c] for c in range(relation.source.width)]
        observed = np.stack([np.nansum(s, axis=0) / np.maximum((~np.isnan(s)).sum(axis=0), 1) for s in seen])
        some = np.stack([(~np.isnan(s)).any(axis=0) for s in seen]) & relation.known
        share = relation.table / np.nanmax(relation.table)
        likely, unlikely = some & (share >= 0.6), some & (share <= 0.1)
        assert observed[likely].mean() > 5 * observed[unlikely].mean()


def test_nothing_is_missing_and_nothing_leaks(pack: Manifest) -> None:
    found = inspect(pack, files=True)
    assert found.missing == []
    assert not found.leaks.height


def test_round_trip(pack: Manifest, tmp_path: Path) -> None:
    write_manifest(pack, tmp_path / "m.parquet")
    again = read_manifest(tmp_path / "m.parquet")
    assert again.frame.equals(pack.frame)
    assert again.tasks == pack.tasks
    assert again.root == pack.root


def test_gaps_of_the_packs(pack: Manifest) -> None:
    gaps = {
        "clinc150": {"intent": 1200, "domain": 1200},
        "goemotions": {"ekman": 4794, "sentiment": 4200},
    }.get(pack.name, {})
    for task, target in pack.targets().items():
        if target.ndim == 1:
            assert (target < 0).sum() == gaps.get(task, 0)


def test_clothing_attributes_follow_the_sure_cells_only() -> None:
    root = real("clothing10")
    manifest, relation = read("pack", root), pack_relation(root)
    dress = manifest.frame.filter(pl.col("garment") == "dress").row(0, named=True)
    cells = dict(zip(relation.target.outputs, relation.table[0], strict=True))
    for label, p in cells.items():
        expected = 1 if p >= 0.9 else 0 if p <= 0.1 else None
        assert dress[f"attributes.{label}"] == expected
    assert dress["path"].startswith("images.zip/")


def test_unknown_names() -> None:
    root = real("clothing10")
    with pytest.raises(UnknownNameError, match="did you mean 'clothing10'"):
        read("pack", root, pack="clothing")
    with pytest.raises(UnknownNameError, match="did you mean 'garment->attributes'"):
        pack_relation(root, "garment->attribute")
    assert read("pack", root.parent, pack="clothing10").root == root


# -- packs written here ------------------------------------------------------------------------------

TABLE = "class_name,blue,round\ncar,0.95,0.5\nball,0.05,1\n"
INDEX = "file,class_id,class_name,split,half\n0.jpg,0,car,train,0\n1.jpg,1,ball,test,1\n"


def small(tmp_path: Path, name: str = "clothing10", **files: Any) -> Path:
    root = tmp_path / name
    root.mkdir()
    contents = {"index.csv.gz": gzip.compress(INDEX.encode()), "class_attribute.csv": TABLE, **files}
    for file, content in contents.items():
        if content is not None:
            (root / file).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def test_a_pack_written_here(tmp_path: Path) -> None:
    root = small(tmp_path)
    np.savez(root / "features.npz", x=np.ones((2, 3), dtype=np.float16))
    manifest = read("pack", root)
    np.testing.assert_array_equal(manifest.targets()["attributes"], [[1, np.nan], [0, 1]])
    assert manifest.frame["path"].to_list() == ["images.zip/0.jpg", "images.zip/1.jpg"]
    assert pack_relation(root).table.tolist() == [[0.95, 0.5], [0.05, 1]]


def test_a_pack_in_a_folder_of_another_name(tmp_path: Path) -> None:
    root = small(tmp_path).rename(tmp_path / "mine")
    with pytest.raises(UnknownNameError, match="unknown pack 'mine'"):
        read("pack", root)
    assert read("pack", root, pack="clothing10").name == "clothing10"


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        (
            {"index.csv.gz": None},
            MissingDataError,
            r"expected the file .*index\.csv\.gz, found class",
        ),
        ({"class_attribute.csv": None}, MissingDataError, "README of each pack"),
        ({"index.csv.gz": "plain"}, DataFormatError, r"index\.csv\.gz: not a gzipped file"),
        (
            {"index.csv.gz": gzip.compress(INDEX.replace(",half", ",part").encode())},
            DataFormatError,
            "'half'",
        ),
        ({"index.csv.gz": gzip.compress(INDEX.replace("ball", "bal").encode())}, ConcordError, "'bal'"),
        (
            {"index.csv.gz": gzip.compress(INDEX.replace("half\n", "half\n\n").encode())},
            DataFormatError,
            "a column 'half' of 0 and 1 is expected",  # its rows are those of the arrays
        ),
        ({"index.csv.gz": gzip.compress(INDEX[:-2].encode())}, ConcordError, "index"),
        ({"class_attribute.csv": TABLE.replace("0.95", "1.95")}, ConcordError, r"\[0, 1\]"),
    ],
)
def test_a_damaged_pack(tmp_path: Path, files: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read("pack", small(tmp_path, **files))


def test_damaged_arrays(tmp_path: Path) -> None:
    root = small(tmp_path, "fmnist900", **{"data.npz": "PK or not"})
    with pytest.raises(DataFormatError, match=r"data\.npz: an archive of plain arrays is expected"):
        read("pack", root)
    np.savez(root / "data.npz", x=np.array([{}], dtype=object))
    with pytest.raises(DataFormatError, match=r"data\.npz"):
        read("pack", root)
    np.savez(root / "data.npz", z=np.zeros(2))
    with pytest.raises(DataFormatError, match="an array 'x' is expected, found z"):
        read("pack", root)


def test_two_parents_are_an_error(tmp_path: Path) -> None:
    index = (
        "file,class_id,class_name,coarse_id,coarse_name,macro,split,half\n"
        "0.jpg,0,car,0,vehicle,Toy,train,0\n1.jpg,0,car,1,toy,Toy,train,1\n2.jpg,1,ball,1,toy,Toy,test,1\n"
    )
    classes = "class_name,class_id\ncar,0\nball,1\n"
    root = small(
        tmp_path, "grocery81", **{"index.csv.gz": gzip.compress(index.encode()), "classes.csv": classes}
    )
    with pytest.raises(DataFormatError, match="every fine belongs to one coarse"):
        pack_relations(root)


@pytest.mark.parametrize("changes", [{"y": np.array([0, 2])}, {"half": np.array([0])}, {"y": None}])
def test_arrays_that_do_not_belong_together(tmp_path: Path, changes: dict[str, Any]) -> None:
    root = small(tmp_path, "fmnist900")
    arrays = {
        "x": np.full((2, 28, 28), 255, dtype=np.uint8),
        "y": np.array([1, 0]),
        "split": np.array(["train", "test"]),
        "half": np.array([0, 1]),
        "class_names": np.array(["car", "ball"]),
    }
    np.savez(root / "data.npz", **arrays)
    assert read("pack", root).frame["article"].to_list() == ["ball", "car"]
    np.savez(root / "data.npz", **{k: v for k, v in (arrays | changes).items() if v is not None})
    with pytest.raises(DataFormatError, match=r"data\.npz: (x, y, split and half of one|an array 'y' is)"):
        read("pack", root)
