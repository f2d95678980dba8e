"""Every notebook runs from its first cell to its last, and ends in a figure."""

from __future__ import annotations

import ast
import json

import pytest

from notebooks import FOLDER, NOTEBOOKS, cells, run
from test_docs import commands_and_options_exist

ENDS = {
    "licensed": "runs/faces",
    "images": "runs/shapes",
    "dataframe": None,
    "tables": "runs/plants",
}
"""By notebook, the folder of its study."""


@pytest.mark.docs
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_and_ends_in_a_figure(name, tmp_path):
    said = run(NOTEBOOKS[name], tmp_path)
    study = ENDS[name]
    if study is None:
        assert "disease->findings: " in said
        return
    summary = json.loads((tmp_path / study / "summary.json").read_text(encoding="utf-8"))
    found = {row["verdict"] for row in summary["verdicts"] if row["condition"] == "posterior"}
    assert "superior" in found, "what the page says of the coupling is so"
    assert (tmp_path / study / "report.html").is_file()
    if name == "licensed":
        assert "This file holds no sample of the data: no image" in said


def test_there_is_one_for_each_kind_of_user():
    assert set(NOTEBOOKS) == set(ENDS)
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    assert all(f"\n{name}\n" in index for name in NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_starts_with_one_title_and_its_cells_can_be_read(name):
    found = cells(NOTEBOOKS[name])
    assert found[0][0] == "markdown"
    assert found[0][1].startswith("# ")
    titles = [text for kind, text in found if kind == "markdown" and text.startswith("# ")]
    assert len(titles) == 1
    for kind, text in found:
        if kind == "python":
            ast.parse(text)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_its_commands_and_options_exist(name):
    commands_and_options_exist([text for kind, text in cells(NOTEBOOKS[name]) if kind == "bash"])
