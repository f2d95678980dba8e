"""Aff-Wild2: the releases by folder names, and the multi-task lists."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from _face_mutations import Damage, check_damage, damages, touch, truth_of, write
from hypothesis import given
from hypothesis import strategies as st

from concord.data.readers import affwild2
from concord.errors import (
    ConcordWarning,
    ConfigError,
    DataFormatError,
    EmptyDataError,
    MissingDataError,
    UnknownNameError,
)

pytestmark = pytest.mark.filterwarnings("ignore:.* annotated images are not in")  # left out on purpose

UNITS_2020 = (1, 2, 4, 6, 12, 15, 20, 25)
UNITS = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)
HEADER_7 = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise"
HEADERS = {"2020": HEADER_7, "2021": HEADER_7, "2022": f"{HEADER_7},Other"}
FOLDERS = {
    "2020": ("EXPR_Set", "AU_Set", "Training_Set"),
    "2021": ("EXPR_Set", "AU_Set", "Train_Set"),
    "2022": ("EXPR_Classification_Challenge", "AU_Detection_Challenge", "Train_Set"),
}
NAMES = ["neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise"]
VIDEO, TWO = "10-60-1280x720", "5-60-1920x1080-2"

# Expression codes by split and video; the last lines have no crop.
EXPRESSIONS = {
    ("train", VIDEO): [0, 1, 2, -1, 3, 4, 5, 6, 0],
    ("train", f"{TWO}_left"): [4, 4, -1],
    ("val", "video7_right"): [6, 2],
}
CROPS = {VIDEO: range(1, 9), f"{TWO}_left": [1, 2, 3], "video7_right": [1, 2]}


def unit_rows(count: int, width: int) -> list[list[int]]:
    """Units of `count` frames: all patterns differ, some are partly or wholly missing."""
    rows = [[(frame >> bit) & 1 for bit in range(width)] for frame in range(1, count + 1)]
    rows[1][0] = -1
    rows[2 % count] = [-1] * width
    return rows


def units_of(release: str) -> tuple[int, ...]:
    return UNITS_2020 if release == "2020" else UNITS


def make(root: Path, release: str, expr: str | None = None, crops: bool = True) -> Path:
    expr_set, au_set, train = FOLDERS[release]
    splits = {"train": train, "val": "Validation_Set"}
    units = units_of(release)
    for (split, video), codes in EXPRESSIONS.items():
        other = [7] if release == "2022" and video == "video7_right" else []
        base = root / "annotations" / (expr or expr_set) / splits[split]
        write(base / f"{video}.txt", [HEADERS[release], *map(str, codes + other)])
        rows = unit_rows(len(codes) + 1, len(units))
        header = ",".join(f"AU{unit}" for unit in units)
        base = root / "annotations" / au_set / splits[split]
        write(base / f"{video}.txt", [header, *(",".join(map(str, row)) for row in rows)])
        (base / f"._{video}.txt").write_bytes(b"\0\0")  # left by another system
        (base / ".DS_Store").touch()
    if crops:
        touch(root, [f"cropped_aligned/{v}/{k:05d}.jpg" for v, ks in CROPS.items() for k in ks])
    return root


def expected(release: str) -> dict[str, dict[str, object]]:
    """What each crop's row holds, without rows that nothing annotates."""
    units = units_of(release)
    rows: dict[str, dict[str, object]] = {}
    for (split, video), codes in EXPRESSIONS.items():
        unit_codes = unit_rows(len(codes) + 1, len(units))
        for k in CROPS[video]:
            names = [None if c < 0 else NAMES[c] for c in codes]
            row: dict[str, object] = {
                "split": split,
                "group": video.removesuffix("_left").removesuffix("_right"),
                "expression": names[k - 1],
            }
            for unit, code in zip(units, unit_codes[k - 1], strict=True):
                row[f"action_units.AU{unit}"] = None if code < 0 else code
            if any(value is not None for value in list(row.values())[2:]):
                rows[f"cropped_aligned/{video}/{k:05d}.jpg"] = row
    return rows


