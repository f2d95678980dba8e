"""Files that are small and unpack to much, nested without end, damaged, or say odd things: one line each."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from contextlib import suppress

import numpy as np
import polars as pl
import pytest
from attack_worlds import CONFIG, PLAN, command, make_world, told
from hypothesis import settings

from concord.config import parsed_yaml
from concord.data import FeatureRows, from_csv, read_manifest
from concord.data.readers._mat import mat_variables
from concord.errors import ConcordError, DataFormatError, RangeError, StudyError
from concord.files import limits, parse_json, read_arrays
from concord.study import read_plan

BILLION = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 5000, "too deeply"),
        (BILLION, "more than 1,000,000 values"),
        ("a: &a [*a]", "holds itself"),
        ("a: !!int ''", "line 1: '' is no int"),
        ("a: 1\nb: !!bool x", "line 2: 'x' is no bool"),
        ("a: !!timestamp x", "is no timestamp"),
        ("a: !!float ''", "is no float"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: " + "9" * 5000, "is no int"),
        ("x" * (2**24 + 1), "at most 16,777,216 characters"),
        ("? [1, 2]\n: 3", "unhashable"),
    ],
)
def test_yaml_is_read_within_limits(text, message):
    with pytest.raises(ValueError, match=message):
        parsed_yaml(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"version": ' + "9" * 5000 + "}", "{", ""])
def test_json_is_read_within_limits(text):
    with pytest.raises(ValueError, match=r"deeply|digits|Expecting"):
        parse_json(text)


def _config_with(folder, old, new):
    assert old in CONFIG
    (folder / "odd.yaml").write_text(CONFIG.replace(old, new))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    return folder


ODD = {
    "dropout: '0.2'": ("dropout: 0.0", "dropout: '0.2'", "dropout"),
    "dropout: 2": ("dropout: 0.0", "dropout: 2", "dropout"),
    "dropout: .nan": ("dropout: 0.0", "dropout: .nan", "dropout"),
    "a layer of 10^30": ("hidden: [8]", f"hidden: [{10**30}]", "hidden"),
    "a huge seed": ("steps: 6", f"steps: 6, seed: {2**70}", "training.seed"),
    "infinite steps": ("steps: 6", "steps: .inf", "training.steps"),
    "a backend of nobody": ("steps: 6", "steps: 6, compile: zzz", "zzz"),
}


def test_odd_values_of_a_config_are_refused_by_key(world):
    for old, new, key in ODD.values():
        _config_with(world, old, new)
        done = command(world, "train", "odd.yaml", "--out", "odd")
        assert done.returncode == 2, (new, done.stderr)
        (line,) = told(done)
        assert key in line
        assert len(line) < 600


def test_a_digit_that_is_none_is_no_place_in_a_list(world):
    done = command(world, "train", "config.yaml", "--set", "couplings.²=1")
    assert done.returncode == 2
    assert "couplings is a list" in told(done)[0]


def test_a_toml_file_without_end_is_refused(world):
    (world / "x.toml").write_text("a = " + "[" * 5000)
    done = command(world, "train", "x.toml")
    assert done.returncode == 2
    assert "x.toml" in told(done)[0]


def test_a_plan_of_too_many_seeds_is_refused(tmp_path):
    (tmp_path / "p.yaml").write_text(PLAN.replace("seeds: 2", "seeds: " + "9" * 40))
    with pytest.raises(StudyError, match="seeds"):
        read_plan(tmp_path / "p.yaml")


def zeros_in(archive, rows):
    """A member of zeros, deflated: a thousandth of what it unpacks to."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 7), }}"
    head += " " * (63 - (len(head) + 10) % 64) + "\n"
    with archive.open("x.npy", "w", force_zip64=True) as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode())
        for _ in range(rows * 28 // 2**20 + 1):
            file.write(bytes(2**20))


def test_archives_that_unpack_to_far_more_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "UNPACKED", 2**23)
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        zeros_in(archive, 2**20)
    for read in (read_arrays, FeatureRows):
        with pytest.raises(DataFormatError, match="unpacks to"):
            read(path)
    table = tmp_path / "x.csv.gz"
    with gzip.open(table, "wb", 9) as file:
        file.write(b"row,kind\n" + b"1,a\n" * 2**22)
    with pytest.raises(DataFormatError, match="unpacks to"):
        from_csv(table, classes={"kind": None})
    many = tmp_path / "x.parquet"
    pl.DataFrame({"row": pl.zeros(2**22, pl.Int64, eager=True), "kind": "a"}).write_parquet(many)
    with pytest.raises(DataFormatError, match="unpacks to"):
        read_manifest(many)


