"""`-` is standard input and output, and `--json` says in data what a command says in words."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from PIL import Image

from concord import cli
from concord.cli.streams import named_files
from concord.errors import ConfigError
from config_worlds import world, write

PETS = "path,pet,purrs,barks\na.png,cat,1,0\nb.png,dog,0,1\nc.png,cat,1,\n"
COLUMNS = ["--task", "pet", "--labels", "traits=purrs,barks"]
TABLE = "pet,purrs,barks\ncat,.9,0\ndog,0,.9\n"


@pytest.fixture
def concord(monkeypatch, capfdbinary, tmp_path):
    """Exit status, standard output and standard error of a command that is given standard input."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets.csv").write_text(PETS)
    (tmp_path / "table.csv").write_text(TABLE)

    def run(*arguments, given=b""):
        monkeypatch.setattr(sys, "argv", ["concord", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace", write_through=True)
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = out.buffer.getvalue()
        return SimpleNamespace(status=stop.value.code, out=printed, err=capfdbinary.readouterr().err.decode())

    return run


def test_a_manifest_through_pipes_is_the_one_through_files(concord, tmp_path):
    cats = ["--where", "pet == 'cat'"]
    assert concord("data", "table", "pets.csv", *COLUMNS, "--out", "pets.parquet").status == 0
    assert concord("data", "filter", "pets.parquet", "--out", "cats.csv", *cats).status == 0
    first = concord("data", "table", "-", *COLUMNS, "--out", "-", given=PETS.encode())
    assert (first.status, first.err[:22]) == (0, "wrote standard output:")
    again = concord("data", "filter", "-", "--out", "-", *cats, given=first.out)
    assert again.out == (tmp_path / "cats.csv").read_bytes()
    parquet = (tmp_path / "pets.parquet").read_bytes()
    assert concord("data", "filter", "-", "--out", "-", *cats, given=parquet).out == again.out


def test_a_pipe_gets_text_without_codes_of_a_terminal_wherever_it_is_read(concord, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as Jupyter has it for cells of bash
    shown = concord("relation", "show", "table.csv")
    assert (shown.status, b"purrs" in shown.out, b"\x1b" in shown.out) == (0, True, False)


def test_bytes_of_a_stream_are_of_no_terminals_encoding(concord):
    given = PETS.replace("cat", "Kätzchen").encode()
    assert "Kätzchen" in concord("data", "table", "-", *COLUMNS, "--out", "-", given=given).out.decode()


def test_a_gzipped_table_is_read_from_a_pipe_as_from_a_file(concord):
    plain = concord("data", "table", "-", *COLUMNS, "--out", "-", given=PETS.encode())
    assert (
        concord("data", "table", "-", *COLUMNS, "--out", "-", given=gzip.compress(PETS.encode())).out
        == plain.out
    )
    twice = concord("relation", "check", "-", "-", *COLUMNS, given=gzip.compress(TABLE.encode()))
    assert twice.err == (
        "concord: standard input (-) can be read once, and is given twice\n"
        "more: concord explain howto/config\n"
    )


def test_closed_standard_input_is_an_empty_one(concord, monkeypatch):
    for given in (["data", "inspect", "-"], ["predict", ".", "-"]):
        monkeypatch.setattr(sys, "argv", ["concord", *given])
        monkeypatch.setattr(sys, "stdin", None)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 2


def test_paths_from_a_pipe_are_the_bytes_that_files_are_called_by(monkeypatch):
    names = [b"a b.png", b"\xff.png", "é\u2028é.png".encode(), b"line\x0btab.png", b"\r.png"]
    given = b"\n".join(names[:2]) + b"\r\n\n" + b"\n".join(names[2:]) + b"\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
    assert [os.fsencode(path) for path in named_files([Path("-")])] == names
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n"), encoding="utf-8"))
    with pytest.raises(ConfigError, match="is empty; pipe paths into it"):
        named_files([Path("-")])


@pytest.mark.parametrize(
    ("arguments", "given", "message"),
    [
        (["data", "inspect", "-"], b"", "standard input (-) is empty"),
        (["data", "inspect", "-", "--task", "nopet"], PETS.encode(), "unknown column 'nopet'"),
        (["relation", "estimate", "-", "--predictions", "-", "--out", "-"], PETS.encode(), "given twice"),
        (
            ["relation", "show", "-", "--out", "-", "--json", "-"],
            TABLE.encode(),
            "--out and --json are one file",
        ),
        (["data", "inspect", "-", *COLUMNS, "--row", "path"], PETS.encode(), "standard input"),
    ],
)
def test_what_cannot_be_done_leaves_nothing_on_standard_output(concord, arguments, given, message):
    found = concord(*arguments, given=given)
    assert (found.status, found.out) == (2, b"")
    assert message in found.err
    assert "concord-" not in found.err  # no name of a place that is gone


COMMANDS = {
    "inspect": ["data", "inspect", "pets.csv", *COLUMNS],
    "readers": ["data", "readers"],
    "reader": ["data", "readers", "imagefolder"],
    "split": ["data", "split", "pets.parquet", "--out", "new.csv", "--no-groups"],
    "show": ["relation", "show", "table.csv"],
    "estimate": ["relation", "estimate", "pets.csv", *COLUMNS, "--out", "own.csv"],
    "check": ["relation", "check", "table.csv", "pets.csv", *COLUMNS, "--predictions", "p.npz"],
    "annotate": [
        "annotate", "pets.parquet", "--relation", "table.csv", "--source", "pet", "--target", "traits",
        "--out", "filled.csv",
    ],
    "doctor": ["doctor"],
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_findings_as_json_are_the_same_in_a_file_and_on_standard_output(concord, name, tmp_path):
    assert concord("data", "table", "pets.csv", *COLUMNS, "--out", "pets.parquet").status == 0
    np.savez("p.npz", pet=np.full((3, 2), 0.5), traits=np.full((3, 2), 0.5))
    plain = concord(*COMMANDS[name])
    piped = concord(*COMMANDS[name], "--json", "-")
    filed = concord(*COMMANDS[name], "--json", "found.json")
    assert (plain.status, piped.status, filed.status) == (0, 0, 0)
    assert json.loads(piped.out) == json.loads((tmp_path / "found.json").read_text())
    words = filed.out.decode().replace("wrote found.json\n", "")
    assert words == plain.out.decode() != ""
    assert "wrote standard output" in piped.err


def test_json_of_a_table_says_what_stands_in_it(concord):
    found = json.loads(
        concord("relation", "show", "-", "--json", "-", given=b"pet,purrs,barks\ncat,.9,\ndog,0,.9\n").out
    )
    assert found["table"] == {"cat": {"purrs": 0.9, "barks": None}, "dog": {"purrs": 0.0, "barks": 0.9}}
    assert (found["source"], found["indistinguishable"]) == ("pet", [])


def test_predictions_of_images_that_standard_input_or_a_pattern_names(concord, tmp_path):
    config = write(world(tmp_path, "images"), tmp_path / "mine.yaml")
    assert concord("train", config, "--out", "run").status == 0
    (tmp_path / "new").mkdir()
    for name in ("a.png", "b c.png"):
        Image.new("RGB", (30, 20), (len(name) * 9, 0, 0)).save(tmp_path / "new" / name)
    folder, pattern, named, single = (
        concord("predict", "run", *given, "--to", "-", given=b"new/a.png\nnew/b c.png\n")
        for given in (["new"], ["new/*.png"], ["-"], ["new/a.png"])
    )
    assert folder.status == 0, folder.err
    assert folder.out == pattern.out.replace(b"new/", b"")
    assert pattern.out == named.out
    assert pl.read_csv(pattern.out)["path"].to_list() == ["new/a.png", "new/b c.png"]
    assert pl.read_csv(single.out)["path"].to_list() == ["new/a.png"]
    none = concord("predict", "run", "none/*.png")
    assert (none.status, none.err.splitlines()[0]) == (2, "concord: no file fits the pattern 'none/*.png'")
