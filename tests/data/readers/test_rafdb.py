"""RAF-DB, basic and compound."""

import re
from pathlib import Path
from typing import Any

import pytest
from _face_mutations import Damage, check_damage, damages, touch, truth_of, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from concord.data.readers import rafdb
from concord.data.registry import read as data_read
from concord.errors import ConcordWarning, ConfigError, DataFormatError, MissingDataError, UnknownNameError
from concord.relations.literature import EXPRESSIONS, compound_expressions

pytestmark = pytest.mark.filterwarnings("ignore:.* annotated images are not in")  # left out on purpose

BASIC = {
    "train_00001": ("5", "sadness"),
    "train_00002": ("1", "surprise"),
    "train_00003": ("2", "fear"),
    "train_12271": ("7", "neutral"),
    "test_0001": ("3", "disgust"),
    "test_0002": ("4", "happiness"),
    "test_3068": ("6", "anger"),
}
COMPOUND = {
    "train_0001": ("1", "happily surprised"),
    "train_0002": ("11", "disgustedly surprised"),
    "test_0001": ("10", "angrily disgusted"),
    "test_0002": ("2", "happily disgusted"),
    "test_0003": ("9", "angrily surprised"),
    "test_0004": ("11", "disgustedly surprised"),
}
INNER = "EmoLabel/list_patition_label.txt"


def make(root: Path) -> Path:
    for subset, labels in (("basic", BASIC), ("compound", COMPOUND)):
        write(root / subset / INNER, [f"{stem}.jpg {code}" for stem, (code, _) in labels.items()])
        touch(root, [f"{subset}/Image/aligned/{stem}_aligned.jpg" for stem in labels])
        touch(root, [f"{subset}/Image/original/{stem}.jpg" for stem in labels])
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("rafdb"))


@pytest.mark.parametrize(("subset", "labels"), [("basic", BASIC), ("compound", COMPOUND)])
def test_every_code_has_its_name(tree: Path, subset: str, labels: dict[str, tuple[str, str]]) -> None:
    manifest = rafdb.read(tree, subset=subset)  # type: ignore[arg-type]
    assert truth_of(manifest, ["split", "expression"]) == {
        f"{subset}/Image/aligned/{stem}_aligned.jpg": {"split": stem.partition("_")[0], "expression": name}
        for stem, (_, name) in labels.items()
    }
    assert manifest.root == tree


def test_vocabularies_are_those_of_the_tables(tree: Path) -> None:
    assert rafdb.read(tree).tasks[0].outputs == EXPRESSIONS
    assert set(rafdb.COMPOUND) <= set(compound_expressions().source.outputs)
    assert rafdb.read(tree, subset="compound").tasks[0].outputs == rafdb.COMPOUND


def test_the_folder_of_a_subset_is_a_root_too(tree: Path) -> None:
    manifest = rafdb.read(tree / "basic", images="original")
    assert manifest.frame["path"][0] == "Image/original/train_00001.jpg"
    assert len(manifest) == len(BASIC)


@pytest.mark.parametrize(("folder", "other"), [("basic", "compound"), ("compound", "basic")])
def test_the_folder_of_the_other_subset_is_refused(tree: Path, folder: str, other: Any) -> None:
    """Code 5 is sadness in one and sadly surprised in the other."""
    with pytest.raises(ConfigError, match=f"expected the {other} expressions"):
        rafdb.read(tree / folder, subset=other)


def test_images_that_are_not_there(tmp_path: Path) -> None:
    root = make(tmp_path)
    (root / "basic/Image/aligned/test_0001_aligned.jpg").unlink()
    assert len(rafdb.read(root)) == len(BASIC) - 1
    assert len(rafdb.read(root, missing="keep")) == len(BASIC)
    with pytest.raises(MissingDataError, match="test_0001_aligned"):
        rafdb.read(root, missing="error")


def test_a_wrong_folder_says_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "Image").mkdir()
    with pytest.raises(MissingDataError) as info:
        rafdb.read(tmp_path)
    assert INNER in str(info.value)
    assert "found Image/ in" in str(info.value)
    assert rafdb.HOME in str(info.value)
    with pytest.raises(UnknownNameError, match="did you mean 'compound'"):
        rafdb.read(tmp_path, subset="compund")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("train_00002.jpg 8", "a code of a basic expression"),
        ("train_00002.jpg 05", "a code of a basic expression"),
        ("train_00001.jpg 5", "each image once"),
        ("5 train_00002.jpg", "an image and its code"),
        ("../train_00002.jpg 5", "an image and its code"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, found: str) -> None:
    root = make(tmp_path)
    write(root / "basic" / INNER, ["train_00001.jpg 5", line])
    with pytest.raises(DataFormatError, match=f"line 2: expected {found}"):
        rafdb.read(root)


def test_a_file_cut_in_a_code_of_two_digits(tmp_path: Path) -> None:
    root = make(tmp_path)
    file = root / "compound" / INNER
    file.write_bytes(file.read_bytes()[:-2])  # 11 becomes 1, and the line end is gone
    with pytest.raises(DataFormatError, match="line 6: expected a line end"):
        rafdb.read(root, subset="compound")
    file = root / "basic" / INNER
    file.write_bytes(file.read_bytes()[:-1])
    assert len(rafdb.read(root)) == len(BASIC)


