"""Image folders: a class a folder, with and without splits, or a table beside the images."""

import re
import shutil
from pathlib import Path

import pytest
from _face_mutations import damages, touch, truth_of, write
from hypothesis import assume, given
from hypothesis import strategies as st

from concord.data.readers import imagefolder
from concord.errors import (
    ConcordWarning,
    ConfigError,
    DataFormatError,
    MissingDataError,
    UnknownNameError,
    UnsafePathError,
)

pytestmark = pytest.mark.filterwarnings("ignore:.* annotated images are not in")  # left out on purpose

CLASSES = ["Zebra", "cat", "big dog"]


def rows(manifest, *columns: str) -> dict[str, dict[str, object]]:
    return truth_of(manifest, ["split", *columns])


def test_a_folder_a_class(tmp_path: Path) -> None:
    files = ["cat/2.JPG", "cat/deep/er/1.png", "big dog/x.y.jpeg", "Zebra/a.webp"]
    touch(tmp_path, files)
    touch(tmp_path, ["cat/.DS_Store", "cat/._2.JPG", ".git/3.jpg", "cat/.thumbs/4.jpg"])
    (tmp_path / "empty").mkdir()
    manifest = imagefolder.read(tmp_path, task="animal")
    assert rows(manifest, "animal") == {f: {"split": None, "animal": f.split("/")[0]} for f in sorted(files)}
    assert manifest.tasks[0].outputs == ("Zebra", "big dog", "cat")
    assert [task.name for task in manifest.tasks] == ["animal"]


def test_splits(tmp_path: Path) -> None:
    files = {
        "Train/cat/1.jpg": "train",
        "Train/dog/2.jpg": "train",
        "valid/cat/1.jpg": "val",
        "TEST/emu/5.jpg": "test",
    }
    touch(tmp_path, files)
    manifest = imagefolder.read(tmp_path)
    assert rows(manifest, "class") == {f: {"split": s, "class": f.split("/")[1]} for f, s in files.items()}
    assert manifest.tasks[0].outputs == ("cat", "dog", "emu")  # of all splits together
    as_classes = imagefolder.read(tmp_path, splits=False)
    assert as_classes.tasks[0].outputs == ("TEST", "Train", "valid")
    touch(tmp_path, ["other/cat/1.jpg"])
    assert imagefolder.read(tmp_path).tasks[0].outputs == ("TEST", "Train", "other", "valid")
    with pytest.raises(
        DataFormatError, match="expected folders with names of splits, found TEST, Train, other"
    ):
        imagefolder.read(tmp_path, splits=True)
    with pytest.raises(UnknownNameError, match="did you mean 'auto'"):
        imagefolder.read(tmp_path, splits="aut")  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["stray.jpg", "train/stray.jpg"])
def test_an_image_beside_the_classes(tmp_path: Path, place: str) -> None:
    touch(tmp_path, ["train/cat/1.jpg", "train/dog/1.jpg", place])
    with pytest.raises(DataFormatError) as info:
        imagefolder.read(tmp_path)
    assert str(info.value).startswith(
        f"{tmp_path / place}: expected images in the folders of their classes only"
    )


def test_links_that_leave_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(root, ["cat/1.jpg", "dog/1.jpg"])
    touch(tmp_path, ["out/secret.jpg"])
    (root / "cat/2.jpg").symlink_to(root / "dog/1.jpg")
    assert len(imagefolder.read(root)) == 3
    (root / "cat/inner").symlink_to(tmp_path / "out")
    assert len(imagefolder.read(root)) == 3
    (root / "cat/3.jpg").symlink_to(tmp_path / "out/secret.jpg")
    with pytest.raises(UnsafePathError, match=r"found 'cat/3\.jpg', a link"):
        imagefolder.read(root)
    (root / "cat/3.jpg").unlink()
    (root / "emu").symlink_to(tmp_path / "out")
    with pytest.raises(UnsafePathError, match=r"found 'emu/secret\.jpg', a link"):
        imagefolder.read(root)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"expected one folder a class in .*is empty"):
        imagefolder.read(tmp_path)
    touch(tmp_path, ["cat/1.txt"])
    with pytest.raises(MissingDataError, match="expected images in the folders cat"):
        imagefolder.read(tmp_path)
    with pytest.raises(MissingDataError, match=r"expected the table .*labels\.csv, found cat/"):
        imagefolder.read(tmp_path, table="labels.csv")


