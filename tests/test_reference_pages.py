"""What users import, and what it returns, stands in the reference."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType

import pytest

from test_architecture import PUBLIC

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))

DOCUMENTED = (
    *PUBLIC,
    "concord.displays",
    "concord.errors",
    "concord.losses",
    "concord.metrics",
    "concord.study",
)
"""Doors whose names all stand in the reference; of other rooms, those that pages and examples import do."""

IMPORT = re.compile(r"^ *from (concord(?:\.\w+)+) import (?:\(([^)]+)\)|(.+))$", flags=re.MULTILINE)
DIRECTIVE = re.compile(r"^\.\. auto(class|function|module|data):: ([\w.]+)$", flags=re.MULTILINE)


def names_of(module: ModuleType) -> list[str]:
    """What a module lists as public, or what it defines where it lists nothing."""
    own = [
        name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    ]
    return list(getattr(module, "__all__", [name for name in own if name[0] != "_"]))


def described() -> dict[str, object]:
    """Every object that a directive of the reference names, or a module of one lists, by its path."""
    found: dict[str, object] = {}
    for page in PAGES:
        for kind, path in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            if kind == "module":
                module = importlib.import_module(path)
                found[path] = module
                found |= {f"{path}.{name}": getattr(module, name) for name in names_of(module)}
            else:
                module, _, name = path.rpartition(".")
                found[path] = getattr(importlib.import_module(module), name)
    return found


def public() -> dict[str, object]:
    """Names of the documented doors."""
    return {
        f"{door}.{name}": getattr(importlib.import_module(door), name)
        for door in DOCUMENTED
        for name in names_of(importlib.import_module(door))
        if name != "__version__"
    }


def imported(text: str) -> set[str]:
    """Paths of the names that `from concord.ROOM import ...` takes, in a page or a script."""
    found = set()
    for module, wrapped, line in IMPORT.findall(text):
        names = re.sub(r"#.*", "", wrapped or line).replace("\n", " ").split(",")
        found |= {f"{module}.{name.split()[0]}" for name in names if name.strip()}
    return found


def shown() -> dict[str, str]:
    """Texts for users by name: pages, notebooks and examples; not those for who works on the package."""
    docs = ROOT / "docs"
    paths = [
        ROOT / "README.md",
        *docs.rglob("*.md"),
        *docs.glob("notebooks/*.py"),
        *ROOT.glob("examples/*.py"),
    ]
    left_out = {"develop", "_build"}
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in sorted(paths)
        if not left_out & set(path.parts)
    }


def loaded() -> dict[str, type]:
    """Classes of the package by name: some hints name a class that is imported for type checkers alone."""
    modules = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == "concord"]
    return {
        name: value for module in modules for name, value in vars(module).items() if isinstance(value, type)
    }


def returned(value: object, known: dict[str, type]) -> set[type]:
    """Dataclasses of the package that a function, or a public method of a class, says it returns."""
    members = [value]
    if isinstance(value, type):
        members = [member for name, member in inspect.getmembers(value) if name[0] != "_"]
    found = set()
    for member in members:
        own = vars(sys.modules.get(getattr(member, "__module__", ""), sys))
        for word in re.findall(r"\w+", str(getattr(member, "__annotations__", {}).get("return", ""))):
            kind = own.get(word, known.get(word))
            if isinstance(kind, type) and is_dataclass(kind) and kind.__module__.startswith("concord."):
                found.add(kind)
    return found


def test_every_public_name_is_in_the_reference():
    known = list(map(id, described().values()))
    assert [path for path, value in public().items() if id(value) not in known] == []


def test_every_name_that_a_page_or_an_example_imports_is_in_the_reference():
    known = list(map(id, described().values()))
    taken = {(path, where) for where, text in shown().items() for path in imported(text)}
    assert {where for _, where in taken} > {"docs/export.md", "examples/own_coupling.py"}
    missing = []
    for path, where in sorted(taken):
        module, _, name = path.rpartition(".")
        if id(getattr(importlib.import_module(module), name)) not in known:
            missing.append(f"{path}, imported by {where}")
    assert missing == []


def test_imports_of_a_text_are_seen():
    text = (
        "from concord.study import (\n    run,  # all\n    compare as c,\n)\nfrom concord.runs import train\n"
    )
    assert imported(text) == {"concord.study.run", "concord.study.compare", "concord.runs.train"}


def test_everything_that_a_public_name_returns_is_in_the_reference():
    known = set(map(id, described().values()))
    names = public()
    classes = loaded()
    missing = {
        f"{kind.__module__}.{kind.__qualname__}, returned by {path}"
        for path, value in names.items()
        for kind in returned(value, classes)
        if id(kind) not in known
    }
    assert missing == set()


@pytest.mark.parametrize(
    "name",
    ["RelationCheck", "Contradiction", "Choice", "PriorShift", "FirstStage", "Run", "Pretrained", "Exported",
     "ObjectiveResult"],
)  # fmt: skip
def test_results_by_attribute_are_there_too(name):
    assert name in {path.rpartition(".")[2] for path in described()}
