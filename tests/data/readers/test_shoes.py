"""Shoes: types by name, relative attributes cut in two."""

from pathlib import Path

import numpy as np
import pytest
from _face_mutations import touch, truth_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import savemat

from concord.data.readers import shoes
from concord.errors import DataFormatError, MissingDataError, RangeError

IMAGES = {
    "img_womens_clogs_851.jpg": "womens_clogs/0",
    "img_womens_clogs_12.jpg": "womens_clogs/1",
    "img_womens_athletic_shoes_375.jpg": "womens_athletic_shoes/0",
    "img_womens_athletic_shoes_3.jpg": "womens_athletic_shoes/0",
    "img_womens_boots_1.jpg": "womens_boots/0",
    "img_womens_boots_9.jpg": "womens_boots/1",
}
TYPE = {name: place.split("/")[0].removeprefix("womens_") for name, place in IMAGES.items()}
TYPES = ["clogs", "boots", "athletic_shoes"]  # in the order of the class numbers
NAMES = ["pointy at the front", "open", "shiny"]
ORDERS = np.array([[1, 2, 3], [2, 2, 1], [3, 1, 2]])  # attributes x classes
SCORES = np.array([[(5 * i + 7 * k) % 11 for k in range(3)] for i in range(6)], dtype=float)
MAT = "shoes_attributes.mat"


def cells(texts: list[str]) -> np.ndarray:
    out = np.empty((1, len(texts)), dtype=object)
    out[0, :] = texts
    return out


def contents() -> dict[str, object]:
    rows = list(IMAGES)[::-1]  # not in the order of any folder
    return {
        "im_names": cells(rows),
        "class_names": cells(TYPES),
        "attribute_names": cells(NAMES),
        "class_labels": np.array([[TYPES.index(TYPE[name]) + 1] for name in rows]),
        "orders": ORDERS,
        "relative_att_predictions": SCORES[::-1],
    }


def make(root: Path, place: str = "shoes/", **changes: object) -> Path:
    touch(root, [f"{place}{folder}/{name}" for name, folder in IMAGES.items()])
    touch(root, [f"{place}womens_clogs/0/descr_womens_clogs_851.txt", f"{place}womens_clogs/.DS_Store"])
    touch(root, [f"{place}bags_hobo/0/img_bags_hobo_1.jpg"])  # of the same source, no shoe
    savemat(root / MAT, {**contents(), **changes})
    return root


@pytest.mark.parametrize("place", ["shoes/", "", "images/", "attributedata/shoes/"])
def test_types_and_strengths_meet_by_name(tmp_path: Path, place: str) -> None:
    manifest = shoes.read(make(tmp_path, place))
    median = np.median(SCORES, axis=0)
    expected = {
        f"{place}{folder}/{name}": {
            "type": TYPE[name],
            **{f"attributes.{a}": int(SCORES[i, k] > median[k]) for k, a in enumerate(NAMES)},
        }
        for i, (name, folder) in enumerate(IMAGES.items())
    }
    assert truth_of(manifest, next(iter(expected.values()))) == expected
    assert manifest.tasks[0].outputs == ("athletic_shoes", "boots", "clogs")
    assert manifest.tasks[1].outputs == tuple(NAMES)


def test_a_band_is_left_as_a_gap(tmp_path: Path) -> None:
    frame = shoes.read(make(tmp_path), band=0.4).frame
    values = frame.select(f"attributes.{name}" for name in NAMES)
    assert sum(values.null_count().row(0)) == 6  # 2 of 6 images for each attribute


def test_labels_from_the_order_of_the_classes(tmp_path: Path) -> None:
    frame = shoes.read(make(tmp_path), attributes="class").frame
    found = {
        row[0]: row[1:] for row in frame.select("type", *(f"attributes.{n}" for n in NAMES)).unique().rows()
    }
    assert found == {"clogs": (0, 0, 1), "boots": (0, 0, 0), "athletic_shoes": (1, 0, 0)}


def test_types_alone(tmp_path: Path) -> None:
    (make(tmp_path) / MAT).unlink()
    assert [task.name for task in shoes.read(tmp_path, attributes="none").tasks] == ["type"]
    with pytest.raises(MissingDataError, match=r"shoes_attributes\.mat"):
        shoes.read(tmp_path)


