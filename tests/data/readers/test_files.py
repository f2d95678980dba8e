"""Folders of data sets: what is there, and what to do about what is not."""

from pathlib import Path

import polars as pl
import pytest

from concord.data.readers._files import (
    check_choice,
    entries,
    find_file,
    find_folder,
    keep_present,
    listing,
    numbered,
)
from concord.errors import (
    ConcordWarning,
    DataFormatError,
    MissingDataError,
    RangeError,
    UnknownNameError,
    UnsafePathError,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a/1.jpg", "a/02.jpg", "a/.hidden.jpg", "top.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


FRAME = pl.DataFrame({"path": ["a/1.jpg", "a/2.jpg", "b/1.jpg", "top.jpg"]})


def test_rows_without_an_image(root: Path) -> None:
    with pytest.warns(ConcordWarning, match=r"^2 of 4 annotated images .* left out, the first 'a/2.jpg'"):
        assert keep_present(FRAME, root, "drop")["path"].to_list() == ["a/1.jpg", "top.jpg"]
    assert keep_present(FRAME[:1], root, "drop").height == 1, "nothing is said where nothing is missing"
    there = FRAME["path"].is_in(["a/1.jpg", "top.jpg"])
    split = pl.Series("split", ["train" if one else "test" for one in there])
    with pytest.warns(ConcordWarning, match=r"'a/2.jpg', and with them all of split test; missing='error'"):
        keep_present(FRAME.with_columns(split), root, "drop")
    with pytest.warns(ConcordWarning, match=r"'a/2.jpg'; missing='error'"):
        keep_present(FRAME.with_columns(split=pl.lit("train")), root, "drop")
    assert keep_present(FRAME, root, "keep").equals(FRAME)
    with pytest.raises(MissingDataError, match=r"found 2 of 4 without, the first 'a/2.jpg'"):
        keep_present(FRAME, root, "error")
    with pytest.raises(MissingDataError, match=r"found none of 1, the first 'c/1.jpg'"):
        keep_present(pl.DataFrame({"path": ["c/1.jpg"]}), root, "drop")
    with pytest.raises(UnknownNameError, match="did you mean 'drop'"):
        keep_present(FRAME, root, "drops")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["../x.jpg", "/etc/passwd", "a/../../x", "a\\b", "C:/x"])
def test_paths_that_leave_the_root(root: Path, path: str) -> None:
    with pytest.raises(UnsafePathError):
        keep_present(pl.DataFrame({"path": [path]}), root, "keep")


def test_a_missing_folder_says_what_is_there(root: Path) -> None:
    assert find_folder(root, ["b", "a"], "Set", "home") == root / "a"
    assert find_file(root, ["top.jpg"], "Set", "home") == root / "top.jpg"
    with pytest.raises(MissingDataError) as info:
        find_folder(root, ["b", "c"], "Set", "home")
    assert str(info.value) == (
        f"Set: expected the folder 'b' or 'c' in {root}, found a/, top.jpg in {root}; get the data from home"
    )
    with pytest.raises(MissingDataError, match=r"found .*02.jpg, 1.jpg in .*/a; get the data"):
        find_file(root, ["a/list.txt"], "Set", "home")
    with pytest.raises(MissingDataError, match=r"found a/, top.jpg in"):
        find_file(root, ["x/y/list.txt"], "Set", "home")


def test_listings(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert listing(tmp_path / "empty").endswith("is empty")
    assert listing(tmp_path / "none").endswith("does not exist")
    assert listing(root / "top.jpg").endswith("is no folder")
    for number in range(20):
        (tmp_path / "empty" / f"{number:02}").touch()
    assert "11 and 8 more in" in listing(tmp_path / "empty")
    assert entries(root / "a", ".jpg") == ["02.jpg", "1.jpg"]


def test_images_by_number(root: Path) -> None:
    assert numbered(root / "a") == {1: "1.jpg", 2: "02.jpg"}
    assert numbered(root / "none") == {}
    (root / "a" / "002.jpg").touch()
    with pytest.raises(DataFormatError, match=r"found both 002\.jpg and 02\.jpg"):
        numbered(root / "a")


def test_choices() -> None:
    check_choice("fold", None, (None, 0))
    with pytest.raises(UnknownNameError, match="unknown fold 'x'"):
        check_choice("fold", "x", (None, 0))
    with pytest.raises(RangeError, match="fold: expected one of None, 0, found 7"):
        check_choice("fold", 7, (None, 0))
