"""CUB-200-2011: labels of images with their certainty, labels of classes, and the table of percentages."""

from pathlib import Path

import numpy as np
import pytest
from _face_mutations import Damage, check_damage, damages, touch, truth_of, write
from hypothesis import assume, given
from hypothesis import strategies as st

from concord.data.readers import cub200
from concord.errors import DataFormatError, MissingDataError, RangeError

SPECIES = ["Black_footed_Albatross", "Laysan_Albatross", "Crested_Auklet"]
ATTRIBUTES = [
    "has_bill_shape::curved_(up_or_down)",
    "has_wing_color::blue",
    "has_wing_color::red",
    "has_size::small_(5_-_9_in)",
]
CLASS_OF = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
TRAIN = [1, 1, 1, 0, 1, 1, 0, 1, 1, 0]
K = len(ATTRIBUTES)
PATHS = [f"{c + 1:03d}.{SPECIES[c]}/{SPECIES[c].title()}_{i:04d}_7{i}.jpg" for i, c in enumerate(CLASS_OF, 1)]


def entry(image: int, k: int) -> tuple[int, int]:
    """Presence and certainty of an attribute: what is not visible is written as absent."""
    certainty = (image + 2 * k) % 4 + 1
    return (0 if certainty == 1 else (image * 5 + k * 3) % 7 % 2), certainty


def percent(c: int, k: int) -> float:
    return (c * 37 + k * 23) % 101


def make(root: Path, inner: str = "CUB_200_2011/", names: str = "") -> Path:
    base = root / inner
    write(base / "images.txt", [f"{i} {path}" for i, path in enumerate(PATHS, 1)])
    write(base / "classes.txt", [f"{c} {c:03d}.{name}" for c, name in enumerate(SPECIES, 1)])
    write(base / "image_class_labels.txt", [f"{i} {c + 1}" for i, c in enumerate(CLASS_OF, 1)])
    write(base / "train_test_split.txt", [f"{i} {t}" for i, t in enumerate(TRAIN, 1)])
    write(base / "bounding_boxes.txt", [f"{i} {i}.0 27.5 325.0 304.0" for i in range(1, len(PATHS) + 1)])
    lines = []
    for i in range(len(PATHS)):
        for k in range(K):
            present, certainty = entry(i, k)
            more = " 0 1.509" if (i, k) in ((2, 1), (7, 3)) else ""  # malformed lines of the release
            lines.append(f"{i + 1} {k + 1} {present} {certainty} {i}.7080{more}")
    write(base / "attributes/image_attribute_labels.txt", lines)
    write(
        base / "attributes/certainties.txt", [f"{c} {name}" for c, name in enumerate(cub200.CERTAINTIES, 1)]
    )
    table = [" ".join(f"{percent(c, k):.18e}" for k in range(K)) for c in range(len(SPECIES))]
    write(base / "attributes/class_attribute_labels_continuous.txt", table)
    write(root / names / "attributes.txt", [f"{k} {name}" for k, name in enumerate(ATTRIBUTES, 1)])
    touch(base, [f"images/{path}" for path in PATHS])
    return root


def truth(prefix: str = "CUB_200_2011/", certainty: int = 2) -> dict[str, dict[str, object]]:
    rows: dict[str, dict[str, object]] = {}
    for i, path in enumerate(PATHS):
        row: dict[str, object] = {
            "split": "train" if TRAIN[i] else "test",
            "species": SPECIES[CLASS_OF[i]],
        }
        for k, name in enumerate(ATTRIBUTES):
            present, sure = entry(i, k)
            row[f"attributes.{name}"] = present if sure >= certainty else None
        rows[f"{prefix}images/{path}"] = row
    return rows


