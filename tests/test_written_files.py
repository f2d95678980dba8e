"""Files written whole or not at all, guarded cells, arrays under any name."""

from __future__ import annotations

import csv
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import DataFormatError, OutputError
from concord.files import (
    guarded,
    read_arrays,
    unguarded,
    whole,
    write_arrays,
    write_csv,
    write_text,
)


class Trouble(Exception):
    pass


@pytest.mark.parametrize("error", [Trouble, OSError, KeyboardInterrupt])
def test_what_fails_half_way_changes_nothing(tmp_path, error):
    place = tmp_path / "a.txt"
    place.write_text("older")

    def write_half():
        with whole(place) as part:
            part.write_text("half")
            raise error

    with pytest.raises((error, OutputError)):
        write_half()
    assert place.read_text() == "older"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_writer_in_the_way_of_another_loses_nothing(tmp_path):
    place = tmp_path / "a.txt"
    with whole(place) as first:
        first.write_text("first")
        write_text(place, "second")  # begins later, ends earlier, and leaves the first one's file alone
        assert first.read_text() == "first"
    assert place.read_text() == "first"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    process = os.fork()
    if not process:
        with whole(tmp_path / "a.txt"):
            os._exit(1)
    os.waitpid(process, 0)
    assert len(os.listdir(tmp_path)) == 1
    write_text(tmp_path / "b.txt", "other")
    assert len(os.listdir(tmp_path)) == 2
    write_text(tmp_path / "a.txt", "text")
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


def test_a_link_is_followed_and_rights_stay(tmp_path):
    place, link = tmp_path / "a.txt", tmp_path / "link"
    place.write_text("older")
    place.chmod(0o640)
    link.symlink_to(place)
    write_text(link, "newer")
    assert link.is_symlink()
    assert place.read_text() == "newer"
    assert place.stat().st_mode & 0o777 == 0o640


def test_half_a_character_is_refused(tmp_path):
    with pytest.raises(OutputError, match="no character"):
        write_text(tmp_path / "a.txt", "a\ud800")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_guarded_cell_reads_back_equal_and_begins_no_formula(text):
    cell = guarded(text)
    assert unguarded(cell) == text
    number = cell[1:].replace(".", "", 1).isascii() and cell[:1] in "+-" and _is_number(cell)
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r") or number


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "-1+1", "+cmd", "\tx", "'=1", "''-2+3"])
def test_formulas_are_guarded_and_numbers_are_not(tmp_path, text):
    write_csv(tmp_path / "a.csv", [[text, "-1.5", -1.5, "plain"]])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.reader(file)
    assert row == [f"'{text}", "-1.5", "-1.5", "plain"]


NAMES = ["file", "allow_pickle", "a/b", "x", "x.npy", "ki\nnd", "arr_0", "é", "../x", "self"]


def test_arrays_have_any_name(tmp_path):
    arrays = {name: np.full(3, i) for i, name in enumerate(NAMES)}
    write_arrays(tmp_path / "a.npz", arrays)
    back = read_arrays(tmp_path / "a.npz")
    assert list(back) == NAMES
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["file"], arrays["file"])


def test_the_same_arrays_make_the_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_arrays(tmp_path / name, {"x": np.arange(5)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    with pytest.raises(DataFormatError, match="pickle"):
        read_arrays(tmp_path / "a.npz")