def test_any_number_of_digits(tmp_path: Path) -> None:
    names = {"train_0001": "1", "train_3162": "11", "test_001": "10", "test_792": "2"}  # as released
    write(tmp_path / "compound" / INNER, [f"{stem}.jpg {code}" for stem, code in names.items()])
    touch(tmp_path, [f"compound/Image/aligned/{stem}_aligned.jpg" for stem in names])
    found = truth_of(rafdb.read(tmp_path, subset="compound"), ["split", "expression"])
    assert {
        path.rpartition("/")[2][: -len("_aligned.jpg")]: list(v.values()) for path, v in found.items()
    } == {
        "train_0001": ["train", "happily surprised"],
        "train_3162": ["train", "disgustedly surprised"],
        "test_001": ["test", "angrily disgusted"],
        "test_792": ["test", "happily disgusted"],
    }


def make_copy(root: Path, folder: str = "DATASET") -> Path:
    for split in ("train", "test"):
        stems = {stem: code for stem, (code, _) in BASIC.items() if stem.startswith(split)}
        write(
            root / f"{split}_labels.csv", ["image,label", *(f"{s}_aligned.jpg,{c}" for s, c in stems.items())]
        )
        touch(root, [f"{folder}/{split}/{code}/{stem}_aligned.jpg" for stem, code in stems.items()])
    touch(root, [f"{folder}/train/5/._train_00001_aligned.jpg", f"__MACOSX/{folder}/train/1/x.jpg"])
    return root


COPY = {
    f"DATASET/{stem.partition('_')[0]}/{code}/{stem}_aligned.jpg": {
        "split": stem.partition("_")[0],
        "expression": name,
    }
    for stem, (code, name) in BASIC.items()
}


def test_the_copy_with_tables(tmp_path: Path) -> None:
    with pytest.warns(ConcordWarning, match="layout='copy'"):
        manifest = rafdb.read(make_copy(tmp_path))
    assert truth_of(manifest, ["split", "expression"]) == COPY
    with pytest.raises(ConfigError, match="found subset='compound'"):
        rafdb.read(tmp_path, subset="compound", layout="copy")
    with pytest.raises(MissingDataError, match=INNER):
        rafdb.read(tmp_path, layout="original")


def test_the_table_of_a_copy_counts_not_its_folders(tmp_path: Path) -> None:
    make_copy(tmp_path)
    (tmp_path / "DATASET/train/5/train_00001_aligned.jpg").rename(
        tmp_path / "DATASET/train/1/train_00001_aligned.jpg"
    )
    touch(tmp_path, ["DATASET/test/1/test_0099_aligned.jpg"])
    with pytest.warns(ConcordWarning) as told:
        manifest = rafdb.read(tmp_path)
    assert any("1 of 4 images lie in the folder of another class" in str(w.message) for w in told)
    assert any("1 images have no row in" in str(w.message) for w in told)
    found = truth_of(manifest, ["expression"])
    assert found["DATASET/train/1/train_00001_aligned.jpg"] == {"expression": "sadness"}
    assert len(found) == len(COPY)


@pytest.mark.filterwarnings(
    "ignore:RAF-DB. read as the copy", "ignore:.* have no row in", "ignore:.* lie in the folder"
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_table_of_a_copy(tmp_path: Path, data: st.DataObject) -> None:
    if not (tmp_path / "DATASET").exists():
        make_copy(tmp_path)
    file = tmp_path / "train_labels.csv"
    damage: Damage = data.draw(damages(file.read_bytes(), ","))
    check_damage(lambda: rafdb.read(tmp_path, missing="keep"), file, damage, COPY)


def test_one_folder_too_high_or_too_low(tmp_path: Path) -> None:
    make(tmp_path / "archive" / "RAF")
    with pytest.warns(ConcordWarning, match="one folder below the one named"):
        manifest = data_read("rafdb", tmp_path / "archive")
    assert manifest.root == tmp_path / "archive" / "RAF"
    assert len(manifest) == len(BASIC)
    with pytest.raises(MissingDataError, match=r"it lies in '.*basic': give that folder"):
        data_read("rafdb", tmp_path / "archive" / "RAF" / "basic" / "Image")


def test_a_packed_archive_is_named(tmp_path: Path) -> None:
    touch(tmp_path, ["basic/EmoLabel.zip"])
    with pytest.raises(MissingDataError, match=r"unpack EmoLabel\.zip there first"):
        data_read("rafdb", tmp_path / "basic")
    write(tmp_path / "basic" / INNER, ["train_00001.jpg 5"])
    touch(tmp_path, ["basic/Image/aligned.zip"])
    with pytest.raises(MissingDataError, match=r"unpack aligned\.zip there first"):
        data_read("rafdb", tmp_path)


WHOLE = re.compile(r"(train|test)_\d{4,5}\.jpg \d+")


@pytest.mark.parametrize("subset", ["basic", "compound"])
@given(data=st.data())
def test_damage_is_named_or_harmless(tree: Path, subset: str, data: st.DataObject) -> None:
    def read():
        return rafdb.read(tree, subset=subset, missing="keep")

    file = tree / subset / INNER
    truth = truth_of(read(), ["split", "expression"])
    damage: Damage = data.draw(damages(file.read_bytes(), " "))
    check_damage(read, file, damage, truth, whole=lambda line: bool(WHOLE.fullmatch(line)))