@pytest.mark.parametrize(
    ("inner", "names"),
    [
        ("CUB_200_2011/", ""),
        ("CUB_200_2011/", "CUB_200_2011"),
        ("CUB_200_2011/", "CUB_200_2011/attributes"),
        ("CUB_200_2011/CUB_200_2011/", ""),
        ("CUB_200_2011/CUB_200_2011/", "CUB_200_2011"),
        ("CUB_200_2011/CUB_200_2011/", "CUB_200_2011/CUB_200_2011/attributes"),
        ("", ""),
    ],
)
def test_places_of_the_files(tmp_path: Path, inner: str, names: str) -> None:
    manifest = cub200.read(make(tmp_path, inner, names))
    expected = truth(inner)
    assert truth_of(manifest, next(iter(expected.values()))) == expected
    species, attributes = manifest.tasks
    assert species.outputs == tuple(SPECIES)
    assert attributes.outputs == tuple(ATTRIBUTES)


@pytest.mark.parametrize("certainty", [1, 2, 3, 4])
def test_certainty_makes_gaps(tmp_path: Path, certainty: int) -> None:
    manifest = cub200.read(make(tmp_path), certainty=certainty)
    expected = truth(certainty=certainty)
    assert truth_of(manifest, next(iter(expected.values()))) == expected


def test_certainty_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(RangeError, match="expected one of 1, 2, 3, 4, found 5"):
        cub200.read(make(tmp_path), certainty=5)


def test_labels_of_the_class_are_the_majority_of_its_training_images(tmp_path: Path) -> None:
    manifest = cub200.read(make(tmp_path), level="class")
    rows = truth()
    votes = {}
    for c, name in enumerate(SPECIES):
        for attribute in ATTRIBUTES:
            values = [
                row[f"attributes.{attribute}"]
                for i, row in enumerate(rows.values())
                if CLASS_OF[i] == c and TRAIN[i]
            ]
            lead = values.count(1) - values.count(0)
            votes[name, attribute] = 1 if lead > 0 else 0 if lead < 0 else None
    assert set(votes.values()) == {0, 1, None}
    for row in truth_of(manifest, [*rows[next(iter(rows))]]).values():
        for attribute in ATTRIBUTES:
            assert row[f"attributes.{attribute}"] == votes[row["species"], attribute]


def test_boxes(tmp_path: Path) -> None:
    frame = cub200.read(make(tmp_path), boxes=True).frame
    assert frame.select("box_x", "box_y", "box_width", "box_height").row(3) == (4.0, 27.5, 325.0, 304.0)
    assert "box_x" not in cub200.read(tmp_path).frame.columns


def test_relation_has_the_tasks_of_the_manifest(tmp_path: Path) -> None:
    table = cub200.relation(make(tmp_path))
    assert (table.source, table.target) == cub200.read(tmp_path).tasks
    expected = np.array([[percent(c, k) / 100 for k in range(K)] for c in range(len(SPECIES))])
    np.testing.assert_allclose(table.table, expected)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["0 1 0.5 0"] * 3, "line 1: expected percentages"),
        (["0 1 50 0"] * 2, "line 2: expected a line for each of 3 classes"),
        (["0 1 50 0", "0 1 101 0", "0 1 2 3"], "line 2: expected has_wing_color::red, a number in 0 .. 100"),
        (["0 1 50 0", "0 1 10", "0 1 2 3"], "line 2: expected 4 fields"),
    ],
)
def test_tables_that_are_no_percentages(tmp_path: Path, lines: list[str], message: str) -> None:
    path = make(tmp_path, "", "attributes") / "attributes" / "class_attribute_labels_continuous.txt"
    write(path, lines)
    with pytest.raises(DataFormatError) as info:
        cub200.relation(tmp_path)
    assert str(info.value).startswith(f"{path}, {message}")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "image_class_labels.txt",
            "5 2\n",
            "5 3\n",
            "line 5: expected the class of the image's folder",
        ),
        ("image_class_labels.txt", "10 3\n", "", "line 9: expected 10 images as in images.txt"),
        ("images.txt", "10 003", "11 003", "line 10: expected ids from 1 on"),
        ("classes.txt", "3 003.Crested_Auklet\n", "", "line 2: expected 3 classes"),
        ("classes.txt", "Laysan", "Laysen", "line 2: expected the class 'Laysan_Albatross'"),
        ("classes.txt", "2 002", "2 003", "line 2: expected the class of this id"),
        ("train_test_split.txt", "7 0", "7 2", "line 7: expected 1 (train) or 0 (test)"),
        ("bounding_boxes.txt", "4.0 27.5", "4.0 27", "line 4: expected an image and four numbers"),
        ("attributes/certainties.txt", "guessing", "probably", "line 2: expected the certainties"),
        ("attributes/certainties.txt", "4 definitely\n", "", "line 3: expected 4 certainties"),
        ("attributes/image_attribute_labels.txt", "10 4 ", "10 3 ", "line 40: expected each attribute"),
        ("attributes/image_attribute_labels.txt", "9 4 ", "12 4 ", "line 36: expected an image"),
        ("attributes/image_attribute_labels.txt", "9 4 ", "9 5 ", "line 36: expected an attribute"),
        ("../attributes.txt", "4 has_size::small_(5_-_9_in)\n", "", "line 3: expected 4 attributes"),
        ("../attributes.txt", "blue", "red", "line 3: expected each attribute once"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    path = (make(tmp_path) / "CUB_200_2011" / file).resolve()
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataFormatError) as info:
        cub200.read(tmp_path, boxes=True)
    assert str(info.value).startswith(f"{path}, {message}"), str(info.value)


