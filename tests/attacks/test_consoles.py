"""Consoles of any encoding, none, and full ones: results are kept, nothing raw is shown."""

from __future__ import annotations

import json
import subprocess
import sys

import polars as pl
import pytest
from attack_worlds import command, make_world, told
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from concord.terminal import console, plain, printable

DRINK = "getränk ☕"
RAW = "\x1b]0;owned\x07\x1b[2J\u202egpj\u2028\x9b1m"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    rows = {
        "row": range(40),
        DRINK: ["tea ☕", "water"] * 20,
        "split": ["train", "val", "test", "train"] * 10,
    }
    pl.DataFrame(rows).write_csv(folder / "drinks.csv")
    (folder / "drinks-table.csv").write_text("drink,hot\ntea ☕,1\nwater,0\n", encoding="utf-8")
    (folder / "drinks.yaml").write_text(
        "sources: {s: {manifest: drinks.csv, inputs: {kind: features, file: features.npy}}}\n"
        "training: {steps: 2, batch_size: 8, accelerator: cpu}\nvalidation: {every: 1}\noutput: run\n",
        encoding="utf-8",
    )
    return folder


COMMANDS = {
    "relation show": (["relation", "show", "drinks-table.csv", "--out", "copy.csv"], "copy.csv"),
    "data inspect": (["data", "inspect", "drinks.csv", "--json", "found.json"], "found.json"),
    "data split": (["data", "split", "drinks.csv", "--stratify", DRINK, "--out", "split.csv"], "split.csv"),
    "train": (["train", "drinks.yaml"], "run/run.json"),
    "evaluate": (["evaluate", "run"], "run/metrics-test.json"),
}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_character_that_the_console_lacks_costs_nothing(world, encoding):
    for arguments, file in COMMANDS.values():
        (world / file).unlink(missing_ok=True)
        done = command(world, *arguments, environment={"PYTHONIOENCODING": encoding})
        assert done.returncode == 0, done.stderr
        told(done)
        assert (world / file).is_file()


@pytest.mark.parametrize("where", ["closed", "full", "gone"])
def test_no_terminal_costs_no_result(world, where):
    copy = world / "copy.csv"
    copy.unlink(missing_ok=True)
    ends = {"closed": ">&-", "full": "> /dev/full", "gone": "| true"}[where]
    code = "from concord.cli import main; main()"
    line = f"set -o pipefail; '{sys.executable}' -c '{code}' relation show table.csv --out copy.csv {ends}"
    done = subprocess.run(["bash", "-c", line], cwd=world, capture_output=True, check=False)
    told(done)
    assert copy.is_file()
    # What was to be printed to a file on a full disk is not there, so that is no success.
    assert done.returncode == (2 if where == "full" else 0)


@pytest.mark.parametrize("ends", ["2>&-", ">&-"])
def test_data_for_a_closed_stream(world, ends):
    code = "from concord.cli import main; main()"
    line = f"'{sys.executable}' -c '{code}' relation show table.csv --out - {ends}"
    done = subprocess.run(["bash", "-c", line], cwd=world, capture_output=True, check=False)
    if ends == "2>&-":  # what is said has nowhere to go, least of all among the data
        assert done.returncode == 0
        assert done.stdout.splitlines()[0] == (world / "table.csv").read_bytes().splitlines()[0]
    else:
        assert done.returncode == 2
        assert "standard output could not be written" in told(done)[-1]


@given(st.text())
def test_nothing_raw_is_printable(text):
    shown = printable(text)
    assert all(c in "\n\t" or c.isprintable() or ord(c) > 159 for c in shown)
    assert not set(RAW) - set("]0;owned[2Jgpj1m") & set(shown)
    if not set(map(ord, text)) - set(range(32, 127)):
        assert shown == text


def test_a_table_of_hostile_names_shows_them_as_text(capsys):
    table = Table(title=plain(f"t{RAW}"))
    table.add_column(plain("[red]name[/red]"))
    table.add_row(plain("ki[/b] :smile:"))
    console().print(table)
    console().print(f"[/b] {RAW}")
    out = capsys.readouterr().out
    assert "[red]name[/red]" in out
    assert "ki[/b] :smile:" in out
    assert "\x1b" not in out
    assert "\\x1b" in out


def test_escape_sequences_in_names_reach_no_console(world):
    name = f"k{RAW}"
    rows = {"row": range(8), name: ["a", "b"] * 4}
    pl.DataFrame(rows).write_csv(world / "raw.csv")
    done = command(world, "data", "inspect", "raw.csv")
    refused = command(world, "data", "inspect", "raw.csv", "--task", f"{name}x")
    assert done.returncode == 0
    assert refused.returncode == 2
    for text in (done.stdout, refused.stderr):
        assert "\\x1b" in text.decode()
        assert not set(RAW) - set("]0;owned[2Jgpj1m") & set(text.decode())
    assert json.loads(command(world, "schema").stdout)
