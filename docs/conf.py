"""How `make docs` builds the site: Sphinx with furo and MyST; every warning is an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from nbclient import NotebookClient
from pydantic import BaseModel
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from concord import __version__

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
# Networks as small as those of notebooks are slower on more threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Notebooks call `concord`, which lies next to this Python, whether or not its environment is activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
from command_reference import reference

project = "Concord"
author = "The Concord contributors"
copyright = "The Concord contributors"  # noqa: A001 - Sphinx's own name
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "conf.py"]
source_suffix = {".md": "myst-nb", ".py": "myst-nb"}
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

nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"  # every notebook that is new or changed since the last build
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
NotebookClient.coalesce_streams = True  # what a shell says comes in pieces that end anywhere

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


def _add_links(app: Sphinx, page: str, source: list[str]) -> None:
    if page.startswith("notebooks/") and page != "notebooks/index":
        name = page.partition("/")[2]
        links = f"{{nb-download}}`{name}.ipynb`, {{download}}`{name}.py`"
        source[0] += f"\n# %% [markdown]\n# Download: {links}\n"


def _run_study(app: Sphinx) -> None:
    """Train and draw the study of example.md; one that an earlier build has run is only drawn again."""
    if app.builder.format != "html":
        return
    here = Path(app.doctreedir)
    here.mkdir(parents=True, exist_ok=True)
    plan = os.path.relpath(Path(app.srcdir) / "example.yaml", here)  # the report shows the command
    subprocess.run(["concord", "study", plan, "--out", "study"], cwd=here, check=True, capture_output=True)
    shown = Path(app.outdir) / "example" / "report.html"
    shown.parent.mkdir(parents=True, exist_ok=True)
    shown.write_bytes((here / "study" / "report.html").read_bytes())


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
    app.connect("source-read", _add_links)
    app.connect("builder-inited", _run_study)
    app.connect("autodoc-process-docstring", _dashed, priority=400)  # before Napoleon
    app.connect("autodoc-process-docstring", _untyped, priority=600)  # after Napoleon
    for name in ("csv", "mermaid"):
        app.add_lexer(name, TextLexer)