@pytest.mark.parametrize("release", ["2020", "2021", "2022"])
def test_lines_belong_to_crops_counted_from_one(tmp_path: Path, release: str) -> None:
    manifest = affwild2.read(make(tmp_path, release), release=release)
    truth = expected(release)
    assert truth_of(manifest, next(iter(truth.values()))) == truth
    assert manifest.frame.select("video", "frame").row(0) == (VIDEO, 1)
    expression, units = manifest.tasks
    assert expression.outputs[:7] == (
        "neutral",
        "happiness",
        "sadness",
        "surprise",
        "fear",
        "disgust",
        "anger",
    )
    assert expression.outputs[7:] == (("other",) if release == "2022" else ())
    assert units.outputs == tuple(f"AU{unit}" for unit in units_of(release))


def test_other_is_a_class_or_a_gap(tmp_path: Path) -> None:
    make(tmp_path, "2022")
    touch(tmp_path, ["cropped_aligned/video7_right/00003.jpg"])
    with_other = affwild2.read(tmp_path, tasks="expression")
    assert with_other.frame["expression"].to_list()[-1] == "other"
    without = affwild2.read(tmp_path, drop_other=True, tasks="expression")
    assert len(without) == len(with_other) - 1
    assert "other" not in without.tasks[0].outputs


def test_both_names_of_the_expression_challenge(tmp_path: Path) -> None:
    make(tmp_path, "2022", expr="EXPR_Recognition_Challenge")
    assert len(affwild2.read(tmp_path)) == len(expected("2022"))
    assert (
        len(affwild2.read(tmp_path / "annotations", missing="keep")) == 16
    )  # found without the folder above


@pytest.mark.parametrize("release", ["2020", "2021", "2022"])
@pytest.mark.parametrize(
    "folder", ["annotations", "6th ABAW Annotations", "annotations/Third ABAW Annotations", ""]
)
def test_folders_of_all_years_are_known_by_what_they_hold(tmp_path: Path, release: str, folder: str) -> None:
    lies = tmp_path / "lies"
    make(lies, release, crops=False)
    place = tmp_path / "root" / folder
    place.parent.mkdir(parents=True, exist_ok=True)
    (lies / "annotations").rename(place) if folder != "." else (lies / "annotations").rename(
        tmp_path / "root"
    )
    touch(tmp_path / "root", [f"cropped_aligned/{v}/{k:05d}.jpg" for v, ks in CROPS.items() for k in ks])
    truth = expected(release)
    assert truth_of(affwild2.read(tmp_path / "root"), next(iter(truth.values()))) == truth


def test_crops_in_batches(tmp_path: Path) -> None:
    make(tmp_path, "2022", crops=False)
    places = {
        VIDEO: "batch1/cropped_aligned",
        f"{TWO}_left": "batch2",
        "video7_right": "cropped_aligned_new_50_vids",
    }
    touch(tmp_path, [f"{places[v]}/{v}/{k:05d}.jpg" for v, ks in CROPS.items() for k in ks])
    touch(tmp_path, [f"batch1/cropped_aligned/._{VIDEO}", f"__MACOSX/batch1/{VIDEO}/00001.jpg"])
    moved = {}
    for path, row in expected("2022").items():
        _, video, name = path.split("/")
        moved[f"{places[video]}/{video}/{name}"] = row
    assert truth_of(affwild2.read(tmp_path), next(iter(moved.values()))) == moved
    only = affwild2.read(tmp_path, images="batch2")
    assert set(only.frame["video"]) == {f"{TWO}_left"}


