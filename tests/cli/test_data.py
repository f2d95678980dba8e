"""`concord data`: every command on small files, and its mistakes."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from concord import MulticlassTask, MultilabelTask
from concord.cli import app
from concord.data import read_manifest, write_manifest
from concord.data.manifest import Manifest
from concord.data.registry import reader
from concord.errors import ConcordError, ConfigError, DuplicateNameError, UnknownNameError

PET = MulticlassTask("pet", ["cat", "dog"])
CSV = "image,who,part,expression,AU1,AU2\n" + "".join(
    f"{i}.jpg,s{i % 5},{'training' if i % 2 else 'test'},"
    f"{'happy' if i % 3 else ''},{i % 2},{-1 if i % 4 else 1}\n"
    for i in range(20)
)


def run(*arguments: object) -> Result:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["data", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    frame = pl.DataFrame(
        {
            "path": [f"{i}.png" for i in range(20)],
            "split": ["train", "test"] * 10,
            "group": [f"s{i // 2}" for i in range(20)],
            "pet": [["cat", "dog", None][i % 3] for i in range(20)],
            "traits.furry": [1, 0] * 10,
        }
    )
    write_manifest(
        Manifest(frame, (PET, MultilabelTask("traits", ["furry"])), name="pets"), tmp_path / "pets.parquet"
    )
    return tmp_path / "pets.parquet"


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    (tmp_path / "faces.csv").write_text(CSV.replace(",happy,1", ",sad,1"))
    return tmp_path / "faces.csv"


COLUMNS = ("--task", "expression", "--labels", "action_units=AU*", "--gap", "-1")
SPECIAL = ("--path", "image", "--split", "part", "--group", "who")


def test_inspect_prints_draws_and_writes(pets: Path, tmp_path: Path) -> None:
    figure, findings = tmp_path / "figure.png", tmp_path / "findings.json"
    result = run("inspect", pets, "--out", figure, "--json", findings)
    assert result.exit_code == 0
    assert "pets: 20 rows" in result.stdout
    assert "10 groups have rows in several splits" in result.stdout
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert json.loads(findings.read_text())["rows"] == 20


def test_inspect_says_which_files_are_missing(pets: Path, tmp_path: Path) -> None:
    for i in range(19):
        (tmp_path / f"{i}.png").write_bytes(b"same")
    result = run("inspect", pets, "--root", tmp_path, "--hash")
    assert "1 files are missing: 19.png" in result.stdout
    assert "1 files occur under several paths" in result.stdout


def test_inspect_several_as_one(pets: Path, tmp_path: Path) -> None:
    run("filter", pets, "--where", "split = 'test'", "--out", tmp_path / "part.parquet")
    result = run("inspect", pets, tmp_path / "part.parquet")
    assert "pets+pets-2: 30 rows" in result.stdout
    assert "10 samples occur in several rows" in result.stdout


def test_inspect_a_plain_table(faces: Path) -> None:
    result = run("inspect", faces, *COLUMNS, *SPECIAL)
    assert "expression: rows a class or label" in result.stdout
    assert "action_units: rows a class or label" in result.stdout


def test_table_makes_a_manifest(faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces.parquet"
    result = run("table", faces, *COLUMNS, *SPECIAL, "--root", tmp_path, "--out", out)
    assert f"wrote {out}" in result.stdout
    made = read_manifest(out)
    assert made.tasks == (
        MulticlassTask("expression", ["happy", "sad"]),
        MultilabelTask("action_units", ["AU1", "AU2"]),
    )
    assert made.root == tmp_path
    assert made.frame["action_units.AU2"].null_count() == 15
    assert set(made.frame["split"]) == {"train", "test"}


def test_table_renames_tasks_and_defaults_the_name_of_labels(faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces.csv.parquet"
    run("table", faces, "--task", "mood=expression", "--labels", "AU1", "--path", "image", "--out", out)
    assert [task.name for task in read_manifest(out).tasks] == ["mood", "labels"]


def test_a_manifest_is_no_plain_table(pets: Path, faces: Path, tmp_path: Path) -> None:
    (tmp_path / "named.csv").write_bytes(pets.read_bytes())
    for given in (
        ["inspect", pets, faces, "--labels", "AU*"],
        ["table", pets, "--task", "pet", "--out", tmp_path / "out.parquet"],
        ["inspect", tmp_path / "named.csv", "--task", "pet"],
    ):
        with pytest.raises(ConfigError, match=r"is a manifest already .* leave out --task and --labels"):
            run(*given)
    (tmp_path / "numbers.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(ConcordError, match=r"no column looks like a task; .*`concord data table FILE\.csv"):
        run("join", tmp_path / "numbers.csv", tmp_path / "numbers.csv", "--out", tmp_path / "out.parquet")


def test_table_needs_a_column(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one column with --task or --labels"):
        run("table", faces, "--out", tmp_path / "x.parquet")
    with pytest.raises(UnknownNameError, match="did you mean 'expression'"):
        run("table", faces, "--task", "expressions", "--out", tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("header", "cells", "option"),
    [
        ("picture,pet", "{i}.jpg,{pet}", "looks like a path: --path 'picture'"),
        ("number,file,pet", "{i},scan{i},{pet}", "looks like a path: --path 'file'"),
        ("index,pet", "{i},{pet}", "looks like a row: --row 'index'"),
        ("id,said,pet", "{i},my pet number {i} purrs,{pet}", "looks like a text: --text 'said'"),
        ("pet,barks", "{pet},1", "name a column with --path, --row or --text"),
        ("subject,pet,barks", "s,{pet},1", "name a column with --path, --row or --text"),
    ],
)
def test_a_table_that_says_of_no_sample_where_it_is(
    header: str, cells: str, option: str, tmp_path: Path
) -> None:
    file, out = tmp_path / "t.csv", tmp_path / "x.parquet"
    file.write_text("\n".join([header, *(cells.format(i=i, pet=("cat", "dog")[i % 2]) for i in range(12))]))
    options = ["--task", "pet", *(["--labels", "barks"] if "barks" in header else [])]
    options += ["--group", "subject"] if "subject" in header else []
    with pytest.raises(ConfigError, match=re.escape(option)) as caught:
        run("table", file, *options, "--out", out)
    assert "\n" not in str(caught.value)
    run("table", file, *options, "--out", out, "--count-rows")
    assert read_manifest(out).frame["row"].to_list() == list(range(12))


def test_a_table_of_feature_columns_is_its_own_feature_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("length,colour,pet\n1.5,red,cat\n2.5,blue,dog\n")
    run("table", tmp_path / "t.csv", "--task", "pet", "--out", tmp_path / "x.parquet")
    assert read_manifest(tmp_path / "x.parquet").frame["row"].to_list() == [0, 1]


def test_index(tmp_path: Path) -> None:
    root, out = tmp_path / "mine", tmp_path / "out" / "m.parquet"
    root.mkdir()
    (root / "class_attribute.csv").write_text("class_name,blue\ncar,1\nball,0\n")
    index = "file,class_name,split,half\n0.jpg,car,train,0\n1.jpg,ball,test,1\n"
    (root / "index.csv.gz").write_bytes(gzip.compress(index.encode()))
    result = run("index", "pack", root, "--option", "pack=clothing10", "--out", out)
    assert "2 rows" in result.stdout
    assert read_manifest(out).root == root


@pytest.mark.parametrize("option", ["pack", "=x", "pack={"])
def test_index_with_an_option_that_is_none(tmp_path: Path, option: str) -> None:
    with pytest.raises(ConfigError, match="option"):
        run("index", "pack", tmp_path, "--option", option, "--out", tmp_path / "m.parquet")


def test_a_reader_says_what_it_expects() -> None:
    said = run("readers", "bp4d-plus").output
    assert "AUCoding/AU_INT/AU06/F001_T1_AU06.csv" in said
    assert "missing: A frame without an image" in said
    assert reader("bp4d-plus").HOME in said


def test_readers() -> None:
    result = run("readers")
    assert "pack" in result.stdout
    assert "Aff-Wild2" in result.stdout


def test_join_stacks_or_merges(pets: Path, tmp_path: Path) -> None:
    classes, labels, out = (tmp_path / f"{name}.parquet" for name in ("classes", "labels", "out"))
    run("filter", pets, "--task", "pet", "--out", classes)
    run("filter", pets, "--task", "traits", "--out", labels)
    run("join", classes, labels, "--on", "path", "--out", out)
    assert read_manifest(out).frame.height == 20
    assert [task.name for task in read_manifest(out).tasks] == ["pet", "traits"]
    run("join", classes, labels, "--out", out)
    assert read_manifest(out).frame.height == 40
    with pytest.raises(ConfigError, match="--conflict is error, first or gap"):
        run("join", classes, labels, "--on", "path", "--conflict", "last", "--out", out)


def test_filter(pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "train.csv"
    result = run("filter", pets, "--where", "split == 'train'", "--out", out)
    assert "10 rows" in result.stdout
    assert read_manifest(out).frame["split"].unique().to_list() == ["train"]
    assert read_manifest(out).tasks == read_manifest(pets).tasks


def test_split(pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.parquet"
    result = run(
        "split", pets, "--train", 0.6, "--val", 0.2, "--test", 0.2, "--stratify", "pet", "--out", out
    )
    assert "shares reached" in result.stdout
    assert "pet = cat" in result.stdout
    done = read_manifest(out).frame
    assert (done.group_by("group").agg(pl.col("split").n_unique())["split"] == 1).all()
    assert set(done["split"]) == {"train", "val", "test"}


def test_a_seed_is_no_negative_number(pets: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["data", "split", str(pets), "--seed", "-1", "--out", str(tmp_path / "s.csv")]
    )
    assert result.exit_code == 2
    assert "--seed" in result.output


def test_split_keeps_what_is_to_stay(pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.parquet"
    run("split", pets, "--keep", "test", "--no-groups", "--test", 0, "--val", 0.5, "--out", out)
    before, after = read_manifest(pets).frame, read_manifest(out).frame
    assert after.filter(before["split"] == "test")["split"].unique().to_list() == ["test"]
    assert set(after.filter(before["split"] != "test")["split"]) == {"train", "val"}


def test_a_mistake_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from concord.cli import main; main()", "data", "inspect", "none.csv"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("concord: expected a manifest at none.csv, found nothing")
    assert done.stderr.endswith("\nmore: concord explain howto/data-sets#a-file-that-is-not-found\n")
    assert done.stderr.count("\n") == 2


def test_shares_that_do_not_sum_to_one_are_refused(pets, tmp_path):
    with pytest.raises(ConfigError, match=r"sum to 1, found 0\.5 \+ 0\.1 \+ 0\.1"):
        app(
            ["data", "split", str(pets), "--train", "0.5", "--out", str(tmp_path / "o.parquet")],
            standalone_mode=False,
        )


@pytest.mark.parametrize("arguments", [["--help"], ["inspect", "--help"], ["split", "--nonsense"]])
def test_help_is_cheap(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from concord.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "heavy = ('torch', 'polars', 'sklearn', 'scipy', 'matplotlib')\n"
        "print('HEAVY', [m for m in heavy if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, "data", *arguments]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "HEAVY []"


def test_errors_of_commands_are_errors_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path\na\n")
    with pytest.raises(ConcordError):
        run("split", tmp_path / "m.csv", "--out", tmp_path / "n.csv")


def test_a_task_cannot_be_called_as_a_column_of_every_manifest(tmp_path: Path) -> None:
    (tmp_path / "pets.csv").write_text("path,pet,row\na.png,cat,0\nb.png,dog,1\n")
    columns = ("table", tmp_path / "pets.csv", "--task", "pet", "--out", tmp_path / "x.parquet")
    for name in ("path", "row"):
        with pytest.raises(DuplicateNameError, match=f"task '{name}' needs column '{name}', which belongs"):
            run(*columns, "--task", name)


def test_a_share_of_the_rows_is_one_at_most(pets: Path, tmp_path: Path) -> None:
    assert run("split", pets, "--train", 2, "--out", tmp_path / "x.parquet").exit_code == 2
    assert not (tmp_path / "x.parquet").exists()
