"""UT-Zappos50K: CIDs and file names, folders that end in a dot, groups that nobody described."""

from pathlib import Path

import numpy as np
import pytest
from _face_mutations import check_damage, damages, touch, truth_of, write
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.io import savemat

from concord.data.readers import ut_zappos50k
from concord.errors import DataFormatError, MissingDataError

pytestmark = pytest.mark.filterwarnings("ignore:.* annotated images are not in")  # left out on purpose

FILES = {
    "100627-72": "Shoes/Oxfords/Bostonian/100627.72.jpg",
    "100627-255": "Shoes/Oxfords/Bostonian/100627.255.jpg",
    "7965794-3": "Boots/Ankle/A. Testoni Co./7965794.3.jpg",
    "8000978-4": "Sandals/Flat/Ros Hommerson/8000978.4.jpg",
    "8012345-1": "Slippers/Slipper Flats/L.B./8012345.1.jpg",
}
CATEGORY = ["Shoes", "Shoes", "Boots", "Sandals", "Slippers"]
SUBCATEGORY = ["Oxfords", "Oxfords", "Ankle", "Flat", None]
SUBCATEGORIES = ["Oxfords", "Ankle", "Flat", "Slipper.Flats"]
LABELS = {
    "HeelHeight.Flat": "00010",
    "HeelHeight.1in...1.3.4in": "01000",
    "Insole.Gel": "10000",
    "Closure.Lace.up": "11000",
    "Closure.Pull.on": "00100",
    "Gender.Men": "11100",
    "Gender.Women": "01011",
    "Material.Leather": "11111",
    "ToeStyle.Round Toe": "00101",
}
IMAGES = "ut-zap50k-images-square"
DATA = "ut-zap50k-data"


def make(root: Path) -> Path:
    header = ["CID", *(f"Category.{c}" for c in ("Shoes", "Boots", "Slippers", "Sandals"))]
    header += [f"SubCategory.{s}" for s in SUBCATEGORIES] + list(LABELS)
    rows = []
    for i, cid in enumerate(FILES):
        bits = [str(int(CATEGORY[i] == c.partition(".")[2])) for c in header[1:5]]
        bits += [str(int(SUBCATEGORY[i] == s)) for s in SUBCATEGORIES]
        rows.append(",".join([cid, *bits, *(values[i] for values in LABELS.values())]))
    write(root / DATA / "meta-data-bin.csv", [",".join(header), *rows])
    save_paths(root, list(FILES.values()))
    touch(root, [f"{IMAGES}/{file}" for file in FILES.values()])
    return root


def save_paths(root: Path, paths: list[str]) -> None:
    cells = np.empty((len(paths), 1), dtype=object)
    cells[:, 0] = paths
    savemat(root / DATA / "image-path.mat", {"imagepath": cells})


def truth(undescribed: str = "gap") -> dict[str, dict[str, object]]:
    rows: dict[str, dict[str, object]] = {}
    for i, (cid, file) in enumerate(FILES.items()):
        row: dict[str, object] = {
            "split": None,
            "group": cid.split("-")[0],
            "category": CATEGORY[i],
            "subcategory": SUBCATEGORY[i],
        }
        for name, values in LABELS.items():
            group = name.partition(".")[0] + "."
            said = any(LABELS[other][i] == "1" for other in LABELS if other.startswith(group))
            row[f"attributes.{name}"] = int(values[i]) if said or undescribed == "absent" else None
        rows[f"{IMAGES}/{file}"] = row
    return rows


@pytest.mark.parametrize("paths", ["mat", "folders"])
@pytest.mark.parametrize("undescribed", ["gap", "absent"])
def test_rows_meet_their_files(tmp_path: Path, paths, undescribed) -> None:
    manifest = ut_zappos50k.read(make(tmp_path), paths=paths, undescribed=undescribed)
    expected = truth(undescribed)
    assert truth_of(manifest, next(iter(expected.values()))) == expected
    category, subcategory, attributes = manifest.tasks
    assert set(category.outputs) == set(ut_zappos50k.CATEGORIES)
    assert subcategory.outputs == tuple(SUBCATEGORIES)
    assert attributes.outputs == tuple(LABELS)


def test_a_folder_that_lost_its_dot(tmp_path: Path) -> None:
    place = make(tmp_path) / IMAGES / "Boots/Ankle"
    (place / "A. Testoni Co.").rename(place / "A. Testoni Co")
    assert len(ut_zappos50k.read(tmp_path)) == len(FILES)
    found = ut_zappos50k.read(tmp_path, paths="folders")
    assert found.frame["path"][2] == f"{IMAGES}/Boots/Ankle/A. Testoni Co/7965794.3.jpg"
    (place / "A. Testoni Co/7965794.3.jpg").unlink()
    assert len(ut_zappos50k.read(tmp_path, paths="folders")) == len(FILES) - 1
    kept = ut_zappos50k.read(tmp_path, paths="folders", missing="keep")
    assert len(kept) == len(FILES)


