"""The house is as its page says: every room is listed, and imports lead down."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "concord"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

ROOMS = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)
"""From the ground floor up, as the page lists them."""

LOOKING_UP = re.findall(r"^- `(\w+)` -> `(\w+)`: \S", PAGE, flags=re.MULTILINE)


def existing_rooms():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return modules | folders


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree):
    """(room, line, whether inside a function) of every import of the package."""
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the module's full name"
            whole = node.module == "concord"
            names = [f"concord.{alias.name}" for alias in node.names] if whole else [str(node.module)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "concord" and len(parts) > 1 and parts[1] != "__version__":
                yield parts[1], node.lineno, node in inside


@cache
def imports():
    """(file, line, its room, imported room, whether inside a function), of the whole package."""
    return [
        (path.relative_to(ROOT), line, room_of(path), room, inside)
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py"  # loads public names on first use, from any floor
        for room, line, inside in imported(ast.parse(path.read_text(encoding="utf-8")))
    ]


def test_every_room_is_listed_once_and_every_listed_room_exists():
    assert len(ROOMS) == len(set(ROOMS))
    unlisted, gone = existing_rooms() - set(ROOMS), set(ROOMS) - existing_rooms()
    assert not unlisted, f"give these rooms a line on their floor in docs/architecture.md: {unlisted}"
    assert not gone, f"docs/architecture.md lists rooms that there are not: {gone}"


def test_no_room_imports_a_room_above_it():
    height = {room: i for i, room in enumerate(ROOMS)}
    upwards = [
        f"{path}:{line}: `{own}` imports `{other}`"
        for path, line, own, other, inside in imports()
        if height[other] > height[own] and not (inside and (own, other) in LOOKING_UP)
    ]
    assert not upwards, "against the order of docs/architecture.md:\n" + "\n".join(upwards)


def test_every_exception_is_needed():
    found = {(own, other) for _, _, own, other, _ in imports()}
    assert set(LOOKING_UP) <= found
    assert all(ROOMS.index(own) < ROOMS.index(other) for own, other in LOOKING_UP)


def test_the_picture_shows_the_rooms_of_each_floor_in_order():
    picture = re.search(r"```mermaid\n(.*?)```", PAGE, flags=re.DOTALL)
    drawn = {
        floor: rooms.split(", ") for floor, rooms in re.findall(r'\["(\w+): ([\w, ]+)"\]', picture.group(1))
    }
    written = {}
    for section in PAGE.split("\n## ")[1:]:
        rooms = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
        if rooms:
            written[re.match(r"\w+", section).group()] = rooms
    assert drawn == written
    assert " --> ".join(drawn) in picture.group(1)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from concord.data.manifest import Manifest", [("data", 1, False)]),
        ("import concord.fit as f", [("fit", 1, False)]),
        ("from concord import metrics, __version__", [("metrics", 1, False)]),
        ("def f():\n    from concord import study", [("study", 2, True)]),
        ("class C:\n    from concord import study", [("study", 2, False)]),
        ("import concordance, torch", []),
    ],
)
def test_imports_are_seen_wherever_they_stand(code, found):
    assert list(imported(ast.parse(code))) == found


@pytest.mark.parametrize("package", ["concord", "concord.data", "concord.study"])
def test_no_lazy_name_is_that_of_a_module(package: str) -> None:
    # Importing the module would put it in the place of what the package means by the name.
    opened = importlib.import_module(package)
    modules = {module.name for module in pkgutil.iter_modules(opened.__path__)}
    assert not modules & set(opened._HOMES)
