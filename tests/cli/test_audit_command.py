"""`concord relation audit`: propose rows, annotate them, correct the table."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from concord import MulticlassTask, MultilabelTask
from concord.cli import app
from concord.data import Manifest, write_manifest
from concord.errors import ConfigError, DataFormatError, NoAnnotationError

TABLE = np.array([[0.1, 0.8], [0.9, 0.2]])
PET, TRAIT = MulticlassTask("pet", ["cat", "dog"]), MultilabelTask("trait", ["barks", "purrs"])
N = 300


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """`data.parquet` with 100 classes and 200 rows of labels, predictions, and the truth."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, N)
    a = (rng.random((N, 2)) < TABLE[y]).astype(int)
    p = np.where(np.eye(2)[y] > 0, 0.9, 0.1)
    pl.DataFrame({"row": range(N), **{f"pet.{c}": p[:, i] for i, c in enumerate(PET.classes)},
                  **{f"trait.{t}": TABLE[y][:, k] for k, t in enumerate(TRAIT.labels)}}).write_parquet(
        tmp_path / "predictions.parquet")  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write(y, a, np.arange(N) < 100, np.arange(N) >= 100, "data.parquet")
    return y, a


def write(y, a, with_class, with_labels, path):
    frame = pl.DataFrame(
        {
            "row": range(N),
            "pet": [PET.classes[c] if k else None for c, k in zip(y, with_class, strict=True)],
            **{
                f"trait.{t}": [int(v) if k else None for v, k in zip(a[:, i], with_labels, strict=True)]
                for i, t in enumerate(TRAIT.labels)
            },
        }
    )
    write_manifest(Manifest(frame, (PET, TRAIT)), path)


def concord(*words):
    return CliRunner().invoke(app, ["relation", "audit", *map(str, words)])


PREDICTED = ("--predictions", "predictions.parquet")


def test_rows_are_proposed_annotated_and_correct_the_table(folder):
    y, a = folder
    done = concord("data.parquet", *PREDICTED, "--propose", "rows.csv", "--rows", 40)
    assert done.exit_code == 0, done.output
    numbers = pl.read_csv("rows.csv")["number"].to_numpy()
    assert len(set(numbers.tolist())) == 40
    chosen = np.isin(np.arange(N), numbers)
    write(y, a, (np.arange(N) < 100) | chosen, (np.arange(N) >= 100) | chosen, "again.parquet")
    done = concord("again.parquet", *PREDICTED, "--audited", "rows.csv", "--out", "t.csv", "--cells", "c.csv")
    assert done.exit_code == 0, done.output
    assert "40 audited rows" in done.output
    table = pl.read_csv("t.csv").select(TRAIT.labels).to_numpy()
    assert np.abs(table - TABLE).max() < 0.15
    cells = pl.read_csv("c.csv")
    assert (cells["low"] <= cells["mean"]).all()
    assert (cells["mean"] <= cells["high"]).all()
    every = concord("again.parquet", *PREDICTED, "--out", "all.csv")
    assert "40 audited rows" in every.output  # no other row is annotated for both
    assert pl.read_csv("all.csv").equals(pl.read_csv("t.csv"))


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ((*PREDICTED, "--out", "t.csv"), NoAnnotationError, "no audited row is annotated for both"),
        (("--propose", "rows.csv"), ConfigError, "--predictions"),
        (PREDICTED, ConfigError, "say what to write"),
        ((*PREDICTED, "--audited", "odd.csv", "--out", "t.csv"), DataFormatError, "column 'number'"),
        ((*PREDICTED, "--audited", "far.csv", "--out", "t.csv"), DataFormatError, "no row has"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_mistakes_are_one_line(words, error, message, tmp_path):
    (tmp_path / "odd.csv").write_text("row\n1\n")
    (tmp_path / "far.csv").write_text("number\n300\n")
    done = concord("data.parquet", *words)
    assert isinstance(done.exception, error)
    assert message in str(done.exception)


def test_the_rows_that_are_proposed_are_given_as_data_too(tmp_path, monkeypatch, capsys):
    import json

    monkeypatch.chdir(tmp_path)
    pets = "path,pet,purrs,barks\n" + "".join(f"{i}.png,{'cat' if i % 2 else 'dog'},1,0\n" for i in range(8))
    (tmp_path / "pets.csv").write_text(pets)
    np.savez("p.npz", pet=np.full((8, 2), 0.5), traits=np.full((8, 2), 0.5))
    given = ["pets.csv", "--task", "pet", "--labels", "traits=purrs,barks", "--predictions", "p.npz"]
    done = CliRunner().invoke(
        app, ["relation", "audit", *given, "--propose", "rows.csv", "--rows", "3", "--json", "rows.json"]
    )
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "rows.csv").read_text().splitlines()[1:]
    numbers = [int(line.rsplit(",", 1)[1]) for line in lines]
    assert json.loads((tmp_path / "rows.json").read_text()) == {"proposed": numbers}
