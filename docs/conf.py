"""How `make docs` builds the site: Sphinx with furo and MyST; every warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from pydantic import BaseModel
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from concord import __version__

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from command_reference import reference

project = "Concord"
author = "The Concord contributors"
copyright = "The Concord contributors"  # noqa: A001 - Sphinx's own name
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "literal"  # single backticks of docstrings
html_theme = "furo"
html_title = "Concord"
html_show_sourcelink = False
html_math_renderer = "mathml"
html_static_path = ["static"]

nitpicky = True  # a reference to a name of ours that is not there is a warning, and so an error
nitpick_ignore_regex = [
    ("py:.*", r"(torch|collections|numpy|scipy|polars|pathlib|typing)\..*"),
    # Fields of documented results whose own types are private behind their doors.
    ("py:class", r"concord\.(auto\.families\.Family|estimation\.em\.TableRule)"),
    ("py:class", r"concord\.(config\.schema\.\w+|decoding\.(decoders\.Decoders|thresholds\.Thresholds))"),
    ("py:class", r"concord\.study\.(spec\.\w+|plan\.\w+Plan|drawn_faces\.poses\.Faces)"),
    ("py:class", r"concord\.(estimation\.shift\.InputShift|auto\.alignment\.Alignment)"),
]

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and ranges stand in the docstrings
napoleon_use_ivar = True


def _add_commands(app: Sphinx, page: str, source: list[str]) -> None:
    if page == "reference/commands":
        source[0] += f"\n{reference()}"


def _dashed(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    # Of an attribute, Napoleon takes what stands before a colon for its type.
    if what in ("attribute", "property", "data") and lines:
        lines[0] = lines[0].replace(": ", " \N{EN DASH} ")


def _untyped(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    # Types of a model's keys hold validators, which tell a reader nothing.
    if isinstance(thing, type) and issubclass(thing, BaseModel):
        lines[:] = [line for line in lines if not line.startswith(":vartype ")]


def _mathml(formula: str, display: str) -> str:
    # Browsers put no space around an identifier, not even one that is a function.
    space = '<mspace width="0.167em"/>'
    return convert(formula, display=display).replace("<mi>log</mi>", f"{space}<mi>log</mi>{space}")


def _formula(page: HTML5Translator, node: nodes.math) -> None:
    page.body.append(_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _displayed_formula(page: HTML5Translator, node: nodes.math_block) -> None:
    page.body.append(f'<div class="formula">{_mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Add the commands to their page; show formulas as MathML, and languages without a lexer as they are.

    MathML is drawn by the browser: the site asks nothing of the network.
    """
    app.add_html_math_renderer("mathml", (_formula, None), (_displayed_formula, None))
    app.add_css_file("site.css")
    app.connect("source-read", _add_commands)
    app.connect("autodoc-process-docstring", _dashed, priority=400)  # before Napoleon
    app.connect("autodoc-process-docstring", _untyped, priority=600)  # after Napoleon
    for name in ("csv", "mermaid"):
        app.add_lexer(name, TextLexer)
