"""GFT."""

from pathlib import Path

import pytest
from _face_mutations import check_damage, damages, permuted, touch, truth_of, write
from hypothesis import given, settings
from hypothesis import strategies as st

from concord.data.readers import gft
from concord.errors import DataFormatError, MissingDataError

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 15, 17, 23, 24)
HEADER = ",".join(["name", *(f"AU{u}" for u in UNITS), "age", "gender", "race"])
ROWS = {
    "train.csv": {"001A/1": "01010101010101", "001A/2": "99999999999990", "001B/1": "11111110000000"},
    "test.csv": {"092C/17": "00000000000001", "092C/18": "99999999999999"},
}
TRUTH = {
    f"images/{name}.jpg": {
        "split": file.removesuffix(".csv"),
        "group": name[:4],
        **{f"action_units.AU{u}": None if c == "9" else int(c) for u, c in zip(UNITS, codes, strict=True)},
    }
    for file, rows in ROWS.items()
    for name, codes in rows.items()
}


def make(root: Path) -> Path:
    for file, rows in ROWS.items():
        write(root / file, [HEADER, *(f"{n}.jpg,{','.join(c)},23,F,W" for n, c in rows.items())])
    touch(root, TRUTH)
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("gft"))


def test_units_people_and_splits(tree: Path) -> None:
    manifest = gft.read(tree, gaps="keep")
    assert truth_of(manifest, next(iter(TRUTH.values()))) == TRUTH
    assert manifest.frame.select("age", "gender", "race").unique().rows() == [("23", "F", "W")]
    assert manifest.tasks[0].outputs == tuple(f"AU{u}" for u in UNITS)
    assert len(gft.read(tree)) == len(TRUTH) - 1  # one row has no unit coded


def test_other_names_and_gaps(tmp_path: Path) -> None:
    write(tmp_path / "gft.csv", [HEADER, f"images/001A/1.jpg,{',-1' * 13},1,9,M,?".replace(",,", ",")])
    manifest = gft.read(tmp_path, images="faces", missing="keep")
    assert manifest.frame["path"].to_list() == ["faces/001A/1.jpg"]
    assert manifest.frame["split"].to_list() == [None]
    assert manifest.frame["action_units.AU1"].to_list() == [None]
    assert manifest.frame["action_units.AU24"].to_list() == [1]


def test_a_split_is_a_word_of_the_name(tmp_path: Path) -> None:
    row = f"{','.join('0' * 14)},23,F,W"
    for i, (name, split) in enumerate({"evaluation": None, "gft_Val-2": "val", "protest": None}.items(), 1):
        write(tmp_path / f"{name}.csv", [HEADER, f"001A/{i}.jpg,{row}"])
        frame = gft.read(tmp_path, missing="keep").frame
        assert frame.filter(path=f"images/001A/{i}.jpg")["split"].to_list() == [split]


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"expected csv files, found that .* is empty"):
        gft.read(tmp_path)
    make(tmp_path)
    (tmp_path / TRUTH_PATH).unlink()
    with pytest.raises(MissingDataError, match="001A/1"):
        gft.read(tmp_path, missing="error")
    row = f"{','.join('0' * 14)},23,F,W"
    for line, found in [
        (f"001a/1.jpg,{row}", "an image as"),
        (f"../1.jpg,{row}", "an image as"),
        (f"001A/1.jpg,2{row[1:]}", "a code of AU1"),
    ]:
        write(tmp_path / "train.csv", [HEADER, line])
        with pytest.raises(DataFormatError, match=f"train.csv, line 2: expected {found}"):
            gft.read(tmp_path)
    write(tmp_path / "train.csv", [HEADER, f"001A/1.jpg,{row}", f"001A/1.jpg,{row}"])
    with pytest.raises(DataFormatError, match=r"train.csv, line 3: expected each image once"):
        gft.read(tmp_path)
    write(tmp_path / "train.csv", [HEADER, f"092C/17.jpg,{row}"])
    with pytest.raises(DataFormatError, match=r"in one of test.csv, train.csv, found 092C/17.jpg twice"):
        gft.read(tmp_path)
    write(tmp_path / "train.csv", ["name,AU1", "001A/1.jpg,0"])
    with pytest.raises(DataFormatError, match=r"train.csv, line 1: expected a column 'AU2'"):
        gft.read(tmp_path)


TRUTH_PATH = next(iter(TRUTH))


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_columns_go_by_their_names(tree: Path, data: st.DataObject) -> None:
    file = tree / "train.csv"
    original = file.read_bytes()
    try:
        file.write_bytes(permuted(original, data.draw(st.permutations(range(18)))))
        assert truth_of(gft.read(tree, gaps="keep"), next(iter(TRUTH.values()))) == TRUTH
    finally:
        file.write_bytes(original)


@given(data=st.data())
def test_damage_is_named_or_harmless(tree: Path, data: st.DataObject) -> None:
    file = tree / "train.csv"
    check_damage(
        lambda: gft.read(tree, missing="keep", gaps="keep"),
        file,
        data.draw(damages(file.read_bytes(), ",")),
        TRUTH,
    )
