"""No room on the disk, or the wrong kind of place: one line, and what was there is as it was."""

from __future__ import annotations

import os
import shutil
import stat

import pytest
from attack_worlds import command, make_world, told

from concord.archive import folders, save_archive
from concord.errors import CheckpointError, OutputError
from concord.files import whole

FULL = """
import resource, signal, sys
sys.dont_write_bytecode = True  # or modules that are first imported here stay cut off for all
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
"""
"""Files of more than 16 bytes cannot be written, as on a disk without room."""

WRITERS = {
    "relation show": (["relation", "show", "table.csv", "--out", "out.csv"], "out.csv"),
    "data filter to CSV": (
        ["data", "filter", "rows.csv", "--where", "row > 3", "--out", "out.csv"],
        "out.csv",
    ),
    "data filter to Parquet": (
        ["data", "filter", "rows.csv", "--where", "row > 3", "--out", "out.parquet"],
        "out.parquet",
    ),
    "data inspect --json": (["data", "inspect", "rows.csv", "--json", "out.json"], "out.json"),
    "data inspect --out": (["data", "inspect", "rows.csv", "--out", "out.png"], "out.png"),
    "init --force": (["init", "out.yaml", "--force"], "out.yaml"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    return folder


@pytest.mark.parametrize(("arguments", "name"), WRITERS.values(), ids=WRITERS)
def test_an_older_file_outlives_a_full_disk(world, arguments, name):
    out = world / name
    out.write_text("older")
    before = sorted(os.listdir(world))
    done = command(world, *arguments, before=FULL)
    assert done.returncode == 2
    (line,) = told(done)
    assert name in line
    assert out.read_text() == "older"
    assert sorted(os.listdir(world)) == before
    out.unlink()


@pytest.mark.parametrize(("arguments", "name"), WRITERS.values(), ids=WRITERS)
def test_a_folder_is_no_place_for_a_file(world, arguments, name):
    (world / name).mkdir()
    done = command(world, *arguments)
    (world / name).rmdir()
    assert done.returncode == 2
    (line,) = told(done)
    assert f"{name} is a folder" in line


def test_a_device_is_no_place_for_a_file(world):
    done = command(world, "relation", "show", "table.csv", "--out", "/dev/null")
    assert done.returncode == 2
    (line,) = told(done)
    assert "/dev/null is a device" in line
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize(("arguments", "name"), WRITERS.values(), ids=WRITERS)
def test_nothing_is_written_below_a_file(world, arguments, name):
    below = [f"table.csv/{name}" if argument == name else argument for argument in arguments]
    before = (world / "table.csv").read_bytes()
    done = command(world, *below)
    assert done.returncode == 2
    (line,) = told(done)
    assert "table.csv" in line
    assert (world / "table.csv").read_bytes() == before


FOLDERS = {"train": ["train", "config.yaml"], "study": ["study", "plan.yaml", "--processes", "1"]}


@pytest.mark.parametrize("arguments", FOLDERS.values(), ids=FOLDERS)
@pytest.mark.parametrize("place", ["table.csv/out", "/proc/out", "/dev/null"])
def test_results_go_to_no_place_that_takes_no_folder(world, arguments, place):
    before = sorted(os.listdir(world))
    done = command(world, *arguments, "--out", place)
    assert done.returncode == 2, done.stderr
    line = told(done)[-1]
    assert place in line
    assert sorted(os.listdir(world)) == before


def test_a_folder_that_is_deleted_under_way_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    with pytest.raises(OutputError, match=r"models/x\.csv"), whole(folder / "x.csv"):
        shutil.rmtree(folder)
    write = folders.write_flushed

    def deleted(path, content):
        shutil.rmtree(folder)
        write(path, content)

    monkeypatch.setattr(folders, "write_flushed", deleted)
    with pytest.raises(CheckpointError, match="models"):
        save_archive(folder, "run", {}, {"x": b"x"})
