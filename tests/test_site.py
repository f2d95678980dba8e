"""How the site is built: its example study and its notebooks are of today's code, and a failure says why."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

import concord

CONF = Path(__file__).parents[1] / "docs" / "conf.py"

STUDY = """#!{python}
import pathlib, sys
plan, out = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[4])
if "broken" in plan.read_text():
    sys.exit("broken is no key of a plan")
runs = out / "runs.txt"
out.mkdir(parents=True, exist_ok=True)
runs.write_text((runs.read_text() if runs.exists() else "") + "x")
(out / "report.html").write_text(f"{{sys.argv[1:]}}: {{plan.read_text()}}{{runs.read_text()}}")
"""
"""A stand-in for `concord study`: its report holds the command, the plan and one x per run in its folder."""


@pytest.fixture
def conf(monkeypatch):
    for name in ("sphinx", "myst_nb", "latex2mathml"):
        pytest.importorskip(name, reason="make docs installs it")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("conf", CONF)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def app(conf, tmp_path):
    command = tmp_path / "bin" / "concord"
    command.parent.mkdir()
    command.write_text(STUDY.format(python=sys.executable))
    command.chmod(0o755)
    os.environ["PATH"] = os.pathsep.join([str(command.parent), os.environ["PATH"]])
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "example.yaml").write_text("seeds: 5 ")
    return SimpleNamespace(
        builder=SimpleNamespace(format="html"),
        config=SimpleNamespace(package_source="one"),
        srcdir=tmp_path / "docs",
        outdir=tmp_path / "html",
        doctreedir=tmp_path / "html" / ".doctrees",
    )


def report(conf, app) -> str:
    conf._run_study(app)
    return (app.outdir / "example" / "report.html").read_text()


def test_the_example_is_run_anew_for_another_plan_or_another_source(conf, app):
    command = "['study', 'docs/example.yaml', '--out', 'runs/report']"
    assert report(conf, app) == f"{command}: seeds: 5 x"
    assert report(conf, app) == f"{command}: seeds: 5 xx", "in the folder of the same plan and source"
    (app.srcdir / "example.yaml").write_text("seeds: 6 ")
    assert report(conf, app) == f"{command}: seeds: 6 x"
    app.config.package_source = "another"
    assert report(conf, app) == f"{command}: seeds: 6 x"
    assert len(list(app.doctreedir.iterdir())) == 1, "nothing older is kept"


def test_the_command_is_that_of_the_page(conf, app):
    command = "concord study docs/example.yaml --out runs/report"
    assert f"\n{command}\n" in (CONF.parent / "example.md").read_text(encoding="utf-8")
    assert str(command.split()[1:]) in report(conf, app)


def test_a_failing_example_says_why(conf, app):
    (app.srcdir / "example.yaml").write_text("broken: 5")
    with pytest.raises(conf.ExtensionError, match="ended with 1:\nbroken is no key of a plan"):
        conf._run_study(app)
    assert not (app.outdir / "example" / "report.html").exists()


def test_the_digest_is_of_names_and_contents_but_not_of_what_python_compiled(conf, tmp_path):
    folder = tmp_path / "package"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "a.py").write_text("x = 1")
    first = conf._digest(folder)
    (folder / "__pycache__" / "a.cpython-312.pyc").write_bytes(b"compiled")
    assert conf._digest(folder) == first
    (folder / "a.py").write_text("x = 2")
    second = conf._digest(folder)
    (folder / "a.py").rename(folder / "b.py")
    assert len({first, second, conf._digest(folder)}) == 3


def test_a_changed_package_makes_every_page_be_read_again(conf):
    app = Mock()
    conf.setup(app)
    app.add_config_value.assert_called_once_with("package_source", "", "env", str)
    assert conf.package_source == conf._digest(Path(concord.__file__).parent)
