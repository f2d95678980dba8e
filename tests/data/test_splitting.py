"""New splits: groups whole, shares kept, the same for the same seed."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from concord import MulticlassTask, MultilabelTask
from concord.data import group_codes, stack
from concord.data.manifest import Manifest
from concord.data.splitting import resplit, sample_keys, split_shares
from concord.errors import ConcordWarning, ConfigError, UnknownNameError

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
KIND = MulticlassTask("kind", ["a", "b", "rare"])
TRAITS = MultilabelTask("traits", ["x", "y"])


def subjects(groups: int, seed: int = 0, rows: int = 20) -> Manifest:
    """Groups of different sizes in which one class is usual."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {c: [] for c in ("path", "group", "kind", "traits.x", "traits.y")}
    for g in range(groups):
        usual = rng.choice(["a", "b", "rare"], p=[0.6, 0.3, 0.1])
        for i in range(int(rng.integers(1, rows))):
            columns["path"].append(f"{g}/{i}.png")
            columns["group"].append(f"s{g}")
            columns["kind"].append(usual if rng.random() < 0.8 else None)
            columns["traits.x"].append(int(rng.random() < 0.2))
            columns["traits.y"].append(int(rng.random() < 0.5) if rng.random() < 0.5 else None)
    return Manifest(pl.DataFrame(columns), (KIND, TRAITS), name="subjects")


def single(rows: int) -> Manifest:
    kinds = np.random.default_rng(0).choice(["a", "b", "rare"], rows, p=[0.7, 0.25, 0.05])
    return Manifest(pl.DataFrame({"row": range(rows), "kind": kinds}), (KIND,))


