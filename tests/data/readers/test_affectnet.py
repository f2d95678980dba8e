"""AffectNet: the lists of 2017, and the tiny files of 2021 with their index."""

import os
from pathlib import Path

import numpy as np
import pytest
from _face_mutations import check_damage, damages, permuted, touch, truth_of, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from concord.data.readers import _affectnet_index, affectnet
from concord.errors import ConcordWarning, ConfigError, DataFormatError, MissingDataError, UnknownNameError

NAMES = [
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
    None,
    None,
    None,
]
HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)
POINTS = ";".join(f"{k}.5" for k in range(136))
LISTS = "Manually_Annotated_file_lists"


# -- 2017 ------------------------------------------------------------------------------------------


def line(split: str, code: int) -> str:
    affect = "-2,-2" if code > 7 else f"{code / 10:.1f},-{code / 10:.1f}"
    return f"{split}{code}/aa{code}ff.jpg,{code},2,30,40,{POINTS},{code},{affect}"


def make(root: Path, header: bool = False) -> Path:
    for name, codes, has_header in (("training", range(11), True), ("validation", range(8), header)):
        lines = [HEADER] * has_header + [line(name[0], code) for code in codes]
        write(root / LISTS / f"{name}.csv", lines)
        touch(root, [f"Manually_Annotated_Images/{name[0]}{c}/aa{c}ff.jpg" for c in codes])
    return root


TRUTH = {
    f"Manually_Annotated_Images/{name[0]}{code}/aa{code}ff.jpg": {
        "split": {"training": "train", "validation": "val"}[name],
        "expression": NAMES[code],
        "box_x": code,
        "box_width": 30,
    }
    for name, codes in (("training", range(11)), ("validation", range(8)))
    for code in codes
}


@pytest.mark.parametrize("header", [True, False])
def test_lists_with_and_without_a_header(tmp_path: Path, header: bool) -> None:
    manifest = affectnet.read(make(tmp_path, header), gaps="keep")
    assert truth_of(manifest, next(iter(TRUTH.values()))) == TRUTH
    assert len(affectnet.read(tmp_path)) == 16
    affect = truth_of(manifest, ["valence", "arousal"])["Manually_Annotated_Images/t4/aa4ff.jpg"]
    assert affect == {"valence": pytest.approx(0.4), "arousal": pytest.approx(-0.4)}
    assert manifest.frame.filter(manifest.frame["expression"].is_null())["valence"].null_count() == 3


def test_seven_classes(tmp_path: Path) -> None:
    manifest = affectnet.read(make(tmp_path), contempt=False)
    assert len(manifest) == 14
    assert "contempt" not in manifest.tasks[0].outputs
    assert affectnet.read(tmp_path).tasks[0].outputs[-1] == "contempt"


def test_landmarks_and_boxes_that_are_missing(tmp_path: Path) -> None:
    make(tmp_path)
    bare = "t0/aa0ff.jpg,NULL,NULL,NULL,NULL,NULL,0,0,0"
    write(tmp_path / LISTS / "training.csv", [HEADER, bare, line("t", 1)])
    frame = affectnet.read(tmp_path, landmarks=True).frame
    assert frame["landmarks"].to_list()[:2] == [None, [k + 0.5 for k in range(136)]]
    assert frame["box_x"].to_list()[:2] == [None, 1]


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (line("t", 1).replace(";7.5;", ";"), "136 numbers"),
        (line("t", 1).replace(";7.5;", ";x;"), "136 numbers"),
        (line("t", 1).replace(",1,0.1", ",11,0.1"), "an expression code"),
        (line("t", 1).replace(",1,0.1", ",1,-1.5"), "valence"),
        (line("t", 1).replace("t1/", "../"), "an image as"),
        (line("t", 1).replace(",30,", ",3x,"), "face_width"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, bad: str, found: str) -> None:
    make(tmp_path)
    file = write(tmp_path / LISTS / "training.csv", [HEADER, line("t", 0), bad])
    with pytest.raises(DataFormatError) as info:
        affectnet.read(tmp_path, landmarks=True)
    assert str(info.value).startswith(f"{file}, line 3: expected {found}")