def test_the_last_label_may_be_lost(tmp_path: Path) -> None:
    path = make(tmp_path) / "CUB_200_2011/attributes/image_attribute_labels.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(
        DataFormatError, match="line 39: expected each attribute of each image once, 40 lines"
    ):
        cub200.read(tmp_path)


def test_the_inner_folder_may_be_named(tmp_path: Path) -> None:
    outer = cub200.read(make(tmp_path))
    inner = cub200.read(tmp_path / "CUB_200_2011")
    assert inner.tasks == outer.tasks
    assert inner.frame.drop("path").equals(outer.frame.drop("path"))


def test_empty_files(tmp_path: Path) -> None:
    base = make(tmp_path, "", "attributes")
    for file in (
        "attributes/image_attribute_labels.txt",
        "attributes/attributes.txt",
        "train_test_split.txt",
        "classes.txt",
        "image_class_labels.txt",
    ):
        path = write(base / file, [])
        with pytest.raises(DataFormatError) as info:
            cub200.read(tmp_path)
        assert str(info.value) == f"{path}, line 1: expected annotations, found an empty file"
        make(tmp_path, "", "attributes")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        MissingDataError, match=r"'images.txt' or 'CUB_200_2011/images.txt'.*is empty.*caltech"
    ):
        cub200.read(tmp_path)
    make(tmp_path)
    (tmp_path / "attributes.txt").unlink()
    with pytest.raises(MissingDataError, match=r"'CUB_200_2011/attributes/attributes.txt' or"):
        cub200.read(tmp_path)
    make(tmp_path / "other")
    (tmp_path / "other/CUB_200_2011/attributes/certainties.txt").unlink()
    with pytest.raises(MissingDataError, match=r"certainties"):
        cub200.read(tmp_path / "other")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("cub"), "", "attributes")


@pytest.mark.parametrize(
    "file",
    [
        "images.txt",
        "classes.txt",
        "image_class_labels.txt",
        "train_test_split.txt",
        "attributes/image_attribute_labels.txt",
        "attributes/certainties.txt",
    ],
)
@given(data=st.data())
def test_damage_is_named_or_harmless(tree: Path, file: str, data: st.DataObject) -> None:
    path = tree / file
    damage: Damage = data.draw(damages(path.read_bytes(), " "))
    lines, words = path.read_text().splitlines(), damage.left.split()
    if "image_attribute" in file and damage.kind in ("extra field", "blank", "joined lines"):
        # Lines with more than five fields are in the release: a number too many in front can look like them.
        assume(words[:4] == lines[damage.line - 1].split()[:4] or not looks_true(words))
    check_damage(
        lambda: cub200.read(tree, missing="keep"),
        path,
        damage,
        truth(""),
    )


def looks_true(words: list[str]) -> bool:
    return (
        len(words) >= 4
        and all(word.isdigit() for word in words[:4])
        and words[2] in "01"
        and words[3] in "1234"
    )
