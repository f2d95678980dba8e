"""Docstrings are whole, and their examples print what they say."""

from __future__ import annotations

import doctest
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("check_docstrings", ROOT / "tools" / "check_docstrings.py")
check = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(check)

THINGS = '''
class Box:
    """A box.{args}{raises}"""

    def __init__(self, width):
        if width < 0:
            raise RangeError("too narrow")

    def open(self, how):
        """Open it{how}."""

    @open.setter
    def shut(self, value):
        pass


def weigh(box):
    """See `concord.elsewhere`."""
    raise ShapeError("no box")


def _private(x):
    pass
'''


@pytest.fixture
def package(tmp_path):
    def make(**parts):
        for room in check.ROOMS:
            module = tmp_path.joinpath(*room.split(".")).with_suffix(".py")
            module.parent.mkdir(exist_ok=True)
            module.write_text("__all__ = []\n", encoding="utf-8")
        text = "from concord.things import Box, weigh\n__all__ = ['Box', 'weigh', 'data']\n"
        (tmp_path / "__init__.py").write_text(text, encoding="utf-8")
        (tmp_path / "things.py").write_text(THINGS.format(**parts), encoding="utf-8")
        return tmp_path

    return make


def test_public_names_have_whole_docstrings(capsys):
    assert check.main() == 0, capsys.readouterr().out
    names = {where.split(": ")[-1] for where, _ in check.public(check.PACKAGE)}
    assert {"CoupledObjective", "Relation", "MarginalLikelihood", "Manifest", "expressions", "mlp"} <= names


def test_gaps_are_found_by_name(package, capsys):
    assert check.main(package(args="", raises="", how="")) == 3
    said = capsys.readouterr().out
    assert "Box: says nothing of width" in said
    assert "Box: does not say what it raises" in said
    assert "Box.open: says nothing of how" in said
    assert "weigh" not in said


def test_a_whole_docstring_passes(package):
    assert (
        check.main(
            package(args=" width: in cm.", raises="\n\n    Raises:\n        RangeError: x.\n", how=": how")
        )
        == 0
    )


SOURCE = ROOT / "src"
EXAMPLES = [
    ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    for path in sorted((SOURCE / "concord").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", EXAMPLES)
def test_the_examples_print_what_they_say(module):
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert tried
    assert not failed