def test_one_task_alone(tmp_path: Path) -> None:
    make(tmp_path, "2022")
    manifest = affwild2.read(tmp_path, tasks=["action_units"])
    assert [task.name for task in manifest.tasks] == ["action_units"]
    assert "expression" not in manifest.frame.columns
    with pytest.raises(UnknownNameError, match="did you mean 'action_units'"):
        affwild2.read(tmp_path, tasks=["action_unit"])


def test_a_partly_missing_vector_is_masked_on_request(tmp_path: Path) -> None:
    make(tmp_path, "2022")
    second = f"cropped_aligned/{VIDEO}/00002.jpg"
    columns = [f"action_units.AU{unit}" for unit in UNITS]
    partial = truth_of(affwild2.read(tmp_path), columns)[second]
    assert [partial[c] for c in columns[:3]] == [None, 1, 0]
    assert set(truth_of(affwild2.read(tmp_path, whole_units=True), columns)[second].values()) == {None}


def test_frames_without_annotation_and_without_crop(tmp_path: Path) -> None:
    make(tmp_path, "2022")
    assert len(affwild2.read(tmp_path, gaps="keep")) == 13  # all crops
    assert len(affwild2.read(tmp_path, gaps="keep", missing="keep")) == 17  # all lines
    with pytest.raises(MissingDataError, match="expected an image for each annotation"):
        affwild2.read(tmp_path, missing="error")
    with pytest.raises(MissingDataError, match="missing='keep'"):
        affwild2.read(tmp_path, images="crops")


@pytest.mark.parametrize(
    ("lies", "asked"), [("2020", "2021"), ("2021", "2020"), ("2020", "2022"), ("2022", "2021")]
)
def test_a_wrong_release_is_recognised(tmp_path: Path, lies: str, asked: str) -> None:
    make(tmp_path, lies)
    with pytest.raises(MissingDataError) as info:
        affwild2.read(tmp_path, release=asked)
    message = str(info.value)
    assert f"release {asked}: expected the folder" in message
    assert f"this looks like release='{lies}'" in message
    assert FOLDERS[lies][0 if {lies, asked} != {"2020", "2021"} else 2] in message
    assert affwild2.HOME in message