@given(strategies.manifests(most_rows=30), st.integers(0, 3), st.booleans())
def test_groups_are_never_cut(drawn: Manifest, seed: int, stratified: bool) -> None:
    shares = {"train": 0.5, "test": 0.5}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConcordWarning)  # few groups cannot always have every label twice
            done = resplit(drawn, shares, stratify=["kind", "traits"] if stratified else (), seed=seed)
    except ConfigError as error:
        assert "cannot be split into 2 parts" in str(error)  # noqa: PT017
        assert len(np.unique(sample_keys(drawn))) < 2
        return
    split = done.frame.select("group", "split")
    assert split["split"].null_count() == 0
    assert set(split["split"]) == {"train", "test"}
    of_group = split.drop_nulls("group").group_by("group").agg(pl.col("split").n_unique())
    assert (of_group["split"] == 1).all()
    assert done.frame.drop("split").equals(drawn.frame.drop("split"))


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    whole = subjects(60)
    first, again, other = (resplit(whole, SHARES, stratify="kind", seed=s).frame["split"] for s in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_single_rows_get_exactly_their_share_of_every_class() -> None:
    done = resplit(single(1000), SHARES, stratify="kind")
    counts = done.frame.group_by("kind", "split").len()
    for kind, split, n in counts.iter_rows():
        want = SHARES[split] * (done.frame["kind"] == kind).sum()
        assert abs(n - want) <= 1
    assert done.frame["split"].value_counts().sort("split")["count"].to_list() == [700, 100, 200]


def test_without_stratification_shares_are_exact() -> None:
    done = resplit(single(1000), {"train": 3, "test": 1})
    assert done.frame["split"].value_counts().sort("split")["count"].to_list() == [750, 250]


def test_groups_are_balanced_better_than_by_chance() -> None:
    whole = subjects(150)
    done = resplit(whole, SHARES, stratify=["kind", "traits"])
    reached = split_shares(done, ["kind", "traits"])
    for split, share in SHARES.items():
        deviation = (reached[split] - share).abs()
        assert deviation.max() < 0.05  # at random, the rare class deviates by .1 and more
    assert reached["what"].to_list()[:3] == ["rows", "groups", "kind = a"]
    assert reached.row(0)[1] == len(whole)


def test_every_split_gets_a_group() -> None:
    done = resplit(subjects(3), {"train": 0.98, "val": 0.01, "test": 0.01})
    assert done.frame["split"].n_unique() == 3


@pytest.mark.parametrize("seed", range(5))
def test_a_video_in_two_sources_is_not_cut(seed: int) -> None:
    frame = pl.DataFrame(
        {
            "row": range(12),
            "group": [f"v{i % 3}" for i in range(12)],
            "source": ["a"] * 6 + ["b"] * 6,
        }
    )
    done = resplit(Manifest(frame, ()), {"train": 1, "test": 1}, seed=seed)
    of_group = done.frame.group_by("group").agg(pl.col("split").n_unique())
    assert of_group["split"].to_list() == [1, 1, 1]
    assert split_shares(done).filter(pl.col("what") == "groups")["n"].item() == 3


def test_what_a_split_keeps_whole_is_what_folds_keep_whole() -> None:
    names = ["x", "y", None, "x", None, "y"]
    parts = [
        Manifest(pl.DataFrame({"row": range(3), "group": names[i : i + 3]}), (), name=str(i)) for i in (0, 3)
    ]
    codes = group_codes(parts)
    keys = sample_keys(stack(parts))
    assert codes is not None
    assert ((codes[:, None] == codes) == (keys[:, None] == keys)).all()


def test_a_path_in_several_rows_stays_together() -> None:
    frame = pl.DataFrame({"path": [f"{i // 2}.png" for i in range(40)]})
    done = resplit(Manifest(frame, ()), {"train": 1, "test": 1}, by_group=False).frame
    assert (done.group_by("path").agg(pl.col("split").n_unique())["split"] == 1).all()


def of_several(rows: int, most: int) -> st.SearchStrategy[list[int | None]]:
    return st.lists(st.one_of(st.none(), st.integers(0, most)), min_size=rows, max_size=rows)


@given(st.data(), st.booleans())
def test_rows_of_one_group_path_or_feature_row_are_one_unit(data: st.DataObject, by_group: bool) -> None:
    rows = data.draw(st.integers(1, 12))
    group, path, row = (data.draw(of_several(rows, most)) for most in (6, 6, 3))
    source = data.draw(st.lists(st.sampled_from("ab"), min_size=rows, max_size=rows))
    columns = {
        "group": pl.Series([None if v is None else f"g{v}" for v in group], dtype=pl.String),
        "path": pl.Series([None if v is None else f"{v}.png" for v in path], dtype=pl.String),
        "row": pl.Series(row, dtype=pl.Int64),
        "source": source,
        "text": ["same"] * rows,
    }
    joined = np.eye(rows, dtype=bool)
    for i, j in product(range(rows), repeat=2):
        joined[i, j] |= by_group and group[i] is not None and group[i] == group[j]
        joined[i, j] |= path[i] is not None and path[i] == path[j]
        numbered = path[i] is path[j] is None and row[i] is not None
        joined[i, j] |= numbered and (row[i], source[i]) == (row[j], source[j])
    for _ in range(rows):
        joined |= (joined.astype(int) @ joined) > 0
    keys = sample_keys(Manifest(pl.DataFrame(columns), ()), by_group)
    assert ((keys[:, None] == keys) == joined).all()
    firsts = np.unique(keys, return_index=True)[1]
    assert (np.diff(firsts) > 0).all()  # numbered in the order of first appearance: splits depend on it
    assert keys.max() == len(firsts) - 1


def test_a_picture_with_a_group_in_one_source_only_is_not_cut() -> None:
    paths = [f"{i}.png" for i in range(40)]
    people = Manifest(pl.DataFrame({"path": paths, "group": [f"p{i // 2}" for i in range(40)]}), (), name="a")
    both = stack([people, Manifest(pl.DataFrame({"path": paths}), (), name="b")])
    done = resplit(both, {"train": 1, "test": 1}).frame
    person = pl.col("path").replace_strict(dict(zip(paths, people.frame["group"], strict=True)))
    assert (done.group_by(person).agg(pl.col("split").n_unique())["split"] == 1).all()


def test_rows_alone_where_groups_do_not_count() -> None:
    whole = subjects(2)
    done = resplit(whole, {"train": 1, "test": 1}, by_group=False).frame
    assert (done.group_by("group").agg(pl.col("split").n_unique())["split"] == 2).all()


def test_kept_splits_stay() -> None:
    whole = resplit(subjects(40), SHARES)
    again = resplit(whole, {"train": 1, "val": 1}, keep="test", seed=5)
    test = whole.frame["split"] == "test"
    assert again.frame.filter(test)["split"].unique().to_list() == ["test"]
    assert set(again.frame.filter(~test)["split"]) == {"train", "val"}


def test_a_group_that_a_kept_split_cuts() -> None:
    frame = pl.DataFrame({"row": range(3), "group": ["s", "s", "t"], "split": ["test", None, None]})
    with pytest.raises(ConfigError, match="1 groups have rows both in a kept split and outside"):
        resplit(Manifest(frame, ()), {"train": 1}, keep="test")
    everything = Manifest(frame.with_columns(split=pl.lit("test")), ())
    with pytest.raises(ConfigError, match="nothing is left to split"):
        resplit(everything, {"train": 1}, keep=["test"])
    with pytest.raises(ConfigError, match="no row is in split 'val', which was to be kept"):
        resplit(everything, {"train": 1}, keep=["val"])


@pytest.mark.parametrize("shares", [{}, {"train": 0.0, "test": 1}, {"train": -1}, {"train": float("nan")}])
def test_shares_are_positive(shares: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="share above 0"):
        resplit(single(10), shares)


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        resplit(single(10), {"trian": 1})
    with pytest.raises(UnknownNameError, match="did you mean 'kind'"):
        resplit(single(10), SHARES, stratify="kin")
    with pytest.raises(ConfigError, match="2 groups cannot be split into 3 parts"):
        resplit(subjects(2), SHARES)


def test_shares_of_what_is_never_seen_are_unknown() -> None:
    frame = pl.DataFrame({"row": [0, 1], "kind": ["a", None], "split": ["train", None]})
    reached = split_shares(Manifest(frame, (KIND,)), ["kind"])
    assert reached.row(by_predicate=pl.col("what") == "rows") == ("rows", 2, 0.5, 0.0, 0.0)
    assert reached.row(by_predicate=pl.col("what") == "kind = b") == ("kind = b", 0, None, None, None)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_rare_class_is_in_every_split_it_has_rows_for(grouped: bool) -> None:
    kinds = ["big"] * 100 + ["mid"] * 95 + ["rare"] * 5
    columns = {"row": range(200), "kind": kinds} | (
        {"group": [f"g{i}" for i in range(200)]} if grouped else {}
    )
    task = MulticlassTask("kind", ["big", "mid", "rare"])
    shares = {"train": 0.8, "val": 0.1, "test": 0.1}
    for seed in range(20):
        done = resplit(Manifest(pl.DataFrame(columns), (task,)), shares, stratify="kind", seed=seed)
        rare = done.frame.filter(pl.col("kind").cast(pl.String) == "rare")
        assert set(rare["split"]) == {"train", "val", "test"}
        assert abs(done.frame["split"].value_counts()["count"].max() - 160) <= 3


def small_world(seed: int) -> tuple[Manifest, dict[str, set[str]]]:
    """Six groups of two rows with three classes; and which groups hold each class that three groups hold."""
    kinds = np.random.default_rng(seed).choice(["a", "b", "rare"], 12)
    frame = pl.DataFrame({"row": range(12), "group": [f"g{i // 2}" for i in range(12)], "kind": kinds})
    holders = {kind: set(frame.filter(pl.col("kind") == kind)["group"]) for kind in KIND.classes}
    return Manifest(frame, (KIND,)), {kind: groups for kind, groups in holders.items() if len(groups) >= 3}


def test_every_class_is_in_every_split_wherever_that_can_be() -> None:
    names = [f"g{i}" for i in range(6)]
    lacked = 0
    for seed in range(60):
        world, holders = small_world(seed)
        arranged = (dict(zip(names, splits, strict=True)) for splits in product(range(3), repeat=6))
        possible = any(all(len({a[g] for g in held}) == 3 for held in holders.values()) for a in arranged)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            done = resplit(world, {"train": 0.6, "val": 0.2, "test": 0.2}, stratify="kind").frame
        reached = all(
            done.filter(pl.col("kind").cast(pl.String) == kind)["split"].n_unique() == 3 for kind in holders
        )
        assert reached == possible
        assert [each.category for each in told] == [ConcordWarning] * (not possible)
        lacked += not possible
    assert lacked < 60


def test_a_class_that_cannot_be_in_every_split_is_named() -> None:
    pairs = [("a", "b"), ("a", "rare"), ("b", "rare")]  # a class has two groups: two splits, never all three
    frame = pl.DataFrame(
        {
            "row": range(6),
            "group": [f"g{i // 2}" for i in range(6)],
            "kind": [kind for pair in pairs for kind in pair],
        }
    )
    with pytest.warns(ConcordWarning, match=r"lacking: kind = \w+ in (train|test); try another seed"):
        done = resplit(Manifest(frame, (KIND,)), {"train": 1, "test": 1}, stratify="kind")
    assert done.frame["split"].n_unique() == 2
