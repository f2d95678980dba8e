"""`concord relation check`, and `estimate` from disjoint annotations."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.special import softmax
from typer.testing import CliRunner

from concord import CoupledClassifier, MulticlassTask, MultilabelTask, Relation
from concord.cli import app
from concord.cli.relation import _account, _given
from concord.data.groups import group_codes
from concord.data.manifest import Manifest
from concord.data.predictions import read_features, read_predictions
from concord.errors import (
    ConcordError,
    ConfigError,
    DataFormatError,
    MissingDataError,
    NotFiniteError,
    RangeError,
    ShapeError,
    UnknownNameError,
)
from concord.estimation.check import check_observations
from concord.estimation.contradictions import Contradiction
from concord.estimation.em import estimate_by_em
from concord.estimation.observations import observed
from concord.study.pages.figures import Panel, draw_panels

MOODS, UNITS = ("calm", "glad", "sad"), ("AU1", "AU4", "AU12", "AU15")
TABLE = np.array([[0.05, 0.1, 0.1, 0.05], [0.1, 0.05, 0.95, 0.05], [0.6, 0.8, 0.3, 0.9]])
MOOD, UNIT = MulticlassTask("mood", MOODS), MultilabelTask("units", UNITS)
COLUMNS = ["--task", "mood", "--labels", "units=AU*"]


def concord(*arguments):
    result = CliRunner().invoke(app, ["relation", *map(str, arguments)], env={"COLUMNS": "100"})
    if isinstance(result.exception, ConcordError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def world(n=900, seed=0):
    """Disjoint annotations with features: mood of one half of the rows, units of the other."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    a = (rng.random((n, 4)) < TABLE[y]).astype(int)
    x = np.hstack([2.0 * np.eye(3)[y] + rng.normal(size=(n, 3)), 2.0 * a + rng.normal(size=(n, 4))])
    p = softmax(2.0 * x[:, :3], axis=1)
    q = 1 / (1 + np.exp(-(2.0 * x[:, 3:] - 2.0)))
    return y, a, x, p, q


def disjoint():
    y, a, _, p, q = world()
    half = np.arange(len(y)) < len(y) // 2
    return np.where(half, y, -1), np.where(half[:, None], np.nan, a), p, q