def npy(header, content=b""):
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


HEADERS = {
    "a bracket too many": "{'descr': '<f4', 'fortran_order': False, 'shape': (5, (7), }",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (5, 7), }",
    "more rows than bytes": "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 7), }",
    "rows below none": "{'descr': '<f4', 'fortran_order': False, 'shape': (-5, 7), }",
    "no type": "{'descr': 'zz', 'fortran_order': False, 'shape': (5, 7), }",
    "code": "__import__('os').system('true')",
    "cut": "{'descr': '<f4'",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("packed", [False, True])
def test_headers_of_arrays_are_checked_before_memory_is_touched(tmp_path, header, packed):
    path, content = tmp_path / "x.npy", npy(header, bytes(140))
    if packed:
        path = tmp_path / "x.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.npy", content)
    else:
        path.write_bytes(content)
    with pytest.raises(ConcordError, match=r"x\.np"):
        FeatureRows(path)


def test_members_that_are_no_arrays_or_are_encrypted_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"")
    with pytest.raises(ConcordError, match=r"x\.npz"):
        FeatureRows(path)
    with pytest.raises(DataFormatError, match="no array"):
        read_arrays(path)
    kept = io.BytesIO()
    np.savez(kept, x=np.zeros(3))
    raw = bytearray(kept.getvalue())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(mark) + flags] |= 1  # says that it is encrypted
    path.write_bytes(raw)
    with pytest.raises(DataFormatError, match=r"x\.npz"):
        read_arrays(path)


def test_a_damaged_parquet_file_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"row": range(200), "kind": ["a", "b"] * 100, "x": rng.normal(size=200)})
    frame.write_parquet(tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    for _ in range(settings().max_examples // 3):  # each is read in a process of its own
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 4):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / "d.parquet").write_bytes(damaged)
        with suppress(ConcordError):
            assert len(read_manifest(tmp_path / "d.parquet")) > 0


def test_a_damaged_mat_file_ends_no_process(tmp_path):
    from scipy.io import savemat

    savemat(tmp_path / "whole.mat", {"v": np.arange(9.0), "c": np.array(["ab", "cd"], dtype=object)})
    found = mat_variables(tmp_path / "whole.mat", ("v", "c"))
    np.testing.assert_array_equal(found["v"].reshape(-1), np.arange(9.0))
    assert found["c"].reshape(-1).tolist() == ["ab", "cd"]
    content = (tmp_path / "whole.mat").read_bytes()
    rng = np.random.default_rng(0)
    for n in range(300):
        damaged = bytearray(content)
        for place in rng.integers(128, len(content), 1 + n % 3):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / "d.mat").write_bytes(damaged)
        with suppress(ConcordError):
            assert set(mat_variables(tmp_path / "d.mat", ("v", "c"))) == {"v", "c"}


def test_a_mat_file_that_unpacks_to_far_more_is_refused(tmp_path, monkeypatch):
    from scipy.io import savemat

    monkeypatch.setattr(limits, "UNPACKED", 2**20)
    savemat(tmp_path / "x.mat", {"v": np.zeros(2**20)}, do_compression=True)
    with pytest.raises(DataFormatError, match="unpacks to"):
        mat_variables(tmp_path / "x.mat", ("v",))


def test_a_sidecar_of_anything_is_refused(world):
    sidecar = world / "rows.csv.tasks.json"
    kept = sidecar.read_text()
    for text in ["[" * 100_000, '{"version": ' + "9" * 5000 + "}", "5", json.dumps({"tasks": [[]]})]:
        sidecar.write_text(text)
        with pytest.raises(DataFormatError, match=r"rows\.csv\.tasks\.json"):
            read_manifest(world / "rows.csv")
    sidecar.write_text(kept)


def test_settings_of_a_network_name_what_is_wrong():
    from concord.networks.trunks import build_trunk

    for options in ({"hidden": [8], "dropout": 1.0}, {"hidden": "8"}, {"hidden": [0]}, {"hidden": [True]}):
        with pytest.raises(ConcordError, match=r"hidden|dropout"):
            build_trunk("builtin:mlp", shape=[4], options=options)
    with pytest.raises(RangeError, match="a residual net's width is a whole number >= 8, found 'wide'"):
        build_trunk("builtin:resnet", shape=[3, 8, 8], options={"width": "wide"})
