"""How `make docs` builds the site: Sphinx with furo and MyST; every warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from concord import __version__

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from command_reference import reference

project = "Concord"
author = "The Concord contributors"
copyright = "The Concord contributors"  # noqa: A001 - Sphinx's own name
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "Concord"
html_show_sourcelink = False

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and ranges stand in the docstrings
napoleon_use_ivar = True


def _add_commands(app: Sphinx, page: str, source: list[str]) -> None:
    if page == "reference/commands":
        source[0] += f"\n{reference()}"


def setup(app: Sphinx) -> None:
    """Add the commands to their page; blocks in languages that have no lexer are shown as they are."""
    app.connect("source-read", _add_commands)
    for name in ("csv", "mermaid"):
        app.add_lexer(name, TextLexer)