@pytest.mark.parametrize(
    "options",
    [{"labels": {"a": "b"}}, {"classes": {"a": None}}, {"split": "s"}, {"group": "g"}, {"path": "p"}],
)
def test_options_of_a_table_without_one(tmp_path: Path, options) -> None:
    touch(tmp_path, ["cat/1.jpg"])
    with pytest.raises(ConfigError, match="give table=FILE"):
        imagefolder.read(tmp_path, **options)


TABLE = [
    "file,animal,fur,stripes,who,part",
    "a/1.jpg,Zebra,1,1,z,training",
    "a/2.jpg,cat,1,0,c,dev",
    "3.png,,0,,d,test",
    "b b/4.jpg,big dog,,0,c,training",
]
FILES = ["a/1.jpg", "a/2.jpg", "3.png", "b b/4.jpg"]
OPTIONS = {
    "table": "labels.csv",
    "path": "file",
    "classes": {"animal": CLASSES},
    "labels": {"looks": ["fur", "stripes"]},
    "split": "part",
    "group": "who",
}
TRUTH = {
    "a/1.jpg": {"split": "train", "group": "z", "animal": "Zebra", "looks.fur": 1, "looks.stripes": 1},
    "a/2.jpg": {"split": "val", "group": "c", "animal": "cat", "looks.fur": 1, "looks.stripes": 0},
    "3.png": {"split": "test", "group": "d", "animal": None, "looks.fur": 0, "looks.stripes": None},
    "b b/4.jpg": {"split": "train", "group": "c", "animal": "big dog", "looks.fur": None, "looks.stripes": 0},
}


def make(root: Path) -> Path:
    touch(root, FILES)
    write(root / "labels.csv", TABLE)
    return root


def test_a_table_beside_the_images(tmp_path: Path) -> None:
    manifest = imagefolder.read(make(tmp_path), **OPTIONS)
    assert truth_of(manifest, TRUTH["3.png"]) == TRUTH
    assert [task.outputs for task in manifest.tasks] == [tuple(CLASSES), ("fur", "stripes")]
    plain = imagefolder.read(tmp_path, table="labels.csv", path="file", task="animal")
    assert plain.tasks[0].outputs == ("Zebra", "big dog", "cat")


def test_rows_without_images(tmp_path: Path) -> None:
    (make(tmp_path) / "3.png").unlink()
    with pytest.raises(MissingDataError, match=r"the first '3\.png'"):
        imagefolder.read(tmp_path, **OPTIONS)
    assert len(imagefolder.read(tmp_path, **OPTIONS, missing="drop")) == 3
    assert len(imagefolder.read(tmp_path, **OPTIONS, missing="keep")) == 4


@pytest.mark.parametrize("path", ["../1.jpg", "/etc/1.jpg", "a/../../1.jpg"])
def test_paths_that_leave_the_root(tmp_path: Path, path: str) -> None:
    write(make(tmp_path) / "labels.csv", [line.replace("a/1.jpg", path) for line in TABLE])
    with pytest.raises(UnsafePathError):
        imagefolder.read(tmp_path, **OPTIONS)
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").symlink_to(tmp_path.parent)
    write(tmp_path / "labels.csv", TABLE)
    with pytest.raises(UnsafePathError, match="a link"):
        imagefolder.read(tmp_path, **OPTIONS, missing="keep")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("imagefolder"))