def test_a_wrong_header_and_an_empty_list(tmp_path: Path) -> None:
    file = make(tmp_path) / LISTS / "training.csv"
    write(file, [HEADER.replace("valence", "pleasure"), line("t", 0)])
    with pytest.raises(DataFormatError, match="line 1: expected the columns subDirectory_filePath"):
        affectnet.read(tmp_path)
    write(file, [])
    with pytest.raises(DataFormatError, match="line 1: expected a header or an image, found an empty file"):
        affectnet.read(tmp_path)
    write(file, [HEADER])
    with pytest.raises(DataFormatError, match="line 2: expected an image, found the header alone"):
        affectnet.read(tmp_path)


def test_an_image_in_both_lists_is_told(tmp_path: Path) -> None:
    folder = make(tmp_path) / LISTS
    lists = {name: (folder / f"{name}.csv").read_text().splitlines() for name in ("training", "validation")}
    write(folder / "validation.csv", [*lists["validation"], lists["training"][1]])
    with pytest.warns(ConcordWarning, match="AffectNet: images annotated more than once: 1, the first"):
        affectnet.read(tmp_path)


def test_places_of_images(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "Manually_Annotated").mkdir()
    (tmp_path / "Manually_Annotated_Images").rename(tmp_path / "Manually_Annotated/Manually_Annotated_Images")
    assert (
        affectnet.read(tmp_path).frame["path"][0].startswith("Manually_Annotated/Manually_Annotated_Images/")
    )
    assert affectnet.read(tmp_path, images="x", missing="keep").frame["path"][0].startswith("x/t0/")


@pytest.mark.parametrize(
    "inner",
    [
        "Manually_Annotated_compressed/Manually_Annotated_Images",
        "Manually_Annotated_compressed",
        "Manually_Annotated_Images/Manually_Annotated_Images",
    ],
)
def test_compressed_and_nested_folders(tmp_path: Path, inner: str) -> None:
    make(tmp_path / "lies")
    (tmp_path / inner).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "lies/Manually_Annotated_Images").rename(tmp_path / inner)
    (tmp_path / "lies" / LISTS).rename(tmp_path / LISTS)
    found = truth_of(affectnet.read(tmp_path, gaps="keep"), next(iter(TRUTH.values())))
    assert found == {path.replace("Manually_Annotated_Images", inner): row for path, row in TRUTH.items()}


def test_images_elsewhere_are_named_with_the_option(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "Manually_Annotated_Images").rename(tmp_path / "faces")
    with pytest.raises(MissingDataError, match=r"one of this name is 'faces/t0/aa0ff\.jpg': .* images="):
        affectnet.read(tmp_path)
    assert len(affectnet.read(tmp_path, images="faces")) == 16


# -- copies ----------------------------------------------------------------------------------------

WORDS = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"]
ROWS = [
    (f"{WORDS[k]}/image{k:07d}.jpg", WORDS[(k + (k == 3)) % 8]) for k in range(8)
]  # one in another folder


def make_table(root: Path) -> Path:
    lines = [f"{k},{path},{word},0.{k}5" for k, (path, word) in enumerate(ROWS)]
    write(root / "labels.csv", [",pth,label,relFCs", *lines])
    touch(root, [path for path, _ in ROWS])
    return root


TABLE = {path: {"expression": NAMES[WORDS.index(word)], "split": None} for path, word in ROWS}


