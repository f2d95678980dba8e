"""FER2013 with its pixels, and the votes of FER+."""

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from _face_mutations import check_damage, damages, write
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from concord.data.paths import DataRoot
from concord.data.readers import fer2013
from concord.errors import ConcordWarning, DataFormatError, MissingDataError

WORDS = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
ROWS = [(k % 7, ["Training", "PublicTest", "PrivateTest"][k % 3]) for k in range(9)]
SPLITS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
COLUMNS = [
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
]
VOTES = [
    [4, 0, 0, 1, 3, 2, 0, 0, 0, 0],
    [0, 10, 0, 0, 0, 0, 0, 0, 0, 0],
    [5, 5, 0, 0, 0, 0, 0, 0, 0, 0],  # a tie
    [1, 0, 0, 0, 0, 0, 0, 0, 9, 0],  # unknown
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 10],  # not a face
    [0, 0, 0, 0, 0, 0, 0, 6, 3, 1],
    [0, 0, 3, 0, 0, 0, 3, 0, 4, 0],  # unknown has most
    [0, 0, 0, 0, 0, 7, 2, 0, 1, 0],
    [0, 0, 0, 8, 0, 0, 0, 0, 0, 0],
]


def pixels(row: int) -> list[int]:
    return [(row * 31 + k * 7) % 256 for k in range(48 * 48)]


def make(root: Path, plus: bool = True) -> Path:
    lines = [f"{code},{' '.join(map(str, pixels(k)))},{usage}" for k, (code, usage) in enumerate(ROWS)]
    write(root / "fer2013.csv", ["emotion,pixels,Usage", *lines])
    if plus:
        names = ["" if votes[9] == 10 else f"fer{k:07d}.png" for k, votes in enumerate(VOTES)]
        rows = [f"{ROWS[k][1]},{names[k]},{','.join(map(str, votes))}" for k, votes in enumerate(VOTES)]
        write(root / "fer2013new.csv", [",".join(["Usage", "Image name", *COLUMNS]), *rows])
    return root


def decoded(votes: list[int]) -> tuple[str | None, list[float] | None]:
    """Class and shares of the eight expressions, by the rules of the page."""
    eight, rest = votes[:8], max(votes[8:])
    if max(eight) <= rest:
        return None, None
    winners = [name for name, n in zip(COLUMNS, eight, strict=False) if n == max(eight)]
    shares = [float(Fraction(n, sum(eight))) for n in eight]
    return winners[0] if len(winners) == 1 else None, shares


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("fer2013"))


def test_pictures_are_the_pixels(tree: Path, tmp_path: Path) -> None:
    manifest = fer2013.read(tree, labels="fer2013", cache=tmp_path / "cache")
    assert manifest.frame.select("split", "expression").rows() == [(SPLITS[u], WORDS[c]) for c, u in ROWS]
    root = DataRoot(manifest.root)
    for row, path in enumerate(manifest.frame["path"]):
        picture = Image.open(io.BytesIO(root.open(path).read()))
        assert picture.size == (48, 48)
        assert np.asarray(picture).ravel().tolist() == pixels(row)
    (archive,) = (tmp_path / "cache").iterdir()
    before = archive.stat().st_mtime_ns
    again = fer2013.read(tree, labels="fer2013", cache=tmp_path / "cache")
    assert again.frame.equals(manifest.frame)
    assert archive.stat().st_mtime_ns == before  # written once


def test_votes_are_soft_targets(tree: Path, tmp_path: Path) -> None:
    with pytest.warns(ConcordWarning, match="labels='ferplus'"):
        manifest = fer2013.read(tree, cache=tmp_path)
    task = manifest.tasks[0]
    shares = manifest.soft_targets()["expression"]
    for row, votes in enumerate(VOTES):
        name, expected = decoded(votes)
        assert manifest.frame["expression"][row] == name
        found = dict(zip(task.classes, shares[row].tolist(), strict=True))
        if expected is None:
            assert all(np.isnan(value) for value in found.values())
        else:
            assert found == pytest.approx(dict(zip(COLUMNS, expected, strict=False)))
    assert manifest.frame["votes"].to_list() == [sum(votes[:8]) for votes in VOTES]


def test_a_copy_with_other_columns_in_front(tmp_path: Path) -> None:
    lines = [f"{code}, {usage}, {' '.join(map(str, pixels(k)))}" for k, (code, usage) in enumerate(ROWS)]
    write(tmp_path / "icml_face_data.csv", ["emotion, Usage, pixels", *lines])
    manifest = fer2013.read(tmp_path, cache=tmp_path / "cache")
    assert manifest.frame["expression"].to_list() == [WORDS[code] for code, _ in ROWS]
    with pytest.raises(MissingDataError, match=r"'fer2013new\.csv'"):
        fer2013.read(tmp_path, labels="ferplus", cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("pixel", "message"),
    [
        ("256", "2,304 pixels 0 to 255"),
        ("1 2", "2,304 pixels"),
        ("x", "2,304 pixels"),
        ("-1", "2,304 pixels"),
    ],
)
def test_wrong_pixels_are_named_and_leave_no_archive(tmp_path: Path, pixel: str, message: str) -> None:
    row = " ".join([pixel, *map(str, pixels(0)[1:])])
    file = write(tmp_path / "fer2013.csv", ["emotion,pixels,Usage", f"0,{row},Training"])
    with pytest.raises(DataFormatError) as info:
        fer2013.read(tmp_path, cache=tmp_path / "cache")
    assert str(info.value).startswith(f"{file}, line 2: expected {message}")
    assert not any((tmp_path / "cache").iterdir())


def test_votes_of_other_rows(tmp_path: Path) -> None:
    make(tmp_path)
    file = tmp_path / "fer2013new.csv"
    lines = file.read_text().splitlines()
    write(file, lines[:-1])
    with pytest.raises(DataFormatError, match="line 9: expected 9 rows as fer2013"):
        fer2013.read(tmp_path, labels="ferplus", cache=tmp_path)
    write(file, [lines[0], *lines[2:], lines[1]])
    with pytest.raises(DataFormatError, match="line 2: expected the usage of the same row"):
        fer2013.read(tmp_path, labels="ferplus", cache=tmp_path)
    write(file, [lines[0], lines[1].replace(",4,", ",11,"), *lines[2:]])
    with pytest.raises(DataFormatError, match="line 2: expected votes for neutral"):
        fer2013.read(tmp_path, labels="ferplus", cache=tmp_path)
    (tmp_path / "blocked").touch()
    with pytest.raises(MissingDataError, match="give cache=FOLDER"):
        fer2013.read(tmp_path, cache=tmp_path / "blocked", labels="fer2013")


@given(data=st.data())
def test_damaged_votes_are_named_or_harmless(tree: Path, data: st.DataObject) -> None:
    columns = ["split", "expression", *(f"expression.p.{name}" for name in COLUMNS[:8])]

    def read():
        return fer2013.read(tree, labels="ferplus", cache=tree / "cache")

    rows = read().frame.select("path", *columns).rows()
    truth = {row[0]: dict(zip(columns, row[1:], strict=True)) for row in rows}
    file = tree / "fer2013new.csv"
    check_damage(read, file, data.draw(damages(file.read_bytes(), ",")), truth)