@given(data=st.data())
def test_damage_of_the_table_is_named_or_harmless(tree: Path, data: st.DataObject) -> None:
    path = tree / "labels.csv"
    original = path.read_bytes()
    damage = data.draw(damages(original, ","))
    # Names and paths are free text: one that a cut or a blank changed is another name.
    assume(damage.kind in ("bom", "crlf", "nul", "dropped field", "extra field", "joined lines"))
    path.write_bytes(damage.data)
    try:
        message = ""
        manifest = imagefolder.read(tree, **OPTIONS)
    except DataFormatError as error:
        message = str(error)
    except UnknownNameError:  # a column is not there
        message = f"{path}, line 1: "
    finally:
        path.write_bytes(original)
    if message:
        place = re.match(rf"{re.escape(str(path))}, line (\d+): ", message)
        assert place, message
        assert abs(int(place[1]) - damage.line) <= 1, message
    else:
        assert truth_of(manifest, TRUTH["3.png"]) == TRUTH


# -- label files of detectors ----------------------------------------------------------------------

BOXES = {
    "train/images/a.jpg": ["1 0.5 0.5 0.2 0.2", "1 0.1 0.1 0.05 0.05"],
    "train/images/b.png": ["0 0.5 0.5 1 1"],
    "valid/images/c.jpg": ["2 0.1 0.1 0.2 0.1 0.2 0.3"],  # a polygon
    "valid/images/d.jpg": [],
    "test/images/e.JPG": None,  # no file at all
}
NAMES = ["bird", "cat", "dog"]
SPLIT = {"train": "train", "valid": "val", "test": "test"}


def make_boxes(root: Path, names: object = NAMES) -> Path:
    root.mkdir(exist_ok=True)
    (root / "data.yaml").write_text(f"nc: 3\nnames: {names}\n")
    for path, lines in BOXES.items():
        touch(root, [path])
        labels = root / path.replace("images", "labels")
        labels.parent.mkdir(parents=True, exist_ok=True)
        if lines is not None:
            write(labels.with_suffix(".txt"), lines)
    (root / "train/labels/._a.txt").write_bytes(b"\0")
    (root / "train/labels.cache").write_bytes(b"\0")
    return root


@pytest.mark.parametrize("names", [NAMES, {0: "bird", 1: "cat", 2: "dog"}])
def test_class_of_an_image_from_its_boxes(tmp_path: Path, names: object) -> None:
    with pytest.warns(ConcordWarning, match="layout='yolo'"):
        manifest = imagefolder.read(make_boxes(tmp_path, names), task="animal")
    assert manifest.tasks[0].outputs == tuple(NAMES)
    assert truth_of(manifest, ["split", "animal"]) == {
        path: {"split": SPLIT[path.split("/")[0]], "animal": NAMES[int(lines[0][0])] if lines else None}
        for path, lines in BOXES.items()
    }


def test_images_of_several_classes(tmp_path: Path) -> None:
    make_boxes(tmp_path)
    write(tmp_path / "train/labels/b.txt", ["0 0.5 0.5 1 1", "2 0.1 0.1 0.1 0.1"])
    with pytest.raises(DataFormatError, match=r"b\.txt, line 2: expected boxes of one class .*found 'dog'"):
        imagefolder.read(tmp_path, layout="yolo")
    opened = imagefolder.read(tmp_path, layout="yolo", several="gap")
    assert truth_of(opened, ["class"])["train/images/b.png"] == {"class": None}
    labels = imagefolder.read(tmp_path, layout="yolo", several="labels", task="animals")
    assert labels.frame.select("path", *(f"animals.{name}" for name in NAMES)).rows() == [
        ("test/images/e.JPG", None, None, None),
        ("train/images/a.jpg", 0, 1, 0),
        ("train/images/b.png", 1, 0, 1),
        ("valid/images/c.jpg", 0, 0, 1),
        ("valid/images/d.jpg", 0, 0, 0),
    ]