def test_rows_without_images_and_images_without_rows(tmp_path: Path) -> None:
    make(tmp_path)
    last = list(IMAGES)[-1]
    (tmp_path / "shoes" / IMAGES[last] / last).rename(
        tmp_path / "shoes" / IMAGES[last] / "img_womens_boots_77.jpg"
    )
    frame = shoes.read(tmp_path).frame
    assert len(frame) == 6
    assert frame.filter(frame["path"].str.contains("_77"))["attributes.open"].to_list() == [None]
    with pytest.raises(MissingDataError, match=f"expected an image for each row, found none for '{last}'"):
        shoes.read(tmp_path, missing="error")
    savemat(
        tmp_path / MAT,
        {**contents(), "im_names": cells([f"img_womens_boots_{i + 100}.jpg" for i in range(6)])},
    )
    with pytest.raises(MissingDataError, match="expected rows of the images"):
        shoes.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "attributes", "message"),
    [
        ({"im_names": cells(list(IMAGES)[:1] * 6)}, "image", "expected distinct im_names"),
        ({"im_names": np.arange(6.0)}, "image", "expected the variable 'im_names' to be a list of texts"),
        ({"attribute_names": cells(NAMES[:2])}, "image", "to be a matrix of numbers with 2 columns"),
        ({"relative_att_predictions": SCORES[:4]}, "image", "expected 6 rows in 'relative_att_predictions'"),
        ({"relative_att_predictions": SCORES * np.nan}, "image", "expected finite numbers"),
        ({"orders": ORDERS[:2]}, "class", "expected the variable 'orders' to be a matrix"),
        ({"class_labels": np.ones(6)}, "class", "expected one type a class, found class 1"),
        ({"class_labels": np.arange(6.0)}, "class", "'class_labels' in 1 .. 3"),
        ({"class_labels": np.ones(5)}, "class", "expected 6 'class_labels'"),
    ],
)
def test_what_the_mat_file_must_hold(tmp_path: Path, changes, attributes, message: str) -> None:
    make(tmp_path, **changes)
    with pytest.raises(DataFormatError) as info:
        shoes.read(tmp_path, attributes=attributes)
    assert str(info.value).startswith(f"{tmp_path / MAT}: ")
    assert message in str(info.value)


def test_two_classes_of_one_type(tmp_path: Path) -> None:
    labels = np.array([1, 1, 2, 2, 3, 1])[::-1]
    make(tmp_path, class_labels=labels, orders=np.ones((3, 3)))
    with pytest.raises(DataFormatError, match="one type a class"):
        shoes.read(tmp_path, attributes="class")
    make(tmp_path, class_labels=np.array([1, 4, 2, 2, 3, 3])[::-1], orders=np.ones((3, 4)))
    with pytest.raises(DataFormatError, match="two classes of one type"):
        shoes.read(tmp_path, attributes="class")


def test_names_of_images(tmp_path: Path) -> None:
    touch(make(tmp_path), ["shoes/womens_clogs/0/img_womens_boots_5.jpg"])
    with pytest.raises(DataFormatError, match=r"expected images as img_womens_clogs_1\.jpg in this folder"):
        shoes.read(tmp_path)
    (tmp_path / "shoes/womens_clogs/0/img_womens_boots_5.jpg").unlink()
    touch(tmp_path, ["shoes/womens_clogs/1/img_womens_clogs_851.jpg"])
    with pytest.raises(DataFormatError, match="expected each image once"):
        shoes.read(tmp_path)


@pytest.mark.parametrize(("quantile", "band"), [(0.0, 0.0), (1.0, 0.0), (0.5, -0.1), (0.3, 0.8), (0.5, 1.0)])
def test_quantiles_out_of_range(tmp_path: Path, quantile: float, band: float) -> None:
    with pytest.raises(RangeError, match="expected a quantile"):
        shoes.read(make(tmp_path), quantile=quantile, band=band)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"expected folders womens_TYPE.*is empty.*tamaraberg"):
        shoes.read(tmp_path)
    (tmp_path / "womens_boots").mkdir()
    with pytest.raises(MissingDataError, match="expected images img_womens_TYPE"):
        shoes.read(tmp_path)


@given(
    scores=hnp.arrays(
        np.float64, st.tuples(st.integers(1, 30), st.integers(1, 3)), elements=st.integers(-9, 9).map(float)
    ),
    cuts=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
)
def test_binarise_keeps_the_order(scores: np.ndarray, cuts: list[float]) -> None:
    low, high = cuts
    labels = shoes.binarise(scores, low, high)
    for values, column in zip(scores.T, labels.T, strict=True):
        if (column == 1).any() and (column == 0).any():
            assert values[column == 1].min() > values[column == 0].max()
        for gap in values[column == -1]:
            assert not (gap <= values[column == 0]).any()
            assert not (gap >= values[column == 1]).any()
    assert (np.mean(labels == 1, axis=0) <= 1 - high + 1 / len(scores)).all()
