"""`concord study` from the command line; the demo itself is in tests/test_demo.py."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from concord.cli import app, main
from concord.study.plan import read_plan
from concord.study.problems.cases import case_names
from concord.study.running.cells import open_folder
from warm import run_warm

PLAN = {
    "title": "mine",
    "problem": "digits",
    "seeds": 2,
    "conditions": ["single-task", "uncoupled", "posterior"],
    "regimes": [{"name": "few-class", "rows": {"digit": 40, "segments": 120}}],
    "network": {"hidden": [32]},
    "budget": {"steps": 10, "rows_per_task": 16, "log_every": 5},
    "resamples": 50,
}


def concord(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(PLAN))
    return path


def test_a_plan_is_walked_from_yaml_to_report(plan, tmp_path):
    out = tmp_path / "out"
    result = concord("study", plan, "--out", out, "--processes", 1)
    assert result.exit_code == 0, result.output
    assert "few-class: digit, accuracy" in result.output
    assert "Undecided, 2 seeds: a verdict takes at least 3" in " ".join(result.output.split())
    for name in (
        "config.json",
        "environment.json",
        "results.csv",
        "curves.csv",
        "summary.json",
        "report.html",
    ):
        assert (out / name).stat().st_size > 0
    assert len(json.loads((out / "summary.json").read_text())["verdicts"]) == 6
    again = concord("study", plan, "--out", out, "--processes", 1)
    assert "6 of 6 runs were done already" in again.output


def array(index):
    return ("--array-index", index, "--array-size", 2)


def test_images_are_left_out_where_that_is_asked_for(plan, tmp_path):
    given = ["study", plan, "--seeds", 1, "--out", tmp_path / "out", "--processes", 1]
    assert concord(*given).exit_code == 0
    assert json.loads((tmp_path / "out" / "gallery.json").read_text())
    assert concord(*given, "--no-images").exit_code == 0
    assert json.loads((tmp_path / "out" / "gallery.json").read_text()) == []
    assert "data:image" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_array_jobs_work_on_one_plan(plan, tmp_path):
    first = concord("study", plan, "--out", tmp_path / "o", "--processes", 1, *array(0))
    assert "3 runs are not done yet" in first.output
    assert not (tmp_path / "o" / "results.csv").exists()
    second = concord("study", plan, "--out", tmp_path / "o", "--processes", 1, *array(1))
    assert "report:" in second.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digit"], "unknown study 'digit'; did you mean 'digits'?"),
        (["none.yaml"], "no study plan at none.yaml"),
        (["digits", "--array-index", "1"], "--array-index and --array-size go together"),
        (["digits", "--array-index", "2", "--array-size", "2"], "found 2 of 2"),
        (["digits", "--engine", "rye"], "unknown engine 'rye'; did you mean 'ray'?"),
        (["digits", "--out", "."], "holds no study"),
    ],
)
def test_mistakes_are_one_line(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["concord", "study", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert [line.partition(": ")[0] for line in said.splitlines()] == ["concord", "more"]


LACKING = {"manifest": "m.csv", "features": "x.npz"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"conditions": ["single-task", "postrior"]},
            "unknown condition 'postrior'; did you mean 'posterior'?",
        ),
        (
            {"regimes": [{"name": "huge", "rows": {"digit": 900, "segments": 9}}]},
            "'huge' needs 900 training rows",
        ),
        (
            {"problem": LACKING, "regimes": [{"name": "a", "rows": {"pet": 4}}]},
            "split 'test' has no row of 'owl'",
        ),
        ({"seeds": [0, 1, 1]}, "seed 1 occurs twice"),
        ({"seeds": [0, -1]}, "seeds.1"),
        ({"margin": 3}, "holds another plan (margin is 1.0 there, 3.0 here)"),
    ],
)
def test_bad_plans_are_one_line_and_nothing_is_written(plan, tmp_path, monkeypatch, capsys, changes, message):
    np.savez(tmp_path / "x.npz", x=np.eye(24, 3, dtype=np.float32))
    pets = ["cat", "dog", "owl", "cat", "dog", "owl", "cat", "dog"]
    splits = ["train"] * 3 + ["val"] * 3 + ["test"] * 2
    lines = [f"{i},{split},{pet}" for i, (split, pet) in enumerate(zip(splits, pets, strict=True))]
    (tmp_path / "m.csv").write_text("\n".join(["row,split,pet", *lines]) + "\n")
    out = tmp_path / "out"
    if "margin" in changes:
        open_folder(out, read_plan(plan))
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    plan.write_text(yaml.safe_dump(PLAN | changes))
    monkeypatch.setattr(sys, "argv", ["concord", "study", str(plan), "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("more: ")]
    assert len(said) == 1
    assert message in said[0]
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from concord.cli import main\n"
        "sys.argv = ['concord', 'study', '--help']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'numpy', 'matplotlib', 'polars'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_the_help_names_every_built_in_study():
    said = " ".join(CliRunner().invoke(app, ["study", "--help"], env={"COLUMNS": "200"}).output.split())
    assert f"A built-in study ({', '.join(case_names())}) or a plan" in said


def test_a_plan_whose_problem_is_code_says_so_before_it_runs(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(PLAN | {"problem": "a_module:make"}))
    (tmp_path / "a_module.py").write_text("import sys\nprint('it runs', file=sys.stderr)\nmake = len\n")
    ended = run_warm("from concord.cli import main; main()", ["study", path, "--out", tmp_path], tmp_path, {})
    lines = ended.stderr.decode().splitlines()
    assert lines[0] == "concord: note: problem 'a_module:make' is Python code next to the plan, and is run"
    assert lines[1] == "it runs"