def test_splits_below_images_and_labels(tmp_path: Path) -> None:
    make_boxes(tmp_path / "lies")
    for kind in ("images", "labels"):
        for part in ("train", "valid"):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / "lies" / part / kind).rename(tmp_path / kind / part)
    (tmp_path / "lies/data.yaml").rename(tmp_path / "data.yaml")
    shutil.rmtree(tmp_path / "lies")
    assert truth_of(imagefolder.read(tmp_path, layout="yolo"), ["split", "class"]) == {
        f"images/{part}/{name}": {
            "split": SPLIT[part],
            "class": NAMES[int(BOXES[f"{part}/images/{name}"][0][0])] if name != "d.jpg" else None,
        }
        for part, name in (("train", "a.jpg"), ("train", "b.png"), ("valid", "c.jpg"), ("valid", "d.jpg"))
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 0.5 0.5 1 1", "a class number, a whole number in 0 .. 2"),
        ("cat 0.5", "a class number and a box"),
        ("-1 0 0 1 1", "a class"),
    ],
)
def test_wrong_label_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    make_boxes(tmp_path)
    file = write(tmp_path / "train/labels/a.txt", ["1 0.5 0.5 0.2 0.2", line])
    with pytest.raises(DataFormatError) as info:
        imagefolder.read(tmp_path, layout="yolo")
    assert str(info.value).startswith(f"{file}, line 2: expected {message}")


def test_names_of_label_files(tmp_path: Path) -> None:
    make_boxes(tmp_path, names="[a, a, b]")
    with pytest.raises(DataFormatError, match=r"data\.yaml: expected distinct texts"):
        imagefolder.read(tmp_path, layout="yolo")
    (tmp_path / "data.yaml").write_text("nc: 3")
    with pytest.raises(DataFormatError, match=r"data\.yaml: expected 'names'"):
        imagefolder.read(tmp_path, layout="yolo")
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(MissingDataError, match=r"class names in data\.yaml"):
        imagefolder.read(tmp_path, layout="yolo")
    with pytest.raises(ConfigError, match="give table=FILE"):
        imagefolder.read(tmp_path, layout="table")
    with pytest.raises(ConfigError, match="layout='table'"):
        imagefolder.read(tmp_path, layout="yolo", table="x.csv")


def test_files_that_are_no_images_are_told_with_the_classes_that_are_lost_by_it(tmp_path: Path) -> None:
    touch(
        tmp_path,
        [
            "cat/1.JPG",
            "cat/2.jfif",
            "dog/2.png",
            "dog/notes.txt",
            "emu/3.heic",
            "fox/den/4.avif",
            "fox/5",
            ".git/x",
        ],
    )
    said = (
        r"other endings than an image's: 1 \.avif, 1 \.heic, 1 \.txt, 1 without an ending; "
        "without any image, so no class: emu, fox"
    )
    with pytest.warns(ConcordWarning, match=said) as told:
        found = imagefolder.read(tmp_path)
    assert len(told) == 1
    assert found.tasks[0].outputs == ("cat", "dog")
    assert found.frame["path"].to_list() == ["cat/1.JPG", "cat/2.jfif", "dog/2.png"]


def test_a_picture_of_an_unread_kind_beside_others_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, ["cat/1.jpg", "cat/2.jp2", "cat/3", "dog/1.jpg"])
    with pytest.warns(ConcordWarning, match=r"left out are .*: 1 \.jp2, 1 without an ending$"):
        imagefolder.read(tmp_path)
    (tmp_path / "cat/1.jpg").unlink()
    (tmp_path / "dog/1.jpg").unlink()
    with pytest.raises(MissingDataError, match=r"\.ppm, but 1 \.jp2, 1 without an ending"):
        imagefolder.read(tmp_path)


def test_label_files_of_detectors_in_folders_of_folders(tmp_path: Path) -> None:
    for name in ("a", "sub/b", "sub/deep/c.d"):
        touch(tmp_path, [f"images/train/{name}.jpg"])
        write(tmp_path / f"labels/train/{name}.txt", ["1 .5 .5 1 1"])
    write(tmp_path / "data.yaml", ["names: [cat, dog]"])
    found = imagefolder.read(tmp_path, layout="yolo")
    assert found.frame["path"].to_list() == [
        f"images/train/{name}.jpg" for name in ("a", "sub/b", "sub/deep/c.d")
    ]
    assert set(found.frame["class"]) == {"dog"}