@pytest.fixture
def case(tmp_path):
    y, a, x, p, q = world()
    half = len(y) // 2
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["mood", *UNITS, "who"])
        for i in range(len(y)):
            writer.writerow([MOODS[y[i]] if i < half else "", *([""] * 4 if i < half else a[i]), i // 3])
    np.savez(tmp_path / "p.npz", mood=p, units=q)
    np.savez(tmp_path / "x.npz", x=x)
    columns = {f"mood.{name}": p[:, c] for c, name in enumerate(MOODS)}
    columns |= {f"units.head.{name}": q[:, k] for k, name in enumerate(UNITS)}
    pl.DataFrame(columns).write_parquet(tmp_path / "p.parquet")
    pl.DataFrame(columns).write_csv(tmp_path / "p.csv")
    write_table(tmp_path / "t.csv", TABLE)
    return tmp_path


def write_table(path, cells, moods=MOODS, units=UNITS):
    Relation(MulticlassTask("mood", moods), MultilabelTask("units", units), cells).to_csv(path)


def cells_of(path):
    with path.open(newline="") as file:
        return {(row["mood"], row["units"]): row for row in csv.DictReader(file)}


def test_a_right_table_is_kept_and_no_cell_contradicted(case):
    said = concord(
        "check", case / "t.csv", case / "a.csv", *COLUMNS, "--predictions", case / "p.npz",
        "--out", case / "cells.csv", "--figure", case / "map.svg",
    )  # fmt: skip
    assert "the table fits the data" in said
    assert "no cell is contradicted" in said
    assert "trust" in said
    cells = cells_of(case / "cells.csv")
    assert len(cells) == 12
    assert {row["contradicted"] for row in cells.values()} == {"no"}
    estimate = np.array([[float(cells[m, u]["estimate"]) for u in UNITS] for m in MOODS])
    assert np.abs(estimate - TABLE).mean() < 0.05
    assert all(float(row["low"]) <= float(row["estimate"]) <= float(row["high"]) for row in cells.values())
    drawing = (case / "map.svg").read_text()
    assert "<svg" in drawing


def test_a_wrong_cell_is_named_in_a_sentence(case):
    wrong = TABLE.copy()
    wrong[1, 2] = 0.0
    write_table(case / "t.csv", wrong)
    said = concord(
        "check", case / "t.csv", case / "a.csv", *COLUMNS, "--predictions", case / "p.csv",
        "--out", case / "cells.csv", "--figure", case / "map.png",
    )  # fmt: skip
    sentence = next(line for line in said.splitlines() if line.startswith("contradicted: "))
    assert sentence.startswith(
        "contradicted: the table says glad shows AU12 with probability 0.00; rows whose class is told "
        "without AU12 say 0.8"
    )
    assert "+-" in sentence
    cells = cells_of(case / "cells.csv")
    assert [at for at, row in cells.items() if row["contradicted"] == "yes"] == [("glad", "AU12")]
    assert (case / "map.png").read_bytes()[:4] == b"\x89PNG"


def test_cells_outside_their_interval_are_named(case):
    wrong = TABLE.copy()
    wrong[2, 2] = 0.65
    write_table(case / "t.csv", wrong)
    said = concord("check", case / "t.csv", case / "a.csv", *COLUMNS, "--predictions", case / "p.parquet")
    assert (
        "outside its conditional interval: the table says sad shows AU12 with probability 0.65; the estimate "
        "is 0." in said
    )


def test_a_table_of_other_names_is_matched_by_name(case):
    more = np.full((4, 5), 0.5)
    more[:3, 1:] = TABLE
    write_table(case / "t.csv", more, (*MOODS, "bored"), ("AU99", *UNITS))
    said = concord("check", case / "t.csv", case / "a.csv", *COLUMNS, "--predictions", case / "p.npz")
    assert "the table's 'bored' is not in the annotations and is left out" in said
    assert "the table's 'AU99' is not in the annotations" in said
    source, target = MulticlassTask("mood", MOODS), MultilabelTask("units", ["AU2", *UNITS])
    given, _ = _given(str(case / "t.csv"), source, target)
    np.testing.assert_array_equal(given.table[:, 1:], TABLE)
    assert np.isnan(given.table[:, 0]).all()
    write_table(case / "t.csv", more, ("w", "x", "y", "z"), list("abcde"))
    with pytest.raises(
        UnknownNameError, match=r"in common with task 'mood': it lists w, x, y, \.\.\., the task"
    ):
        concord("check", case / "t.csv", case / "a.csv", *COLUMNS, "--predictions", case / "p.npz")


def test_what_a_table_lacks_is_told_and_a_misspelt_name_is_named(case):
    write_table(case / "t.csv", TABLE[:, :3], ("Calm", *MOODS[1:]), UNITS[:3])
    said = concord(
        "check", case / "t.csv", case / "a.csv", *COLUMNS, "--predictions", case / "p.npz",
        "--json", case / "c.json",
    )  # fmt: skip
    lines = " ".join(said.split())
    assert "the table's 'Calm' is not in the annotations and is left out; did you mean 'calm'?" in lines
    assert "the table lacks calm of task 'mood': all of it is unknown, and not checked" in lines
    assert "the table lacks AU15 of task 'units'" in lines
    held = json.loads((case / "c.json").read_text())
    assert (held["left_out"], held["lacking"]) == (["Calm"], ["calm", "AU15"])


def test_a_table_of_no_use_is_named_for_what_it_is(case):
    arguments = ["check", case / "t.csv", case / "a.csv", *COLUMNS, "--predictions", case / "p.npz"]
    write_table(case / "t.csv", TABLE.T, UNITS, MOODS)
    with pytest.raises(UnknownNameError, match=r"t\.csv is transposed: its rows are AU1, AU4, AU12"):
        concord(*arguments)
    (case / "t.csv").write_text("mood,AU1,AU4\ncalm,,\nglad,,\n")
    with pytest.raises(ConfigError, match=r"t\.csv is blank"):
        concord(*arguments)


def test_a_trust_above_one_is_explained():
    rows = observed(MOOD, UNIT, *disjoint())
    found = check_observations(rows, Relation(MOOD, UNIT, TABLE))
    given, own = Relation(MOOD, UNIT, TABLE), estimate_by_em(rows)
    assert "above 1: better than that" in "".join(_account(replace(found, trust=1.49), given, own))
    assert "above 1" not in "".join(_account(replace(found, trust=0.9), given, own))


def test_disjoint_annotations_estimate_a_table_from_features(case):
    said = concord(
        "estimate", case / "a.csv", *COLUMNS, "--features", case / "x.npz", "--effort", "fast",
        "--group", "who", "--out", case / "e.csv", "--cells", case / "cells.csv", "--figure", case / "e.svg",
    )  # fmt: skip
    assert "drew" in said
    found = Relation.from_csv(MulticlassTask("mood", MOODS), MultilabelTask("units", UNITS), case / "e.csv")
    assert np.abs(found.table - TABLE).mean() < 0.06
    assert (case / "e.svg").exists()
    assert sum(float(row["count"]) for row in cells_of(case / "cells.csv").values()) > 400


def test_features_and_predictions_answer_alike(case):
    shared = ["--out", case / "e.csv"]
    concord("estimate", case / "a.csv", *COLUMNS, "--predictions", case / "p.npz", *shared)
    tasks = MulticlassTask("mood", MOODS), MultilabelTask("units", UNITS)
    found = Relation.from_csv(*tasks, case / "e.csv").table
    assert np.abs(found - TABLE).mean() < 0.05


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ([], ConfigError, "--predictions, or features with --features"),
        (["--predictions", "p.npz", "--features", "x.npz"], ConfigError, "not both"),
        (["--predictions", "none.csv"], MissingDataError, "none.csv"),
        (["--predictions", "p.txt"], ConfigError, ".npz is read here"),
        (["--predictions", "x.npz"], UnknownNameError, "unknown array"),
        (["--features", "p.npz"], UnknownNameError, "unknown array"),
        (["--features", "x.npz", "--effort", "quick"], UnknownNameError, "unknown effort 'quick'"),
        (["--predictions", "p.npz", "--figure", "map.doc"], ConfigError, "a figure ends in"),
        (["--predictions", "bad.npz"], DataFormatError, "cannot be read"),
        (["--predictions", "bad.parquet"], DataFormatError, "not a Parquet file"),
        (["--predictions", "short.npz"], ShapeError, r"shape \(900, 3\), found \(2, 3\)"),
        (["--predictions", "nan.npz"], RangeError, "all in"),
        (["--predictions", "cut.npz"], DataFormatError, "cannot be read"),
        (["--predictions", "text.npz"], DataFormatError, "predictions of 'mood' are numbers, found <U1"),
        (["--features", "cut.npz"], DataFormatError, "expected a .npy, .npz"),
        (["--features", "text.npy"], DataFormatError, "features are numbers, found <U1"),
        (["--features", "nan.npy"], NotFiniteError, "found NaN or infinity in row 7"),
    ],
)
def test_mistakes_are_one_line(case, options, error, message):
    for name in ("bad.npz", "bad.parquet"):
        (case / name).write_text("nothing")
    *_, p, q = world()
    np.savez(case / "short.npz", mood=p[:2], units=q)
    np.savez(case / "nan.npz", mood=p * np.nan, units=q)
    np.savez(case / "text.npz", mood=np.full(p.shape, "x"), units=q)
    np.save(case / "text.npy", np.full(p.shape, "x"))
    x = np.zeros((len(p), 2))
    x[[7, 9], 1] = np.nan
    np.save(case / "nan.npy", x)
    (case / "cut.npz").write_bytes((case / "p.npz").read_bytes()[:2000])
    paths = [case / each if "." in each else each for each in options]
    with pytest.raises(error, match=message) as caught:
        concord("check", case / "t.csv", case / "a.csv", *COLUMNS, *paths)
    assert "\n" not in str(caught.value)