def test_the_table_of_a_copy_counts_not_its_folders(tmp_path: Path) -> None:
    with pytest.warns(ConcordWarning) as told:
        manifest = affectnet.read(make_table(tmp_path))
    assert truth_of(manifest, ["expression", "split"]) == TABLE
    assert manifest.frame["relFCs"].to_list() == [float(f"0.{k}5") for k in range(8)]
    said = [str(warning.message) for warning in told]
    assert any("layout='table'" in text for text in said)
    assert any("1 of 8 images lie in the folder of another class" in text for text in said)
    with pytest.warns(ConcordWarning, match="the table counts"):
        assert len(affectnet.read(tmp_path, layout="table", contempt=False)) == 7
    with pytest.raises(ConfigError, match="no landmarks"):
        affectnet.read(tmp_path, layout="table", landmarks=True)


@pytest.mark.filterwarnings("ignore:AffectNet. ")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_table_of_a_copy(tmp_path: Path, data: st.DataObject) -> None:
    if not (tmp_path / "labels.csv").exists():
        make_table(tmp_path)
    file = tmp_path / "labels.csv"
    damage = data.draw(damages(file.read_bytes(), ","))
    check_damage(lambda: affectnet.read(tmp_path, missing="keep", gaps="keep"), file, damage, TABLE)


def test_a_copy_for_detectors(tmp_path: Path) -> None:
    names = ["Anger", "Contempt", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"]
    (tmp_path / "data.yaml").write_text(f"train: ../train/images\nnc: 8\nnames: {names}\n")
    truth = {}
    for part, split in (("train", "train"), ("valid", "val"), ("test", "test")):
        for number, name in enumerate(names):
            write(tmp_path / part / "labels" / f"ffhq_{number}.txt", [f"{number} 0.5 0.5 0.99 1"])
            touch(tmp_path, [f"{part}/images/ffhq_{number}.png"])
            expression = NAMES[WORDS.index(name.lower())]
            truth[f"{part}/images/ffhq_{number}.png"] = {"split": split, "expression": expression}
    with pytest.warns(ConcordWarning, match="layout='yolo'"):
        manifest = affectnet.read(tmp_path)
    assert truth_of(manifest, ["split", "expression"]) == truth


# -- what is missing -------------------------------------------------------------------------------


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        MissingDataError, match=r"expected 'Manually_Annotated_file_lists' \(2017\) or 'train_set'"
    ):
        affectnet.read(tmp_path)
    with pytest.raises(MissingDataError, match="layout 2021: expected the folder 'train_set/annotations'"):
        affectnet.read(make(tmp_path), layout="2021")
    (tmp_path / LISTS / "validation.csv").unlink()
    with pytest.raises(MissingDataError, match=r"layout 2017: expected the file .*found training\.csv in"):
        affectnet.read(tmp_path)
    with pytest.raises(UnknownNameError, match="unknown layout"):
        affectnet.read(tmp_path, layout="2018")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("affectnet"))


@settings(max_examples=12, deadline=None)
@given(order=st.permutations(range(9)))
def test_columns_go_by_their_names(lists: Path, order: list[int]) -> None:
    file = lists / LISTS / "training.csv"
    original = file.read_bytes()
    try:
        file.write_bytes(permuted(original, order))
        assert truth_of(affectnet.read(lists, gaps="keep"), next(iter(TRUTH.values()))) == TRUTH
    finally:
        file.write_bytes(original)


@pytest.mark.parametrize("name", ["training", "validation"])
@given(data=st.data())
def test_damage_is_named_or_harmless(lists: Path, name: str, data: st.DataObject) -> None:
    file = lists / LISTS / f"{name}.csv"
    check_damage(
        lambda: affectnet.read(lists, missing="keep", gaps="keep", landmarks=True),
        file,
        data.draw(damages(file.read_bytes(), ",")),
        TRUTH,
    )


# -- 2021 ------------------------------------------------------------------------------------------


