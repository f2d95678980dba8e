"""How `make docs` builds the site: Sphinx with furo and MyST; every warning is an error."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from nbclient import NotebookClient
from pydantic import BaseModel
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.writers.html5 import HTML5Translator

import concord

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
# Networks as small as those of notebooks are slower on more threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Notebooks call `concord`, which lies next to this Python, whether or not its environment is activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
from command_reference import reference

project = "Concord"
author = "The Concord contributors"
copyright = "The Concord contributors"  # noqa: A001 - Sphinx's own name
release = version = concord.__version__

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
nb_execution_mode = "force"  # every notebook that is read: it, or `package_source`, is new or changed
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


def _digest(folder: Path) -> str:
    """Of the names and contents of all files below a folder, but for what Python compiled."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        found.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return found.hexdigest()


package_source = _digest(Path(concord.__file__).parent)


def _run_study(app: Sphinx) -> None:
    """Train and draw the study of example.md; that of the same plan and source is only drawn again."""
    if app.builder.format != "html":
        return
    plan = (Path(app.srcdir) / "example.yaml").read_bytes()
    digest = hashlib.sha256(app.config.package_source.encode() + plan).hexdigest()
    here = Path(app.doctreedir) / f"example-{digest[:12]}"
    for older in here.parent.glob("example-*/"):
        if older != here:
            shutil.rmtree(older)
    (here / "docs").mkdir(parents=True, exist_ok=True)
    (here / "docs" / "example.yaml").write_bytes(plan)
    # The report shows the command: it is that of the page.
    command = ["concord", "study", "docs/example.yaml", "--out", "runs/report"]
    done = subprocess.run(command, cwd=here, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise ExtensionError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr or done.stdout}"
        )
    shown = Path(app.outdir) / "example" / "report.html"
    shown.parent.mkdir(parents=True, exist_ok=True)
    shown.write_bytes((here / "runs" / "report" / "report.html").read_bytes())


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
    app.add_config_value(
        "package_source", "", "env", str
    )  # another value: all pages are read, all notebooks run
    app.add_html_math_renderer("mathml", (_formula, None), (_displayed_formula, None))
    app.add_css_file("site.css")
    app.connect("source-read", _add_commands)
    app.connect("source-read", _add_links)
    app.connect("builder-inited", _run_study)
    app.connect("autodoc-process-docstring", _dashed, priority=400)  # before Napoleon
    app.connect("autodoc-process-docstring", _untyped, priority=600)  # after Napoleon
    for name in ("csv", "mermaid"):
        app.add_lexer(name, TextLexer)
