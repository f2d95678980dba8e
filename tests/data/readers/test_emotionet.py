"""EmotioNet, in both releases and both numbers of units."""

from pathlib import Path

import pytest
from _face_mutations import check_damage, damages, permuted, touch, truth_of, write
from hypothesis import given, settings
from hypothesis import strategies as st

from concord.data.readers import emotionet
from concord.errors import (
    ConcordWarning,
    ConfigError,
    DataFormatError,
    EmptyDataError,
    MissingDataError,
    RangeError,
)

pytestmark = pytest.mark.filterwarnings("ignore:.* annotated images are not in")  # left out on purpose

BASE = "https://s3.us-east-2.amazonaws.com/emotionet/Images"
IMAGES = ["N_0000000001/N_0000000001_00001.jpg", "N_0000000001/N_0000000001_00002.jpg", "N_0002/N_0002_1.jpg"]
# Units shown and units unknown, by image; all others are absent.
SHOWN = [{1, 12, 25}, {43, 60}, {17, 56}]
UNKNOWN = [{2}, set(emotionet.UNITS[11]), {51}]


def codes(row: int, gap: str) -> list[str]:
    return [gap if u in UNKNOWN[row] else "1" if u in SHOWN[row] else "0" for u in range(1, 61)]


def expected(row: int, labels: int) -> dict[str, int | None]:
    return {
        f"action_units.AU{u}": None if u in UNKNOWN[row] else int(u in SHOWN[row])
        for u in emotionet.UNITS[labels]
    }


def challenge(root: Path) -> Path:
    lines = ["\t".join([f"{BASE}/{IMAGES[i]}", f"http://old/{i}.jpg", *codes(i, "999")]) for i in range(3)]
    write(root / "dataFile_0001.txt", lines[:2])
    write(root / "dataFile_0002.txt", lines[2:])
    touch(root, [f"images/{image}" for image in IMAGES])
    return root


def later(root: Path) -> Path:
    header = ",".join(["URL", "URL orig", *(f"'AU {u}'" for u in range(1, 61))])
    lines = [",".join([f"'{BASE}/{IMAGES[i]}'", f"'http://old/{i}'", *codes(i, "-1")]) for i in range(3)]
    write(root / "EmotioNet_FACS_aws_2020_24600.csv", [header, *lines])
    touch(root, [f"images/{image}" for image in IMAGES])
    return root


