"""Damaged Parquet files, on some of which polars ends the process: a line names the file instead."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from concord.data import FeatureRows, parquet, read_manifest, write_frame
from concord.errors import DataFormatError

FRAME = pl.DataFrame({"row": range(12), "kind": ["a", "b", None] * 4})

READ_ALL = """
import sys
from pathlib import Path
from concord.data import read_manifest
from concord.errors import ConcordError
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        assert len(read_manifest(path)) > 0
    except ConcordError as error:
        assert path.name in str(error) and "\\n" not in str(error), str(error)
    print(path.name)
"""


def content():
    buffer = io.BytesIO()
    FRAME.write_parquet(buffer)
    return buffer.getvalue()


def test_no_damaged_file_ends_the_process_that_reads_it(tmp_path):
    whole, rng = content(), np.random.default_rng(0)
    deadly = [(72, 3), (223, 31), (223, 65)]  # headers of pages: polars 1 aborts
    drawn = [(int(rng.integers(4, len(whole) - 8)), int(rng.integers(256))) for _ in range(4)]
    for n, (place, value) in enumerate(deadly + drawn):
        damaged = bytearray(whole)
        damaged[place] = value
        (tmp_path / f"{n:02}.parquet").write_bytes(damaged)
    code = [sys.executable, "-c", READ_ALL, str(tmp_path)]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(os.listdir(tmp_path))


@pytest.mark.parametrize("read", [read_manifest, FeatureRows])
def test_a_file_that_ends_the_process_is_refused_by_name(tmp_path, monkeypatch, read):
    path = tmp_path / "x.parquet"
    path.write_bytes(content())
    monkeypatch.setattr(parquet, "PROBE", tmp_path / "probe.py")
    (tmp_path / "probe.py").write_text("import os; os.abort()")
    with pytest.raises(DataFormatError, match=r"x\.parquet: a damaged Parquet file: reading it ended"):
        read(path)


def test_a_file_is_probed_once_and_again_after_a_change(tmp_path, monkeypatch):
    probed = []
    monkeypatch.setattr(parquet, "_probe", probed.append)
    path = tmp_path / "x.parquet"
    path.write_bytes(content())
    for _ in range(3):
        read_manifest(path)
    assert probed == [path]
    pl.concat([FRAME, FRAME]).write_parquet(path)
    assert len(read_manifest(path)) == 24
    assert probed == [path, path]


def test_a_file_that_this_process_wrote_needs_no_probe_until_it_changes(tmp_path, monkeypatch):
    probed = []
    monkeypatch.setattr(parquet, "_probe", probed.append)
    path = tmp_path / "x.parquet"
    write_frame(FRAME, path)
    read_manifest(path)
    assert probed == []
    path.write_bytes(path.read_bytes())  # at once, of the same size
    read_manifest(path)
    assert probed == [path]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda whole: b"", "0 bytes"),
        (lambda whole: whole[:-5], "truncated"),
        (lambda whole: b"X" + whole[1:], "no PAR1"),
        (lambda whole: whole[:-8] + b"\xff\xff\xff\x7f" + whole[-4:], "metadata of 2,147,483,647 bytes"),
    ],
)
def test_what_frames_a_file_is_checked_without_a_process(tmp_path, monkeypatch, damage, reason):
    monkeypatch.setattr(parquet, "PROBE", tmp_path / "none")
    path = tmp_path / "x.parquet"
    path.write_bytes(damage(content()))
    with pytest.raises(DataFormatError, match=rf"x\.parquet.*{reason}"):
        read_manifest(path)