def small_manifest(**columns):
    task = MulticlassTask("mood", ["calm", "glad"])
    return Manifest(pl.DataFrame(columns | {"mood": ["calm", "glad"]}), [task]), task


def test_predictions_find_their_rows_by_path(tmp_path):
    manifest, task = small_manifest(path=["b.png", "a.png"])
    frame = pl.DataFrame(
        {"path": ["a.png", "b.png"], "mood.head.calm": [0.1, 0.9], "mood.head.glad": ["0.9", "0.1"]}
    )
    frame.write_csv(tmp_path / "p.csv")
    found = read_predictions(tmp_path / "p.csv", manifest, [task])["mood"]
    assert found.tolist() == [[0.9, 0.1], [0.1, 0.9]]
    frame.head(1).write_csv(tmp_path / "p.csv")
    with pytest.raises(UnknownNameError, match=r"of 1 of 2 rows, the first is 'b.png'"):
        read_predictions(tmp_path / "p.csv", manifest, [task])
    frame.with_columns(pl.lit("much").alias("mood.head.glad")).write_csv(tmp_path / "p.csv")
    with pytest.raises(DataFormatError, match=r"'mood.head.glad' holds something that is no number"):
        read_predictions(tmp_path / "p.csv", manifest, [task])
    frame.drop("mood.head.glad").write_csv(tmp_path / "p.csv")
    with pytest.raises(UnknownNameError, match=r"unknown column in .*'mood.glad'"):
        read_predictions(tmp_path / "p.csv", manifest, [task])