def test_no_release_at_all(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    with pytest.raises(MissingDataError, match="found videos/ in"):
        affwild2.read(tmp_path)
    with pytest.raises(UnknownNameError, match="unknown release"):
        affwild2.read(tmp_path, release="2019")
    with pytest.raises(MissingDataError, match=r"training_set_annotations\.txt"):
        affwild2.read(tmp_path, release="multi-task")
    make(tmp_path, "2022")
    for file in (tmp_path / "annotations/AU_Detection_Challenge/Train_Set").iterdir():
        file.unlink()
    with pytest.raises(MissingDataError, match=r"expected one \.txt file a video"):
        affwild2.read(tmp_path)


def test_a_task_that_is_not_there(tmp_path: Path) -> None:
    make(tmp_path, "2021")
    (tmp_path / "annotations/AU_Set").rename(tmp_path / "annotations/VA_Set")
    assert [task.name for task in affwild2.read(tmp_path, release="2021").tasks] == ["expression"]
    with pytest.raises(MissingDataError, match="expected the folder 'AU_Set'"):
        affwild2.read(tmp_path, release="2021", tasks=["expression", "action_units"])


def test_a_video_in_two_splits(tmp_path: Path) -> None:
    make(tmp_path, "2022")
    folder = tmp_path / "annotations/AU_Detection_Challenge"
    (folder / f"Train_Set/{VIDEO}.txt").rename(folder / f"Validation_Set/{VIDEO}.txt")
    with pytest.raises(ConfigError, match=f"found 1 in two, the first '{VIDEO}'"):
        affwild2.read(tmp_path)
    moved = affwild2.read(tmp_path, conflicts="val")
    assert set(moved.frame.filter(moved.frame["video"] == VIDEO)["split"]) == {"val"}
    assert len(moved) == len(expected("2022"))
    # The other crop of the same video is of the same scene, and mostly of the same people.
    (folder / f"Validation_Set/{VIDEO}.txt").rename(folder / f"Validation_Set/{VIDEO}_left.txt")
    with pytest.raises(ConfigError, match=f"found 1 in two, the first '{VIDEO}'"):
        affwild2.read(tmp_path, missing="keep")
    crops = affwild2.read(tmp_path, missing="keep", conflicts="val").frame
    assert set(crops.filter(crops["group"] == VIDEO)["split"]) == {"val"}
    (folder / f"Validation_Set/{VIDEO}_left.txt").rename(folder / f"Validation_Set/{VIDEO}.txt")
    with pytest.warns(ConcordWarning, match="Aff-Wild2: images annotated more than once: 7, the first"):
        kept = affwild2.read(tmp_path, conflicts="keep")
    rows = kept.frame.filter(kept.frame["video"] == VIDEO)
    assert rows.filter(rows["split"] == "train")["action_units.AU4"].null_count() == 7
    assert rows.filter(rows["split"] == "val")["expression"].null_count() == len(
        rows.filter(rows["split"] == "val")
    )


@pytest.mark.parametrize(
    ("lines", "place", "found"),
    [
        ([HEADERS["2022"], "0", "", "1"], 3, "an annotation"),
        ([HEADERS["2022"], "0", "8"], 3, "an expression code"),
        ([HEADERS["2022"], "0", "05"], 3, "an expression code"),
        ([HEADERS["2022"], "0", "1.0"], 3, "an expression code"),
        (["0", "1", "2"], 1, "the header"),
        ([HEADER_7, "0"], 1, "the header"),
        ([HEADERS["2022"].replace("Anger,Disgust", "Disgust,Anger"), "0"], 1, "the header"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, lines: Sequence[str], place: int, found: str) -> None:
    make(tmp_path, "2022")
    file = tmp_path / f"annotations/EXPR_Classification_Challenge/Train_Set/{VIDEO}.txt"
    write(file, lines)
    with pytest.raises(DataFormatError) as info:
        affwild2.read(tmp_path)
    assert str(info.value).startswith(f"{file}, line {place}: expected {found}")


def test_a_header_may_end_in_a_comma(tmp_path: Path) -> None:
    make(tmp_path, "2022")
    file = tmp_path / f"annotations/EXPR_Classification_Challenge/Train_Set/{VIDEO}.txt"
    write(file, [HEADERS["2022"] + ", ", "4"])
    assert affwild2.read(tmp_path).frame["expression"][0] == "happiness"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("affwild2"), "2022", crops=False)


@pytest.mark.parametrize("task", ["expression", "action_units"])
@given(data=st.data())
def test_damage_is_named_or_harmless(tree: Path, task: str, data: st.DataObject) -> None:
    def read():
        return affwild2.read(tree, tasks=task, missing="keep")

    file = tree / "annotations" / FOLDERS["2022"][task == "action_units"] / f"Train_Set/{VIDEO}.txt"
    manifest = read()
    truth = truth_of(manifest, ["split", *(c for c in manifest.frame.columns if c.startswith(task))])
    damage: Damage = data.draw(damages(file.read_bytes(), ","))
    check_damage(read, file, damage, truth)


# -- multi-task lists ------------------------------------------------------------------------------

LISTS = {
    "training_set_annotations.txt": [
        "image,valence,arousal,expression,aus",
        "video1/00001.jpg,0.5,-0.25,4,0,1,0,1,0,1,0,1,0,1,0,1",
        "video1/00007.jpg,-5,-5,7,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1",
        "video2_left/12345.jpg,-1.0,1.0,-1,-1,0,1,1,1,1,1,1,1,1,1,1",
        "video2_left/12346.jpg,0.1,0.1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1",
    ],
    "validation_set_annotations.txt": [
        "image,valence,arousal,expression," + ",".join(f"AU{unit}" for unit in UNITS),
        "video3/00002.jpg,-5.0,-5.0,0,1,1,1,1,1,1,1,1,1,1,1,0",
    ],
}


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("affwild2_lists")
    for name, lines in LISTS.items():
        write(root / name, lines)
        touch(root, [f"cropped_aligned/{line.partition(',')[0]}" for line in lines[1:]])
    return root


def test_multi_task_lists(lists: Path) -> None:
    manifest = affwild2.read(lists, release="multi-task")
    columns = ["split", "group", "valence", "arousal", "expression", "action_units.AU1", "action_units.AU26"]
    assert [tuple(row.values()) for row in truth_of(manifest, columns).values()] == [
        ("train", "video1", 0.5, -0.25, "happiness", 0, 1),
        ("train", "video1", None, None, "other", None, None),
        ("train", "video2", -1.0, 1.0, None, None, 1),
        ("val", "video3", None, None, "neutral", 1, 0),
    ]
    masked = affwild2.read(lists, release="multi-task", whole_units=True, drop_other=True)
    assert masked.frame["path"].to_list() == [
        "cropped_aligned/video1/00001.jpg",
        "cropped_aligned/video3/00002.jpg",
    ]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("video1/00002.jpg,2,0,1" + ",0" * 12, "valence"),
        ("video1/00002.jpg,-3,0,1" + ",0" * 12, "valence"),
        ("video1/00002.jpg,0,0,1" + ",0" * 11, "16 fields"),
        ("../00002.jpg,0,0,1" + ",0" * 12, "an image as"),
        ("video1/00001.jpg,0,0,1" + ",0" * 12, "each image once"),
    ],
)
def test_wrong_lines_of_lists_are_named(tmp_path: Path, line: str, found: str) -> None:
    for name, lines in LISTS.items():
        write(tmp_path / "annotations" / name, lines[:2])
    file = write(
        tmp_path / "annotations/training_set_annotations.txt",
        [*LISTS["training_set_annotations.txt"][:2], line],
    )
    with pytest.raises(DataFormatError) as info:
        affwild2.read(tmp_path, release="multi-task", missing="keep")
    assert str(info.value).startswith(f"{file}, line 3: expected {found}")