def test_a_dot_that_is_written_as_percent_2e(tmp_path: Path) -> None:
    base = make(tmp_path) / IMAGES
    (base / "Boots/Ankle/A. Testoni Co.").rename(base / "Boots/Ankle/A. Testoni Co%2E")
    (base / "Slippers/Slipper Flats/L.B.").rename(base / "Slippers/Slipper Flats/L.B%2E")
    manifest = ut_zappos50k.read(tmp_path)
    expected = {
        path.replace("Co./", "Co%2E/").replace("L.B./", "L.B%2E/"): row for path, row in truth().items()
    }
    assert truth_of(manifest, next(iter(expected.values()))) == expected


def test_original_pictures(tmp_path: Path) -> None:
    (make(tmp_path) / IMAGES).rename(tmp_path / "ut-zap50k-images")
    assert len(ut_zappos50k.read(tmp_path, images="original")) == len(FILES)
    with pytest.raises(MissingDataError, match="found none of 5"):
        ut_zappos50k.read(tmp_path)


def test_paths_of_other_rows(tmp_path: Path) -> None:
    file = make(tmp_path) / DATA / "meta-data-bin.csv"
    save_paths(tmp_path, list(FILES.values())[::-1])
    with pytest.raises(DataFormatError) as info:
        ut_zappos50k.read(tmp_path)
    assert str(info.value).startswith(f"{file}, line 2: expected the CIDs in the order of image-path.mat")
    save_paths(tmp_path, list(FILES.values())[:-1])
    with pytest.raises(DataFormatError, match="line 6: expected 4 rows"):
        ut_zappos50k.read(tmp_path)


def test_images_without_a_row_and_twice(tmp_path: Path) -> None:
    touch(make(tmp_path), [f"{IMAGES}/Boots/Ankle/._x.jpg", f"{IMAGES}/Boots/Ankle/B/1.1.jpg"])
    with pytest.raises(
        DataFormatError, match=r"line 6: expected a row for each image, found none for '.*1\.1"
    ):
        ut_zappos50k.read(tmp_path, paths="folders")
    touch(tmp_path, [f"{IMAGES}/Boots/Heel/B/1.1.jpg"])
    with pytest.raises(DataFormatError, match="one image a CID"):
        ut_zappos50k.read(tmp_path, paths="folders")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("CID,", "ID,", "line 1: expected the column 'CID' first"),
        ("Category.Shoes", "Category.Shoe", "line 1: expected the columns Category.Boots"),
        ("Insole.Gel", "Sole.Gel", "line 1: expected columns named after"),
        ("Insole.Gel", "Closure.Gel", "line 1: expected columns named Insole.NAME"),
        ("100627-72,1,0", "100627-72,1,1", "line 2: expected one Category at most"),
        ("100627-72,1,0", "100627-72,1,2", "line 2: expected 0 or 1 as Category.Boots"),
        ("100627-255", "100627-72", "line 3: expected each CID once"),
        ("100627-255", "100627.255", "line 3: expected a CID"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = make(tmp_path) / DATA / "meta-data-bin.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataFormatError) as info:
        ut_zappos50k.read(tmp_path)
    assert str(info.value).startswith(f"{path}, {message}")


def test_paths_that_are_no_texts(tmp_path: Path) -> None:
    path = make(tmp_path) / DATA / "image-path.mat"
    for value in ({"imagepath": np.arange(5.0)}, {"imagepath": np.array([[1.0], ["a"]], dtype=object)}):
        savemat(path, value)
        with pytest.raises(DataFormatError, match="expected"):
            ut_zappos50k.read(tmp_path)
    savemat(path, {"path": np.arange(5.0)})
    with pytest.raises(DataFormatError, match="expected the variable 'imagepath'"):
        ut_zappos50k.read(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"meta-data-bin\.csv.*is empty.*utexas"):
        ut_zappos50k.read(tmp_path)
    (make(tmp_path) / DATA / "image-path.mat").unlink()
    with pytest.raises(MissingDataError, match=r"image-path\.mat"):
        ut_zappos50k.read(tmp_path)
    assert len(ut_zappos50k.read(tmp_path, paths="folders")) == len(FILES)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("zappos"))


@pytest.mark.parametrize("paths", ["mat", "folders"])
@given(data=st.data())
def test_damage_is_named_or_harmless(tree: Path, paths, data: st.DataObject) -> None:
    path = tree / DATA / "meta-data-bin.csv"
    damage = data.draw(damages(path.read_bytes(), ","))
    # A name in the header that was cut or got a blank is another name: nothing in the file tells.
    assume(damage.line > 1 or damage.kind not in ("cut line", "blank"))
    check_damage(
        lambda: ut_zappos50k.read(tree, paths=paths, missing="keep"),
        path,
        damage,
        truth(),
    )
