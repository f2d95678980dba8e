"""`concord relation`: show and estimate."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

from concord import MulticlassTask, MultilabelTask, Relation
from concord.cli import app
from concord.errors import ConcordError, ConfigError


def concord(*arguments, columns=80):
    result = CliRunner().invoke(app, ["relation", *map(str, arguments)], env={"COLUMNS": str(columns)})
    if isinstance(result.exception, ConcordError):
        raise result.exception
    return result


def test_show_a_built_in_table(tmp_path):
    result = concord("show", "expressions", "--out", tmp_path / "t.csv")
    assert result.exit_code == 0, result.output
    assert "happiness" in result.output
    assert "AU26" in result.output
    assert ".51" in result.output
    assert "tells all classes apart" in result.output
    assert "…" not in result.output  # wide tables come in blocks
    again = concord("show", tmp_path / "t.csv")
    assert "P(labels | expression)" in again.output


@pytest.mark.parametrize("columns", [30, 60, 80])
@pytest.mark.parametrize("name", ["quick_brown_fox_jumps_over_" * 3, "quick word " * 8, "q猫の種類" * 8])
def test_no_name_is_so_long_that_numbers_are_cut(tmp_path, columns, name):
    path = tmp_path / "t.csv"
    path.write_text(f"pet,a,{name}x,b\n{name}1,.12,.34,.56\n{name}2,1,0,\n", encoding="utf-8")
    output = concord("show", path, columns=columns).output
    assert "…" not in output
    assert {".12", ".34", ".56", "?"} <= set(output.split())
    assert output.partition("tells all")[0].count("q") >= 3 * name.count("q")


def test_show_says_what_a_table_cannot_say(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("pet,tail,barks,swims\ncat,1,0,\ndog,1,.9,0\nfox,1,.95,0\n")
    output = concord("show", path, "--tolerance", 0.1).output
    assert "cannot tell apart: dog, fox" in output
    assert "say nothing of the class: tail, swims" in output
    assert "1 of 9 cells are unknown" in output
    assert "tells all classes apart" in concord("show", path).output


def test_show_class_to_class(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("species,bird,fish\nowl,1,0\neel,0,1\n")
    assert "P(classes | species)" in concord("show", path, "--classes").output
    path.write_text("species,bird,fish\nowl,1,0\neel,.5,.1\n")
    with pytest.raises(ConcordError, match="sum to 1"):
        concord("show", path, "--classes")


def annotations(tmp_path, rows):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["mood", "AU1", "AU12"], *rows])
    return path


def test_estimate_equals_the_library(tmp_path):
    rng = np.random.default_rng(0)
    y, a = rng.integers(0, 2, 60), rng.integers(0, 2, (60, 2))
    rows = [[["happy", "sad"][c], *labels] for c, labels in zip(y, a, strict=True)]
    path = annotations(tmp_path, [*rows, ["", 1, 1], ["sad", "", ""]])
    result = concord(
        "estimate", path, "--task", "mood", "--labels", "units=AU*",
        "--out", tmp_path / "t.csv", "--cells", tmp_path / "cells.csv", "--level", 0.9,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    mood, units = MulticlassTask("mood", ["happy", "sad"]), MultilabelTask("units", ["AU1", "AU12"])
    wanted = Relation.from_annotations(mood, units, y, a, level=0.9)
    assert Relation.from_csv(mood, units, tmp_path / "t.csv").table == pytest.approx(wanted.table)
    with (tmp_path / "cells.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert [(c["mood"], c["units"]) for c in cells][:2] == [("happy", "AU1"), ("happy", "AU12")]
    assert [float(c["mean"]) for c in cells] == pytest.approx(wanted.table.ravel(), rel=1e-5)
    assert [float(c["low"]) for c in cells] == pytest.approx(wanted.interval[0].ravel(), rel=1e-5)
    assert [float(c["high"]) for c in cells] == pytest.approx(wanted.interval[1].ravel(), rel=1e-5)
    assert sum(float(c["count"]) for c in cells) == 120


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "expresions"], "did you mean 'expressions'"),
        (["show", "none.csv"], "no relation table at none.csv"),
        (["estimate", "none.csv", "--out", "x.csv"], "none.csv"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ConcordError, match=message):
        concord(*arguments)


def test_annotations_without_both_are_refused(tmp_path):
    path = annotations(tmp_path, [["happy", "", ""], ["sad", "", ""], ["", 1, 0]])
    columns = ["--task", "mood", "--labels", "units=AU*", "--out", tmp_path / "t.csv"]
    with pytest.raises(ConcordError, match="no sample is annotated for both 'mood' and 'units'"):
        concord("estimate", path, *columns)
    assert not (tmp_path / "t.csv").exists()
    with pytest.raises(ConcordError, match="unknown task 'moods'"):
        concord("estimate", path, *columns, "--source", "moods")
    with pytest.raises(ConcordError, match="'units' has labels"):
        concord("estimate", path, *columns, "--source", "units")
    with pytest.raises(ConcordError, match="one class task is needed, found none"):
        concord("estimate", path, "--labels", "units=AU*", "--out", tmp_path / "t.csv")
    with pytest.raises(
        ConcordError, match="other task is needed, found none; name its columns with --labels"
    ):
        concord("estimate", path, "--task", "mood", "--out", tmp_path / "t.csv")


def test_names_are_printed_as_they_are(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("[i]mood,a [b],very [/x]\nglad,1,0\nvery [/sad],0,1\n[dim],0,1\n")
    output = concord("show", path).output
    for name in ("[i]mood", "a [b]", "very [/x]", "very [/sad]"):
        assert name in output
    assert "cannot tell apart: very [/sad], [dim]" in output


@pytest.mark.parametrize("separator", ["tab", "\\t", "\t"])
def test_cells_between_tabs(tmp_path, separator):
    path = tmp_path / "a.csv"
    path.write_text("mood\tAU1\tAU12\nhappy\t0\t1\nsad\t1\t0\n")
    columns = ["--task", "mood", "--labels", "units=AU*", "--out", tmp_path / "t.csv"]
    assert concord("estimate", path, *columns, "--separator", separator).exit_code == 0
    for wrong in (";;", "", "\u00a7"):
        with pytest.raises(ConfigError, match="the separator of cells is one character"):
            concord("estimate", path, *columns, "--separator", wrong)