def save(root: Path, name: str, exp: object, val: object, aro: object) -> None:
    folder = root / "annotations"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}_exp.npy", exp)
    np.save(folder / f"{name}_val.npy", val)
    np.save(folder / f"{name}_aro.npy", aro)
    np.save(folder / f"{name}_lnd.npy", np.arange(136.0) + 0.5)
    touch(root, [f"images/{name}.jpg"])


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "affectnet"
    for code in range(8):
        save(root / "train_set", str(code), np.array(str(code)), np.array("0.5"), np.array("-0.5"))
    save(root / "train_set", "10", np.int64(8), np.float64(-2), np.float64(-2))
    save(root / "train_set", "9", np.array([3]), np.float32(-1), np.array([1.0]))
    save(root / "val_set", "0", np.array(b"6"), np.float64(0.25), np.array("-2"))
    return root


def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read from now on."""
    seen: list[Path] = []
    array = _affectnet_index._array
    monkeypatch.setattr(_affectnet_index, "_array", lambda path: seen.append(path) or array(path))
    return seen


def test_tiny_files(tiny: Path) -> None:
    manifest = affectnet.read(tiny, gaps="keep")
    rows = truth_of(manifest, ["split", "expression", "valence", "arousal"])
    assert list(rows) == [f"train_set/images/{k}.jpg" for k in range(11) if k != 8] + ["val_set/images/0.jpg"]
    assert [row["expression"] for row in rows.values()] == [*NAMES[:8], "surprise", None, "anger"]
    assert rows["train_set/images/3.jpg"] == {
        "split": "train",
        "expression": "surprise",
        "valence": 0.5,
        "arousal": -0.5,
    }
    assert rows["val_set/images/0.jpg"] == {
        "split": "val",
        "expression": "anger",
        "valence": 0.25,
        "arousal": None,
    }
    assert len(affectnet.read(tiny)) == 10
    assert len(affectnet.read(tiny, contempt=False)) == 9


def test_the_index_is_read_instead_of_the_files(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = affectnet.read(tiny)
    seen = reads(monkeypatch)
    assert affectnet.read(tiny).frame.equals(first.frame)
    assert not seen
    assert affectnet.read(tiny, landmarks=True).frame["landmarks"][0].to_list() == [
        k + 0.5 for k in range(136)
    ]
    assert len(seen) == 44
    seen.clear()
    affectnet.read(tiny, landmarks=True)
    assert not seen
    affectnet.read(tiny, refresh=True)
    assert len(seen) == 33


@pytest.mark.parametrize("change", ["added", "gone", "image gone", "index damaged"])
def test_the_index_is_made_again_when_it_is_old(tiny: Path, tmp_path: Path, change: str) -> None:
    cache = tmp_path / "index.parquet"
    before = affectnet.read(tiny, cache=cache)
    annotations = tiny / "train_set/annotations"
    if change == "added":
        save(tiny / "train_set", "77", np.array("1"), np.array("0"), np.array("0"))
    elif change == "gone":
        for kind in ("exp", "val", "aro"):
            (annotations / f"3_{kind}.npy").unlink()
    elif change == "image gone":
        (tiny / "train_set/images/3.jpg").unlink()
    else:
        cache.write_bytes(cache.read_bytes()[:100])
    for folder in (annotations, tiny / "train_set/images"):
        os.utime(folder, ns=(1, folder.stat().st_mtime_ns + 1))  # clocks of some file systems are coarse
    after = affectnet.read(tiny, cache=cache)
    assert len(after) == len(before) + {"added": 1, "gone": -1, "image gone": -1, "index damaged": 0}[change]


def test_an_index_of_another_data_set_is_not_taken(tiny: Path, tmp_path: Path) -> None:
    cache = tmp_path / "index.parquet"
    affectnet.read(tiny, cache=cache)
    other = tmp_path / "other"
    for name in ("train_set", "val_set"):
        save(other / name, "0", np.array("7"), np.array("0"), np.array("0"))
    assert affectnet.read(other, cache=cache).frame["expression"].to_list() == ["contempt", "contempt"]


def test_an_index_that_cannot_be_kept_is_a_warning(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(ConcordWarning, match="the index is not kept"):
        assert len(affectnet.read(tiny, cache=tmp_path / "file/index.parquet")) == 10


def test_images_and_annotations_that_are_missing(tiny: Path) -> None:
    (tiny / "train_set/images/3.jpg").unlink()
    assert len(affectnet.read(tiny)) == 9
    assert len(affectnet.read(tiny, missing="keep")) == 10
    with pytest.raises(MissingDataError, match=r"the first 'train_set/images/3\.jpg'"):
        affectnet.read(tiny, missing="error")
    touch(tiny, ["train_set/images/500.jpg"])
    assert len(affectnet.read(tiny)) == 9
    bare = affectnet.read(tiny, gaps="keep").frame
    assert bare.filter(bare["path"] == "train_set/images/500.jpg")["expression"].to_list() == [None]
    (tiny / "train_set/annotations/5_val.npy").unlink()
    with pytest.raises(MissingDataError, match=r"found 1 without _val\.npy, the first '5'"):
        affectnet.read(tiny)
    (tiny / "val_set/annotations").rename(tiny / "val_set/labels")
    with pytest.raises(MissingDataError, match="expected the folder 'val_set/annotations'"):
        affectnet.read(tiny)


def test_no_images_at_all(tiny: Path) -> None:
    for name in ("train_set", "val_set"):
        (tiny / name / "images").rename(tiny / name / "pictures")
    with pytest.raises(MissingDataError, match="found none of 10"):
        affectnet.read(tiny)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("exp", np.array("11")),
        ("exp", np.array("07")),
        ("exp", np.array(1.5)),
        ("exp", np.array([1, 2])),
        ("exp", np.array([{"a": 1}], dtype=object)),
        ("exp", np.array("")),
        ("val", np.array("1.5")),
        ("val", np.array("nan")),
        ("aro", np.array("x")),
        ("lnd", np.zeros(135)),
        ("lnd", np.full(136, np.inf)),
    ],
)
def test_wrong_values_are_named_with_their_file(tiny: Path, kind: str, value: np.ndarray) -> None:
    file = tiny / f"train_set/annotations/4_{kind}.npy"
    np.save(file, value, allow_pickle=True)
    with pytest.raises(DataFormatError) as info:
        affectnet.read(tiny, landmarks=True)
    assert str(info.value).startswith(f"{file}: expected ")


@given(cut=st.integers(0, 200), junk=st.binary(max_size=3), at=st.integers(0, 127), byte=st.integers(0, 255))
def test_damaged_arrays_are_named_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes, at: int, byte: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "4_exp.npy"
    np.save(file, np.array("4"))
    data = bytearray(file.read_bytes())
    assert len(data) == 132
    data[at] = byte
    file.write_bytes(bytes(data)[:cut] + junk)
    outcome: object
    try:
        outcome = _affectnet_index._expression(file)
    except DataFormatError as error:
        outcome = str(error)
    assert outcome == 4 or str(outcome).startswith(f"{file}: expected ")


def test_bytes_that_are_no_character(tmp_path: Path) -> None:
    file = tmp_path / "a_exp.npy"
    np.save(file, np.array("4"))
    file.write_bytes(file.read_bytes()[:-4] + b"\xff\xff\xff\xff")
    with pytest.raises(DataFormatError, match=r"a_exp\.npy: expected an expression code"):
        _affectnet_index._expression(file)


def test_arrays_in_the_second_version_of_the_format(tmp_path: Path) -> None:
    file = tmp_path / "a_exp.npy"
    with file.open("wb") as stream:
        np.lib.format.write_array(stream, np.array("4"), version=(2, 0))
    assert _affectnet_index._expression(file) == 4
    np.save(file, np.array("4", dtype=">U2"))
    assert _affectnet_index._expression(file) == 4
    with pytest.raises(MissingDataError, match="found no file"):
        _affectnet_index._expression(tmp_path / "b_exp.npy")