def sheet(root: Path) -> Path:
    """The later release as a spreadsheet: codes as numbers, two of them with a decimal point."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["URL", "URL orig", *(f"AU {u}" for u in range(1, 61))])
    for i in range(3):
        numbers = [int(code) for code in codes(i, "-1")]
        book.active.append([f"{BASE}/{IMAGES[i]}", f"http://old/{i}", float(numbers[0]), *numbers[1:]])
    book.save(root / "EmotioNet_FACS_aws_2020_24600.xlsx")
    touch(root, [f"images/{image}" for image in IMAGES])
    return root


@pytest.fixture(scope="module", params=[challenge, later, sheet])
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return request.param(tmp_path_factory.mktemp("emotionet"))


@pytest.fixture(scope="module", params=[challenge, later])
def texts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return request.param(tmp_path_factory.mktemp("emotionet"))


def test_a_damaged_spreadsheet(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    file = sheet(tmp_path) / "EmotioNet_FACS_aws_2020_24600.xlsx"
    whole = file.read_bytes()
    book = openpyxl.load_workbook(file)
    book.active["C3"] = 2
    book.save(file)
    with pytest.raises(DataFormatError, match="line 3: expected a code of AU1"):
        emotionet.read(tmp_path)
    book.active.delete_rows(1, 4)
    book.save(file)
    with pytest.raises(EmptyDataError, match="found an empty sheet"):
        emotionet.read(tmp_path)
    for length in range(0, len(whole), len(whole) // 7):
        file.write_bytes(whole[:length])
        with pytest.raises(DataFormatError, match=r"expected a \.xlsx file"):
            emotionet.read(tmp_path)


@pytest.mark.parametrize("labels", [11, 23])
def test_both_codings_say_the_same(tree: Path, labels: int) -> None:
    manifest = emotionet.read(tree, labels=labels, gaps="keep")  # type: ignore[arg-type]
    columns = [f"action_units.AU{u}" for u in emotionet.UNITS[labels]]
    assert truth_of(manifest, columns) == {
        f"images/{image}": expected(row, labels) for row, image in enumerate(IMAGES)
    }
    assert len(columns) == labels


def test_rows_without_annotation_or_image(tmp_path: Path) -> None:
    challenge(tmp_path)
    assert emotionet.read(tmp_path).frame["path"].to_list() == [f"images/{IMAGES[0]}", f"images/{IMAGES[2]}"]
    assert len(emotionet.read(tmp_path, labels=23)) == 3  # the second image has units among the 23
    (tmp_path / "images" / IMAGES[2]).unlink()
    assert emotionet.read(tmp_path).frame["path"].to_list() == [f"images/{IMAGES[0]}"]


def test_an_image_of_two_lines_is_told(tmp_path: Path) -> None:
    challenge(tmp_path)
    first = (tmp_path / "dataFile_0001.txt").read_text().splitlines()[0]
    write(tmp_path / "dataFile_0003.txt", [first])
    with pytest.warns(ConcordWarning, match=f"EmotioNet: images .* once: 1, the first 'images/{IMAGES[0]}'"):
        assert len(emotionet.read(tmp_path, labels=23)) == 4


def test_images_in_one_folder(tmp_path: Path) -> None:
    challenge(tmp_path)
    manifest = emotionet.read(tmp_path, images="flat", flat=True, missing="keep")
    assert manifest.frame["path"][0] == "flat/N_0000000001_00001.jpg"


def test_releases_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError) as info:
        emotionet.read(tmp_path)
    assert "dataFile_*.txt or EmotioNet_FACS_aws_2020_*.csv" in str(info.value)
    later(challenge(tmp_path))
    with pytest.raises(ConfigError, match="say release="):
        emotionet.read(tmp_path)
    assert len(emotionet.read(tmp_path, release="2020")) == 2
    assert len(emotionet.read(tmp_path, release=2020)) == 2  # as YAML reads it
    with pytest.raises(RangeError, match="expected one of 11, 23, found 12"):
        emotionet.read(tmp_path, labels=12)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("header", "found"),
    [("URL,URL orig,AU 1", "a column 'AU2'"), ("image" + ",AU 1" * 61, "a column 'URL'")],
)
def test_wrong_headers_are_named(tmp_path: Path, header: str, found: str) -> None:
    later(tmp_path)
    file = tmp_path / "EmotioNet_FACS_aws_2020_24600.csv"
    write(file, [header])
    with pytest.raises(DataFormatError, match=f"line 1: expected {found}"):
        emotionet.read(tmp_path)


def test_a_column_twice(tmp_path: Path) -> None:
    later(tmp_path)
    file = tmp_path / "EmotioNet_FACS_aws_2020_24600.csv"
    lines = file.read_text().splitlines()
    write(file, [lines[0] + ",AU1", *(line + ",0" for line in lines[1:])])
    with pytest.raises(DataFormatError, match="line 1: expected distinct column names"):
        emotionet.read(tmp_path)


@pytest.mark.parametrize("url", ["N_1/N_1_1.jpg", "https://host/../a.jpg", "https://host/a/b.jpg?x=1"])
def test_what_is_no_url_of_an_image(tmp_path: Path, url: str) -> None:
    write(tmp_path / "dataFile_0001.txt", ["\t".join([url, "x", *codes(0, "999")])])
    with pytest.raises(DataFormatError, match="line 1: expected the URL of an image"):
        emotionet.read(tmp_path)


@settings(max_examples=12, deadline=None)
@given(order=st.permutations(range(62)))
def test_columns_go_by_their_names(order: list[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = later(Path(folder))
        columns = [f"action_units.AU{u}" for u in emotionet.UNITS[23]]
        truth = truth_of(emotionet.read(root, labels=23), columns)
        file = root / "EmotioNet_FACS_aws_2020_24600.csv"
        file.write_bytes(permuted(file.read_bytes(), order))
        assert truth_of(emotionet.read(root, labels=23), columns) == truth


@given(data=st.data())
def test_damage_is_named_or_harmless(texts: Path, data: st.DataObject) -> None:
    def read():
        return emotionet.read(texts, labels=23, missing="keep", gaps="keep")

    file = sorted(texts.glob("*.*"))[0]
    truth = truth_of(read(), [f"action_units.AU{u}" for u in emotionet.UNITS[23]])
    check_damage(
        read, file, data.draw(damages(file.read_bytes(), "," if file.suffix == ".csv" else "\t")), truth
    )