def test_lists_of_2022_lie_in_a_folder(lists: Path, tmp_path: Path) -> None:
    names = {
        "training_set_annotations.txt": "train_set.txt",
        "validation_set_annotations.txt": "validation_set.txt",
    }
    for old, new in names.items():
        source = next(lists.rglob(old))
        write(tmp_path / "6th ABAW Annotations/MTL_Challenge" / new, source.read_text().splitlines())
    usual = affwild2.read(lists, release="multi-task", missing="keep", gaps="keep")
    found = affwild2.read(tmp_path, missing="keep", gaps="keep")
    assert found.frame.equals(usual.frame)


def test_lists_without_annotation(tmp_path: Path) -> None:
    for name, lines in LISTS.items():
        write(tmp_path / name, lines[:1])
    with pytest.raises(EmptyDataError, match="expected annotated rows"):
        affwild2.read(tmp_path, release="multi-task")
    with pytest.raises(MissingDataError, match="looks like release='multi-task'"):
        affwild2.read(tmp_path, release="2022")
    write(tmp_path / "training_set_annotations.txt", ["image,expression"])
    with pytest.raises(DataFormatError, match="line 1: expected a header"):
        affwild2.read(tmp_path, release="multi-task")


@given(data=st.data())
def test_damage_of_lists_is_named_or_harmless(lists: Path, data: st.DataObject) -> None:
    def read():
        return affwild2.read(lists, release="multi-task", missing="keep", gaps="keep")

    file = lists / "training_set_annotations.txt"
    truth = truth_of(
        read(), ["split", "valence", "arousal", "expression", *(f"action_units.AU{u}" for u in UNITS)]
    )
    check_damage(read, file, data.draw(damages(file.read_bytes(), ",")), truth)
