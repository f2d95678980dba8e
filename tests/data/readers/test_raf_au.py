"""RAF-AU."""

import re
from pathlib import Path

import pytest
from _face_mutations import Damage, check_damage, damages, touch, truth_of, write
from hypothesis import given
from hypothesis import strategies as st

from concord.data.readers import raf_au
from concord.errors import DataFormatError, EmptyDataError, MissingDataError

LINES = ["0001.jpg 1+2+25", "0002.jpg null", "0003.jpg L12+25 ", "0004.jpg 12+R12  ", "4601.jpg 4"]
UNITS = (1, 2, 4, 12, 25)
MERGED = {"0001": (1, 1, 0, 0, 1), "0003": (0, 0, 0, 1, 1), "0004": (0, 0, 0, 1, 0), "4601": (0, 0, 1, 0, 0)}


def make(root: Path, lines: list[str] = LINES) -> Path:
    write(root / "RAFAU_label.txt", lines)
    touch(root, [f"aligned/{line[:4]}_aligned.jpg" for line in lines])
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("raf_au"))


def labels(manifest) -> dict[str, tuple]:
    columns = [f"action_units.AU{unit}" for unit in UNITS]
    return {path[8:12]: tuple(row.values()) for path, row in truth_of(manifest, columns).items()}


def test_units_are_read_from_the_lists(tree: Path) -> None:
    manifest = raf_au.read(tree)
    assert manifest.tasks[0].outputs == ("AU1", "AU2", "AU4", "AU12", "AU25")
    assert labels(manifest) == MERGED  # trailing blanks and all; null is a gap, and its row is left out
    assert manifest.frame["split"].null_count() == len(manifest)


def test_null_and_sides_as_the_user_says(tree: Path) -> None:
    assert labels(raf_au.read(tree, gaps="keep"))["0002"] == (None,) * 5
    assert labels(raf_au.read(tree, null="absent"))["0002"] == (0,) * 5
    open_side = labels(raf_au.read(tree, sides="gap"))
    assert open_side["0003"] == (0, 0, 0, None, 1)
    assert open_side["0004"] == (0, 0, 0, 1, 0)


TOKENS = [
    "0001.jpg AD19+25",
    "0002.jpg t23+1",
    "0003.jpg BL18",
    "0004.jpg BR18+RB18+L18",
    "0005.jpg L12L+26+26",
    "0006.jpg t12+12",
    "0007.jpg T18+B18+L23",
]


def decoded(line: str, sides: str, traces: str) -> dict[int, int | None]:
    """Units of a line, token by token."""
    found: dict[int, set[str]] = {}
    for token in line.split()[1].split("+"):
        kind, number, behind = re.fullmatch(r"(AD|t|[LRTB]*)(\d+)([LRTB]?)", token).groups()
        found.setdefault(int(number), set()).add("" if kind == "AD" else kind + behind)
    out: dict[int, int | None] = {}
    for unit, marks in found.items():
        sided = {mark for mark in marks if mark != "t"}
        letters = set("".join(sided))
        both = {"L", "R"} <= letters or {"T", "B"} <= letters or "" in sided
        if both or (sides == "merge" and sided) or ("t" in marks and traces == "present"):
            out[unit] = 1
        elif sided or traces == "gap":
            out[unit] = None
        else:
            out[unit] = 0
    return out


@pytest.mark.parametrize("sides", ["merge", "gap"])
@pytest.mark.parametrize("traces", ["present", "absent", "gap"])
def test_tokens_of_the_real_file(tmp_path: Path, sides: str, traces: str) -> None:
    units = (1, 12, 18, 19, 23, 25, 26)
    manifest = raf_au.read(make(tmp_path, TOKENS), sides=sides, traces=traces)
    assert manifest.tasks[0].outputs == tuple(f"AU{unit}" for unit in units)
    found = truth_of(manifest, [f"action_units.AU{unit}" for unit in units])
    for line in TOKENS:
        wanted = dict.fromkeys(units, 0) | decoded(line, sides, traces)
        assert list(found[f"aligned/{line[:4]}_aligned.jpg"].values()) == list(wanted.values()), line


def test_units_of_ones_own(tree: Path) -> None:
    manifest = raf_au.read(tree, units=[25, 43])
    assert manifest.tasks[0].outputs == ("AU25", "AU43")
    assert manifest.frame["action_units.AU43"].to_list() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("0002.jpg 1++2", "units as 1, 25, L12, .* found ''"),
        ("0002.jpg 1+225", "units as 1, 25, L12, .* found '225'"),
        ("0002.jpg 1+null", "units as 1, 25, L12"),
        ("0002.jpg 1+X12", "units as 1, 25, L12, .* found 'X12'"),
        ("0002.jpg 1+tL12", "units as 1, 25, L12, .* found 'tL12'"),
        ("0002.jpg 1 + 2", "an image and its units"),
        ("0001.jpg 1", "each image once"),
        ("0002.jpg", "an image and its units"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, found: str) -> None:
    make(tmp_path, ["0001.jpg 1+2", line])
    with pytest.raises(DataFormatError, match=f"line 2: expected {found}"):
        raf_au.read(tmp_path)


def test_a_file_cut_in_its_last_list(tmp_path: Path) -> None:
    file = make(tmp_path) / "RAFAU_label.txt"
    write(file, ["0001.jpg 1+2+25"])
    file.write_bytes(file.read_bytes()[:-4])  # 1+2+25 becomes 1+2
    with pytest.raises(DataFormatError, match="line 1: expected a line end"):
        raf_au.read(tmp_path)
    file.write_bytes(b"0001.jpg 1+2\n0002.jpg null")
    assert len(raf_au.read(tmp_path)) == 1


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"expected the file 'RAFAU_label.txt'"):
        raf_au.read(tmp_path)
    make(tmp_path, ["0001.jpg null"])
    with pytest.raises(EmptyDataError, match="expected action units"):
        raf_au.read(tmp_path)
    with pytest.raises(EmptyDataError, match="gaps='keep'"):
        raf_au.read(tmp_path, units=[1])


WHOLE = re.compile(r"\d{4}\.jpg ([LRTB]?\d+\+?)+")


@given(data=st.data())
def test_damage_is_named_or_harmless(tree: Path, data: st.DataObject) -> None:
    def read():
        return raf_au.read(tree, units=UNITS, missing="keep", gaps="keep")

    file = tree / "RAFAU_label.txt"
    truth = truth_of(read(), [f"action_units.AU{unit}" for unit in UNITS])
    damage: Damage = data.draw(damages(file.read_bytes(), " "))
    check_damage(read, file, damage, truth, whole=lambda line: bool(WHOLE.fullmatch(line.rstrip("+ "))))
