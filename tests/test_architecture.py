"""Rooms are listed in docs/architecture.md, imports lead down, and folders are entered by their doors."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "concord"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

ROOMS = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)
"""From the ground floor up, as the page lists them."""

OPEN = {"_lazy", "_version"}
"""Every room may use it."""

PUBLIC = (
    "concord",
    "concord.couplings",
    "concord.data",
    "concord.networks.trunks",
    "concord.relations.literature",
)


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(code):
    """(module that is imported from, line) of every import of the package."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names if a.name.split(".")[0] == "concord")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the module's full name"
            module = str(node.module)
            if module.split(".")[0] == "concord":
                for alias in node.names:
                    whole = f"{module}.{alias.name}"
                    yield (whole if whole in MODULES else module), node.lineno


@cache
def imports():
    """(importing module, imported module, line) of the whole package."""
    return [
        (module, other, line)
        for module, path in MODULES.items()
        for other, line in imported(path.read_text(encoding="utf-8"))
    ]


def room_of(module):
    return [*module.split("."), ""][1]


def behind_a_door(module, other):
    """The folder that `module` stands outside of and that `other` lies behind the door of, or None."""
    parts = other.split(".")
    for i in range(2, len(parts)):
        folder = ".".join(parts[:i])
        if not (module + ".").startswith(folder + "."):
            return folder
    return None


def test_every_room_is_listed_once_and_every_listed_room_exists():
    assert len(ROOMS) == len(set(ROOMS))
    existing = {room_of(module) for module in MODULES if room_of(module)} - OPEN
    assert existing - set(ROOMS) == set(), "give these rooms a line in docs/architecture.md"
    assert set(ROOMS) - existing == set(), "docs/architecture.md lists rooms that do not exist"


def test_no_room_imports_a_room_above_it():
    height = {room: i for i, room in enumerate(ROOMS)}
    upwards = [
        f"{module}:{line} imports {other}"
        for module, other, line in imports()
        if room_of(module) and room_of(other) in height and height[room_of(other)] > height[room_of(module)]
    ]
    assert not upwards, "against the order of docs/architecture.md:\n" + "\n".join(upwards)


def test_folders_are_entered_by_their_doors():
    past = [
        f"{module}:{line} imports {other} past {folder}"
        for module, other, line in imports()
        if module != "concord" and (folder := behind_a_door(module, other)) is not None
    ]
    assert not past, "\n".join(past)


@pytest.mark.parametrize("folder", ["benchmarks", "examples"])
def test_programs_enter_by_the_doors_too(folder):
    past = [
        f"{path.relative_to(ROOT)}:{line} imports {other}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for other, line in imported(path.read_text(encoding="utf-8"))
        if behind_a_door("", other) is not None
    ]
    assert not past, "\n".join(past)


def test_no_modules_import_each_other_in_a_circle():
    wanted = {}
    for module, other, _ in imports():
        wanted.setdefault(module, set()).add(other)
    above = {module: set() for module in MODULES}
    for module in MODULES:  # everything that can be reached from a module
        open_ends = list(wanted.get(module, ()))
        while open_ends:
            other = open_ends.pop()
            if other not in above[module]:
                above[module].add(other)
                open_ends.extend(wanted.get(other, ()))
    files = {module for module, path in MODULES.items() if path.name != "__init__.py"}
    circles = sorted(module for module in files if module in above[module])
    assert not circles, f"these files import themselves through others: {circles}"


DOORS = [module for module, path in MODULES.items() if path.name == "__init__.py"]


@pytest.mark.parametrize("door", DOORS)
def test_a_door_names_what_it_opens_and_no_name_is_that_of_a_module_behind_it(door):
    # Importing a module would put it in the place of what the package means by the name.
    opened = importlib.import_module(door)
    names = set(getattr(opened, "__all__", ()))
    modules = {module.rpartition(".")[2] for module in MODULES if module.rpartition(".")[0] == door}
    assert (names & modules) <= ({"couplings", "data", "errors"} if door == "concord" else set())
    assert all(hasattr(opened, name) for name in names)


def test_only_doors_and_rooms_without_a_folder_list_public_names():
    listing = {
        module
        for module, path in MODULES.items()
        if re.search(r"^__all__", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert listing <= {*DOORS, *(f"concord.{room}" for room in ROOMS)}


def test_the_public_names_can_be_read_on_one_screen():
    names = [name for door in PUBLIC for name in getattr(importlib.import_module(door), "__all__", ())]
    assert 30 < len(names) <= 120


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from concord.data.manifest import Manifest", [("concord.data.manifest", 1)]),
        ("import concord.fitting as f", [("concord.fitting", 1)]),
        ("from concord import metrics, __version__", [("concord.metrics", 1), ("concord", 1)]),
        ("def f():\n    from concord import study", [("concord.study", 2)]),
        ("import concordance, torch", []),
    ],
)
def test_imports_are_seen_wherever_they_stand(code, found):
    assert list(imported(code)) == found


def test_a_door_is_passed_by_what_stands_outside_only():
    assert behind_a_door("concord.cli.data", "concord.data.manifest") == "concord.data"
    assert behind_a_door("concord.data.readers.gft", "concord.data.manifest") is None
    assert (
        behind_a_door("concord.networks.multitask", "concord.networks.trunks.bag")
        == "concord.networks.trunks"
    )
    assert behind_a_door("concord.cli.data", "concord.data") is None
