"""`concord annotate`, as it is typed."""

from __future__ import annotations

import json

import polars as pl
import pytest
from typer.testing import CliRunner

from concord import MulticlassTask, MultilabelTask
from concord.cli import app
from concord.data import read_manifest, write_manifest
from concord.data.manifest import Manifest
from concord.errors import (
    ConcordError,
    DataFormatError,
    MissingDataError,
    NoAnnotationError,
    UnknownNameError,
)

FACE = MulticlassTask("expression", ["neutral", "happiness", "sadness"])
UNITS = MultilabelTask("units", ["AU12", "AU6", "AU4"])
TABLE = "class,AU12,AU6,AU4\nneutral,0,0,0\nhappiness,1,.51,0\nsadness,0,.3,1\n"


@pytest.fixture
def folder(tmp_path):
    frame = pl.DataFrame(
        {
            "row": range(4),
            "expression": ["happiness", "happiness", "neutral", None],
            "units.AU12": [None, 1, 0, 1],
            "units.AU6": [None, None, None, None],
            "units.AU4": [None, 0, 0, 0],
        },
        schema_overrides={"units.AU6": pl.Int8},
    )
    write_manifest(Manifest(frame, (FACE, UNITS), name="faces"), tmp_path / "faces.parquet")
    write_manifest(Manifest(frame.select("row", "expression"), (FACE,), name="bare"), tmp_path / "bare.csv")
    (tmp_path / "table.csv").write_text(TABLE)
    return tmp_path


def run(folder, *options, manifest="faces.parquet", out="out.parquet", table="table.csv"):
    arguments = ["annotate", str(folder / manifest), "--relation", str(folder / table)]
    arguments += ["--source", "expression", "--target", "units", "--out", str(folder / out), *options]
    result = CliRunner().invoke(app, arguments, catch_exceptions=True)
    if isinstance(result.exception, ConcordError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return read_manifest(folder / out), json.loads((folder / f"{out}.annotation.json").read_text()), result


def test_gaps_are_filled_and_recorded(folder):
    done, record, result = run(folder)
    assert done.frame["expression"].to_list() == ["happiness", "happiness", "neutral", "happiness"]
    assert done.frame["units.AU6"].to_list() == [1, 1, 0, None]
    assert record["options"]["method"] == "posterior"
    assert record["relation"]["table"] == [[0, 0, 0], [1, 0.51, 0], [0, 0.3, 1]]
    assert record["relation"]["prior"] == pytest.approx([1 / 3] * 3)
    assert record["values"]["expression"] == {"annotated": 3, "posterior:expression->units": 1}
    assert "units.AU6" in result.output
    assert "4 rows" in result.output


def test_options_reach_the_method(folder):
    done, record, _ = run(folder, "--prior", "data", "--exponent", "0", "--fill", "source")
    assert record["relation"]["prior"] == pytest.approx([1 / 3, 2 / 3, 0])
    assert done.frame["expression:weight"][3] == pytest.approx(2 / 3, abs=1e-5)
    assert done.frame["units.AU6"].null_count() == 4
    run(folder, "--fill", "source", out="first.parquet")
    _, again, _ = run(folder, "--prior", "data", manifest="first.parquet")  # counts what somebody annotated
    assert again["relation"]["prior"] == pytest.approx([1 / 3, 2 / 3, 0])
    done, _, _ = run(folder, "--method", "hard", "--min-weight", "0.6")
    assert done.frame["units.AU6"].null_count() == 4
    assert done.frame["units.AU12"].to_list() == [1, 1, 0, 1]


def test_a_missing_task_is_made_from_the_table(folder):
    done, _, _ = run(folder, manifest="bare.csv", out="out.csv")
    assert done.task("units") == UNITS
    assert done.frame["units.AU4"].to_list() == [0, 0, 0, None]
    lines = [line.split(",") for line in TABLE.split()]
    (folder / "turned.csv").write_text("\n".join(",".join(row) for row in zip(*lines, strict=True)))
    turned, _, _ = run(folder, "--transpose", manifest="bare.csv", table="turned.csv")
    assert turned.frame["units.AU4"].to_list() == [0, 0, 0, None]
    (folder / "kinds.csv").write_text("c,calm,moved\nneutral,2,0\nhappiness,0,4\nsadness,1,1\n")
    kinds, _, _ = run(folder, "--classes", "--normalize", manifest="bare.csv", table="kinds.csv")
    assert kinds.task("units") == MulticlassTask("units", ["calm", "moved"])
    assert kinds.frame["units"].to_list() == ["moved", "moved", "calm", None]


def test_mistakes_are_one_line(folder):
    for arguments, options, error, match in [
        (["--prior", "flat"], {}, UnknownNameError, "prior"),
        (["--method", "bayes"], {}, UnknownNameError, "method"),
        (["--method", "hrad", "--prior", "data"], {}, UnknownNameError, "'hrad'; did you mean 'hard'"),
        ([], {"table": "none.csv"}, MissingDataError, "none.csv"),
        ([], {"table": "none.csv", "manifest": "bare.csv"}, MissingDataError, "none.csv"),
        ([], {"table": "wide.csv"}, UnknownNameError, "AU9"),
        ([], {"table": "torn.csv", "manifest": "bare.csv"}, DataFormatError, "UTF-8"),
    ]:
        (folder / "wide.csv").write_text("class,AU12,AU9\nneutral,0,1\n")
        (folder / "torn.csv").write_bytes(b"class,\xff\n")
        with pytest.raises(error, match=match):
            run(folder, *arguments, **options)
    run(folder, "--ignore-extra", table="wide.csv")
    blank = pl.DataFrame({"row": [0], "units.AU12": [1], "units.AU6": [0], "units.AU4": [1]})
    write_manifest(Manifest(blank, (UNITS,), name="blank"), folder / "blank.parquet")
    with pytest.raises(NoAnnotationError, match="--prior uniform"):
        run(folder, "--prior", "data", manifest="blank.parquet")
