"""`make demo`, walked end to end: in small, killed and gone on with, and (slow) as it is typed."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from concord.cli import app
from concord.study.problems.cases.digits import PLAN

KILLED = """
import os, signal, sys
from concord.cli import main
from concord.study.running import cells

write = cells.write_json

def write_or_die(path, values):
    if path.parent.name == "runs" and len(list(path.parent.glob("*.json"))) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, values)

cells.write_json = write_or_die
sys.argv[0] = "concord"
main()
"""
"""`concord ...` in a process that ends, as by a power cut, while it writes its fourth run."""


def concord(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def results(out):
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def verdict(summary, regime, task, condition, baseline):
    wanted = (regime, task, condition, baseline)
    return next(
        row
        for row in summary["verdicts"]
        if (row["regime"], row["task"], row["condition"], row["baseline"]) == wanted
    )


def test_make_demo_runs_the_digits_study():
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    assert "\ndemo: setup " in makefile
    assert "\n\t$(BIN)/concord study digits --out runs/digits\n" in makefile


def test_the_demo_in_small(tmp_path, monkeypatch):
    """One seed and few steps: all regimes and conditions, down to the page."""
    monkeypatch.setitem(PLAN, "budget", {"steps": 100})  # a quick look takes a quarter of them
    out = tmp_path / "digits"
    said = concord("study", "digits", "--quick", "--seeds", 1, "--processes", 1, "--out", out)
    rows = results(out)
    assert {row["regime"] for row in rows} == {"few-class", "few-label", "balanced"}
    assert {row["condition"] for row in rows} == set(PLAN["conditions"])
    assert {(row["n_class"], row["n_label"]) for row in rows} == {
        ("50", "600"), ("600", "50"), ("200", "200"),
    }  # fmt: skip
    accuracy = {
        row["condition"]: float(row["value"])
        for row in rows
        if (row["regime"], row["metric"], row["task"]) == ("few-class", "accuracy", "digit")
    }
    assert accuracy["posterior"] > accuracy["single-task"] > 0.3
    assert "Undecided, 1 seed" in said
    page = (out / "report.html").read_text(encoding="utf-8")
    assert PLAN["title"] in page
    assert "://" not in page.replace("http://www.w3.org/", "")  # asks nothing of the network


@pytest.mark.slow
def test_killed_while_it_writes_it_goes_on_and_ends_the_same(tmp_path):
    short = {
        **PLAN,
        "seeds": 1,
        "regimes": PLAN["regimes"][:1],
        "budget": {"steps": 40, "log_every": 20},
        "resamples": 50,
    }
    plan = tmp_path / "demo.yaml"
    plan.write_text(yaml.safe_dump(short), encoding="utf-8")
    arguments = ["study", str(plan), "--processes", "1", "--out"]
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    died = subprocess.run([sys.executable, "-c", KILLED, *arguments, str(broken)], check=False)
    assert died.returncode == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in (broken / "runs").glob("*.json")}
    assert len(before) == 3
    assert not (broken / "results.csv").exists()
    assert "3 of 7 runs were done already" in concord(*arguments, broken)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    concord(*arguments, whole)
    for name in ("results.csv", "curves.csv", "relation.json", "gallery.json"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
    first, second = (json.loads((out / "summary.json").read_text()) for out in (broken, whole))
    assert {**first, "cost": 0} == {**second, "cost": 0}


@pytest.mark.slow
def test_the_whole_demo_says_what_helps_and_what_harms(tmp_path):
    concord("study", "digits", "--out", tmp_path / "digits")
    summary = json.loads((tmp_path / "digits" / "summary.json").read_text())
    for baseline in ("single-task", "uncoupled"):
        row = verdict(summary, "few-class", "digit", "posterior", baseline)
        assert row["mean"] >= 0.95
        assert row["verdict"] == "superior"
        assert row["low"] > 0
        assert row["bootstrap_low"] > 0
    assert verdict(summary, "few-class", "digit", "paper-matching", "uncoupled")["verdict"] == "inferior"
    assert verdict(summary, "few-label", "segments", "paper-matching", "uncoupled")["verdict"] == "inferior"
    assert "Harm against the uncoupled network: paper-matching" in summary["sentence"]
    page = (tmp_path / "digits" / "report.html").read_text(encoding="utf-8")
    assert "Harm against the uncoupled network: paper-matching" in page
