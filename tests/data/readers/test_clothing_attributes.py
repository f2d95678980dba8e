"""Clothing Attributes: one .mat file a label, gaps as NaN, files found by their names."""

from pathlib import Path

import numpy as np
import pytest
from _face_mutations import touch, truth_of
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from concord.data.readers import clothing_attributes as reader
from concord.errors import DataFormatError, MissingDataError

pytestmark = pytest.mark.filterwarnings("ignore:.* annotated images are not in")  # left out on purpose

COUNT = 11
FILES = {"category": ("category", 7), "neckline": ("neckline", 3), "sleeve_length": ("sleevelength", 3)}
ALL = {**FILES, **{f"attributes.{label}": (label, 2) for label in reader.LABELS}}


def numbers(file: str, classes: int) -> np.ndarray:
    seed = sum(map(ord, file))
    values = np.array([(seed + 3 * i) % classes + 1 for i in range(COUNT)], dtype=np.float64)
    values[seed % COUNT] = np.nan
    return values[:, None]


def make(root: Path, inner: str = "ClothingAttributeDataset/", suffix: str = "_GT") -> Path:
    (root / inner / "labels").mkdir(parents=True)
    for file, classes in ALL.values():
        savemat(root / inner / f"labels/{file}{suffix}.mat", {"GT": numbers(file, classes)})
    touch(root, [f"{inner}images/{i:06d}.jpg" for i in range(1, COUNT + 1)])
    return root


def truth(inner: str = "ClothingAttributeDataset/") -> dict[str, dict[str, object]]:
    rows: dict[str, dict[str, object]] = {}
    for i in range(COUNT):
        row: dict[str, object] = {"split": None, "group": None}
        for name, (file, classes) in ALL.items():
            value = numbers(file, classes)[i, 0]
            index = None if np.isnan(value) else int(value) - 1
            row[name] = reader.CLASSES[name][index] if name in FILES and index is not None else index
        rows[f"{inner}images/{i + 1:06d}.jpg"] = row
    return rows


@pytest.mark.parametrize("inner", ["ClothingAttributeDataset/", ""])
@pytest.mark.parametrize("suffix", ["_GT", ""])
def test_labels_go_by_their_files(tmp_path: Path, inner: str, suffix: str) -> None:
    manifest = reader.read(make(tmp_path, inner, suffix))
    expected = truth(inner)
    assert truth_of(manifest, next(iter(expected.values()))) == expected
    assert [task.width for task in manifest.tasks] == [7, 3, 3, 23]
    assert any(value is None for row in expected.values() for value in list(row.values())[2:])


def test_other_shapes_and_types_of_numbers(tmp_path: Path) -> None:
    labels = make(tmp_path) / "ClothingAttributeDataset/labels"
    values = numbers("scarf", 2)
    savemat(labels / "scarf_GT.mat", {"GT": values.T})
    whole = np.nan_to_num(numbers("red", 2), nan=1).astype(np.uint8)
    savemat(labels / "red_GT.mat", {"GT": whole}, do_compression=True)
    frame = reader.read(tmp_path).frame
    assert frame["attributes.scarf"].to_list() == [row["attributes.scarf"] for row in truth().values()]
    assert frame["attributes.red"].to_list() == (whole[:, 0] - 1).tolist()


@pytest.mark.parametrize(
    ("value", "found"),
    [(0.0, "0"), (3.0, "3"), (1.5, "1.5"), (-1.0, "-1"), (np.inf, "inf"), (-np.inf, "-inf")],
)
def test_numbers_that_are_no_labels(tmp_path: Path, value: float, found: str) -> None:
    path = make(tmp_path) / "ClothingAttributeDataset/labels/scarf_GT.mat"
    values = numbers("scarf", 2)
    values[4] = value
    savemat(path, {"GT": values})
    with pytest.raises(DataFormatError) as info:
        reader.read(tmp_path)
    assert str(info.value) == f"{path}: expected a number in 1 .. 2 or NaN for image 5, found {found}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"gt": np.ones((COUNT, 1))}, "expected the variable 'GT', found"),
        ({"GT": np.ones((COUNT, 2))}, "expected the variable 'GT' to be a vector of numbers"),
        ({"GT": np.array([["a"]] * COUNT, dtype=object)}, "expected the variable 'GT' to be a vector"),
        ({"GT": np.ones((COUNT - 1, 1))}, f"expected {COUNT} numbers as in other files, found {COUNT - 1}"),
        ({"GT": np.ones((COUNT, 1)) * 1j}, "expected the variable 'GT' to be a vector of numbers"),
    ],
)
def test_other_variables(tmp_path: Path, content: dict[str, np.ndarray], message: str) -> None:
    path = make(tmp_path) / "ClothingAttributeDataset/labels/white_GT.mat"
    savemat(path, content)
    with pytest.raises(DataFormatError) as info:
        reader.read(tmp_path)
    assert str(info.value).startswith(f"{path}: {message}")


def test_version_7_3_is_named(tmp_path: Path) -> None:
    path = make(tmp_path) / "ClothingAttributeDataset/labels/white_GT.mat"
    head = b"MATLAB 7.3 MAT-file".ljust(124, b" ") + b"\x00\x02IM"
    path.write_bytes(head.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(DataFormatError, match=r"version 7\.3; save it again"):
        reader.read(tmp_path)


def test_images_that_no_row_belongs_to(tmp_path: Path) -> None:
    touch(make(tmp_path), [f"ClothingAttributeDataset/images/{COUNT + 1:06d}.jpg"])
    with pytest.raises(DataFormatError, match=r"000012\.jpg: expected images 000001\.jpg to 000011\.jpg"):
        reader.read(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"'labels' or 'ClothingAttributeDataset/labels'.*stanford"):
        reader.read(tmp_path)
    labels = make(tmp_path) / "ClothingAttributeDataset/labels"
    (labels.parent / "images/000003.jpg").unlink()
    assert len(reader.read(tmp_path)) == COUNT - 1
    assert len(reader.read(tmp_path, missing="keep")) == COUNT
    (labels / "skin_exposure_GT.mat").unlink()
    with pytest.raises(
        MissingDataError, match=r"expected the file 'skin_exposure_GT\.mat' in .*black_GT\.mat"
    ):
        reader.read(tmp_path)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("clothing"))


@given(data=st.data())
def test_a_cut_file_is_named(tree: Path, data: st.DataObject) -> None:
    path = tree / "ClothingAttributeDataset/labels/brown_GT.mat"
    original = path.read_bytes()
    size = data.draw(st.integers(0, len(original) - 1))
    path.write_bytes(original[:size])
    try:
        with pytest.raises(DataFormatError, match=f"{path}: expected "):
            reader.read(tree)
    finally:
        path.write_bytes(original)
