"""Every notebook runs from its first cell to its last, ends in a figure, and can do without drawn data."""

from __future__ import annotations

import ast
import builtins
import json
import re

import pytest

from notebooks import DRAWN, FOLDER, NOTEBOOKS, cells, run
from test_docs import commands_and_options_exist

ENDS = {
    "licensed": "runs/faces",
    "images": "runs/shapes",
    "dataframe": None,
    "tables": "runs/plants",
}
"""By notebook, the folder of its study."""

VERDICTS = {
    "licensed": {("expression", "single-task", "superior"), ("expression", "uncoupled", "superior")},
    "images": {("kind", "single-task", "superior"), ("kind", "uncoupled", "superior")},
    "tables": {
        ("species", "single-task", "superior"),
        ("species", "uncoupled", "superior"),
        ("traits", "single-task", "inferior"),
        ("traits", "uncoupled", "inferior"),
    },
}
"""By notebook, what its page shows of the coupling: (task, baseline, verdict), every harm among them."""


@pytest.mark.docs
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_and_ends_in_a_figure(name, tmp_path):
    said = run(NOTEBOOKS[name], tmp_path)
    study = ENDS[name]
    if study is None:
        assert "disease->findings: " in said
        return
    summary = json.loads((tmp_path / study / "summary.json").read_text(encoding="utf-8"))
    found = {
        (row["task"], row["baseline"], row["verdict"])
        for row in summary["verdicts"]
        if row["condition"] == "posterior"
    }
    shown = VERDICTS[name]
    assert shown <= found, "what the page says of the coupling is so"
    harmed = {row for row in found if row[2] == "inferior"}
    assert harmed <= shown, "and it hides no harm"
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


def bound(tree: ast.Module) -> set[str]:
    """Names that code gives a meaning to, wherever in it."""
    names = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        for alias in getattr(node, "names", ())
        if isinstance(alias, ast.alias)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def unknown_names(parts: list[str]) -> set[str]:
    """Names that cells use although neither they nor a cell before them gives them a meaning."""
    known, unknown = set(dir(builtins)), set()
    for tree in map(ast.parse, parts):
        known |= bound(tree)
        unknown |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - known
    return unknown


def test_names_of_a_cell_that_is_missing_are_unknown():
    first, second = "import a.b, c as d\nx = a", "def f(n):\n    return [n, x, *(k for k in range(n))]"
    assert unknown_names([first, second, "f(d)"]) == set()
    assert unknown_names([second, "f(d)"]) == {"x", "d"}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_without_the_cell_that_draws(name):
    parts = [text for kind, text in cells(NOTEBOOKS[name]) if kind == "python"]
    drawn = [text for text in parts if text.startswith(DRAWN)]
    assert len(drawn) == 1
    kept = [text for text in parts if text not in drawn]
    asked = drawn[0].partition("\n")[0]
    assert unknown_names(kept) == set(re.findall(r"`(\w+)`", asked)), "what it asks for, and nothing else"
    assert ("leave this cell out" in asked) is not ("`" in asked)