def test_features_find_their_rows_by_number(tmp_path):
    manifest, _ = small_manifest(row=[2, 0])
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    assert read_features(tmp_path / "x.npy", manifest).tolist() == [[4, 5], [0, 1]]
    np.save(tmp_path / "x.npy", np.zeros((2, 2)))
    with pytest.raises(ShapeError, match=r"names row 2, but .* has rows 0 \.\. 1"):
        read_features(tmp_path / "x.npy", manifest)
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(ShapeError, match=r"shape \(n, \.\.\.\), not empty, found"):
        read_features(tmp_path / "x.npy", manifest)
    np.save(tmp_path / "x.npy", np.zeros((3, 2, 2)))
    with pytest.raises(ShapeError, match=r"shape \(2, d\), found"):
        read_features(tmp_path / "x.npy", manifest)


def test_a_large_table_is_drawn_without_numbers(tmp_path):
    names, labels = [f"class {i}" for i in range(30)], [f"label {k}" for k in range(25)]
    table = np.random.default_rng(0).random((30, 25))
    draw_panels(tmp_path / "big.png", [Panel("a", table)], names, labels)
    assert (tmp_path / "big.png").stat().st_size > 10_000


def test_an_unknown_cell_is_drawn_as_such(tmp_path):
    draw_panels(tmp_path / "t.svg", [Panel("a", np.array([[0.25, np.nan, 1.0]]))], ["c"], ["x", "y", "z"])
    assert "<!-- ? -->" in (tmp_path / "t.svg").read_text()


def test_many_contradicted_cells_are_counted(case):
    cells = tuple(Contradiction("glad", "AU12", 0.0, 0.9, 0.1, 5.0) for _ in range(23))
    rows = observed(MOOD, UNIT, *disjoint())
    found = replace(check_observations(rows, Relation(MOOD, UNIT, TABLE)), contradictions=cells)
    lines = _account(found, Relation(MOOD, UNIT, TABLE), estimate_by_em(rows))
    assert "... and 3 more cells are contradicted" in lines
    assert sum(line.startswith("contradicted: ") for line in lines) == 20


def test_a_table_of_classes_is_checked(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 600)
    p = softmax(2.0 * (2.0 * np.eye(4)[y] + rng.normal(size=(600, 4))), axis=1)
    fine, coarse = list("abcd"), ["low", "high"]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        rows = [(fine[c], "") if i < 300 else ("", coarse[c // 2]) for i, c in enumerate(y)]
        csv.writer(file).writerows([("kind", "level"), *rows])
    np.savez(tmp_path / "p.npz", kind=p, level=np.stack([p[:, 2:].sum(1), p[:, :2].sum(1)], axis=1))
    (tmp_path / "t.csv").write_text("kind,low,high\na,1,0\nb,1,0\nc,0,1\nd,0,1\n")
    said = concord(
        "check", tmp_path / "t.csv", tmp_path / "a.csv", "--task", "kind", "--task", "level",
        "--source", "kind", "--predictions", tmp_path / "p.npz",
    )  # fmt: skip
    assert "the table fits the data" in said
    assert "no cell is contradicted" in said


def test_cross_fitting_needs_tasks_and_rows():
    x = np.zeros((6, 2))
    with pytest.raises(ShapeError, match="tasks="):
        CoupledClassifier().cross_fit(x, {})
    y, *_ = disjoint()
    few = {"mood": y[:6], "units": np.where(np.arange(6)[:, None] > 3, 1.0, np.full((6, 4), np.nan))}
    with pytest.raises(RangeError, match="'units' has 2 annotated rows, fewer than the 4 folds"):
        CoupledClassifier([MOOD, UNIT]).cross_fit(x, few)


def test_cross_fitting_is_out_of_sample_and_repeatable():
    rng = np.random.default_rng(0)
    y, a = rng.integers(0, 3, 90), np.full((90, 4), np.nan)
    y[60:], a[60:] = -1, rng.integers(0, 2, (30, 4))
    x = np.hstack([np.eye(90), rng.normal(size=(90, 2))])  # a network can learn every row by heart
    model = CoupledClassifier([MOOD, UNIT], effort="fast", steps=40, learning_rate=5e-3, random_state=0)
    first = model.cross_fit(x, {"mood": y, "units": a}).predictions()
    again = model.cross_fit(x, {"mood": y, "units": a}).predictions()
    assert not hasattr(model, "tasks_")
    assert (first["mood"].argmax(axis=1)[:60] == y[:60]).mean() < 0.6
    np.testing.assert_array_equal(first["units"], again["units"])
    np.testing.assert_allclose(first["mood"].sum(axis=1), 1)


def test_rows_without_a_group_stand_alone():
    def groups(names):
        frame = pl.DataFrame({"row": range(len(names)), "group": pl.Series(names, dtype=pl.String)})
        return group_codes(Manifest(frame, ()))

    assert groups([None, None]) is None
    found = groups(["a", None, "a", None, "row 1"])
    assert found[0] == found[2]
    assert len(set(found)) == 4
