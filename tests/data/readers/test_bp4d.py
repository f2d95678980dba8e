"""BP4D and BP4D+, which share the files of occurrences."""

from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from _face_mutations import check_damage, damages, permuted, touch, truth_of, write
from hypothesis import given, settings
from hypothesis import strategies as st

from concord.data.readers import bp4d, bp4d_plus
from concord.errors import ConcordWarning, ConfigError, DataFormatError, MissingDataError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* annotated images are not in"),  # left out on purpose
    pytest.mark.filterwarnings("ignore:.* images count from"),
]

COLUMNS = (1, 2, 4, 5, 6, 7, 9, *range(10, 21), 22, 23, 24, *range(27, 40))
INTENSE = (6, 10, 12, 14, 17)
BP4D = {("F001", "T1"): 44, ("F001", "T4"): 7, ("M011", "T8"): 98, ("F007", "T2"): 1}
PLUS = {("F001", "T1"): 1, ("F001", "T6"): 10, ("F041", "T8"): 99, ("M001", "T7"): 5}  # no F041_T7, no F082
FRAMES = 4


def code(subject: str, frame: int, unit: int) -> str:
    return "019"[(int(subject[1:]) + frame * 3 + unit * unit) % 3]


def labels(subject: str, frame: int, units: tuple[int, ...]) -> dict[str, int | None]:
    found = {unit: code(subject, frame, unit) for unit in units}
    return {f"action_units.AU{unit}": None if c == "9" else int(c) for unit, c in found.items()}


def make(root: Path, sequences: dict[tuple[str, str], int], width: int = 4, first: int = 1) -> Path:
    """Sequences coded from a frame on, with all images up to there and a few more."""
    for (subject, task), start in sequences.items():
        frames = range(start, start + FRAMES)
        header = ",".join(["0", *map(str, COLUMNS)])
        rows = [",".join([str(f), *(code(subject, f, u) for u in COLUMNS)]) for f in frames]
        write(root / f"AUCoding/AU_OCC/{subject}_{task}.csv", [header, *rows])
        touch(root, [f"{subject}/{task}/{f:0{width}d}.jpg" for f in range(first, start + FRAMES + 2)])
    return root


def make_intensities(root: Path, sequences: dict[tuple[str, str], int]) -> None:
    for unit in INTENSE:
        for (subject, task), start in sequences.items():
            rows = [f"{f},{'0123459'[(f + unit) % 7]}" for f in range(start, start + FRAMES)]
            write(root / f"AUCoding/AU_INT/AU{unit:02d}/{subject}_{task}_AU{unit:02d}.csv", rows)


SETS = [(bp4d, BP4D), (bp4d_plus, PLUS)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("bp4d"), BP4D)


@pytest.mark.parametrize(("module", "sequences"), SETS)
@pytest.mark.parametrize("width", [1, 4, 5])
def test_units_of_every_frame(
    tmp_path: Path, module: ModuleType, sequences: dict[tuple[str, str], int], width: int
) -> None:
    manifest = module.read(make(tmp_path, sequences, width))
    truth = {
        f"{s}/{t}/{f:0{width}d}.jpg": {"group": s, "elicitation": t, "frame": f, **labels(s, f, module.UNITS)}
        for (s, t), start in sequences.items()
        for f in range(start, start + FRAMES)
    }
    assert truth_of(manifest, next(iter(truth.values()))) == truth
    assert [task.name for task in manifest.tasks] == ["action_units"]  # the task T is no expression


@pytest.mark.parametrize(("module", "sequences"), SETS)
def test_images_from_0_pair_frame_n_plus_1_with_image_n(
    tmp_path: Path, module: ModuleType, sequences: dict[tuple[str, str], int]
) -> None:
    make(tmp_path, sequences, first=0)
    with pytest.warns(
        ConcordWarning, match=r"images count from 0, so that frame N is image N - 1 \(offset=-1\)"
    ):
        manifest = module.read(tmp_path)
    rows = manifest.frame.select("path", "frame", *(f"action_units.AU{u}" for u in module.UNITS)).rows()
    assert len(rows) == len(sequences) * FRAMES
    for path, frame, *values in rows:
        subject, task, name = path.split("/")
        assert int(name.removesuffix(".jpg")) == frame - 1
        assert values == list(labels(subject, frame, module.UNITS).values())
        assert sequences[subject, task] <= frame


def test_images_from_1_are_said_too(tmp_path: Path) -> None:
    make(tmp_path, BP4D)
    with pytest.warns(ConcordWarning, match=r"images count from 1, so that frame N is image N \(offset=0\)"):
        bp4d.read(tmp_path)


def test_a_partial_copy_needs_an_offset(tmp_path: Path) -> None:
    make(tmp_path, {("F001", "T1"): 44, ("F002", "T2"): 5}, first=5)
    with pytest.raises(ConfigError, match=r"found 5 as the first in 'F001/T1'; say offset=-1 .* or offset=0"):
        bp4d.read(tmp_path)
    for offset in (-1, 0):
        frame = bp4d.read(tmp_path, offset=offset).frame.filter(pl.col("elicitation") == "T1")
        assert frame["path"][0] == f"F001/T1/{44 + offset:04d}.jpg"
    touch(tmp_path, ["F001/T1/0000.jpg", "F002/T2/0001.jpg"])
    with pytest.raises(ConfigError, match="from 0 in 'F001/T1' and from 1 in 'F002/T2'"):
        bp4d.read(tmp_path)


def test_a_frame_before_the_first_image(tmp_path: Path) -> None:
    make(tmp_path, {("F001", "T1"): 0}, first=0)
    with pytest.raises(
        DataFormatError, match="line 2: expected a frame number, a whole number of at least 1"
    ):
        bp4d.read(tmp_path)


def test_numbers_of_units() -> None:
    assert len(bp4d.UNITS) == 12
    assert len(bp4d_plus.UNITS) == 34
    assert sorted(map(len, bp4d.PARTS)) == [13, 14, 14]
    assert len({s for part in bp4d.PARTS for s in part}) == 41


def test_the_usual_folds(tree: Path) -> None:
    for fold, held in enumerate(["F001", "M011", "F007"]):
        frame = bp4d.read(tree, fold=fold).frame  # type: ignore[arg-type]
        assert set(frame.filter(frame["split"] == "test")["group"]) == {held}
        assert set(frame.filter(frame["split"] == "train")["group"]) == {"F001", "M011", "F007"} - {held}


def test_a_subject_of_no_part(tmp_path: Path) -> None:
    make(tmp_path, {("F099", "T1"): 1})
    assert len(bp4d.read(tmp_path)) == FRAMES
    with pytest.raises(ConfigError, match="found F099; use fold=None"):
        bp4d.read(tmp_path, fold=1)


def test_images_elsewhere_and_counted_otherwise(tmp_path: Path) -> None:
    make(tmp_path, {("F001", "T1"): 3})
    (tmp_path / "F001").rename(tmp_path / "crops")
    (tmp_path / "images").mkdir()
    (tmp_path / "crops").rename(tmp_path / "images/F001")
    manifest = bp4d.read(tmp_path, images="images", offset=1)
    assert manifest.frame.select("path", "frame").rows() == [
        ("images/F001/T1/0004.jpg", 3),
        ("images/F001/T1/0005.jpg", 4),
        ("images/F001/T1/0006.jpg", 5),
        ("images/F001/T1/0007.jpg", 6),
    ]
    bare = bp4d.read(tmp_path, images="nowhere", missing="keep")
    assert bare.frame["path"][0] == "nowhere/F001/T1/3.jpg"


def test_units_that_nobody_coded_are_gaps(tmp_path: Path) -> None:
    write(tmp_path / "AUCoding/AU_OCC/F001_T1.csv", ["0,1,2", "5,9,9", "6,1,9"])
    touch(tmp_path, [f"F001/T1/{k}.jpg" for k in range(1, 7)])
    assert bp4d.read(tmp_path, units=[1, 2]).frame["path"].to_list() == ["F001/T1/6.jpg"]
    assert len(bp4d.read(tmp_path, units=[1, 2], gaps="keep")) == 2
    with pytest.raises(DataFormatError, match="line 1: expected a column '4'"):
        bp4d.read(tmp_path, units=[4])


def test_intensities_of_bp4d_plus(tmp_path: Path) -> None:
    make_intensities(make(tmp_path, PLUS), {key: PLUS[key] for key in list(PLUS)[:2]})
    (tmp_path / "AUCoding/AU_INT/AU27").mkdir()  # a folder without files
    manifest = bp4d_plus.read(tmp_path, intensities=True)
    for (s, t), start in PLUS.items():
        rows = manifest.frame.filter((manifest.frame["group"] == s) & (manifest.frame["elicitation"] == t))
        for unit in INTENSE:
            levels = [int("0123459"[(f + unit) % 7]) for f in range(start, start + FRAMES)]
            known = (s, t) in list(PLUS)[:2]
            assert rows[f"intensity.AU{unit}"].to_list() == [
                level if level < 9 and known else None for level in levels
            ]
    assert manifest.frame["intensity.AU27"].null_count() == len(manifest)
    file = tmp_path / "AUCoding/AU_INT/AU06/F001_T1_AU06.csv"
    (tmp_path / "AUCoding/AU_INT/README.txt").write_text("about these files")
    assert bp4d_plus.read(tmp_path, intensities=True).frame.equals(manifest.frame)
    other = write(file.with_name("notes.csv"), ["1,2"])
    with pytest.raises(DataFormatError, match=r"notes\.csv: expected a name such as F001_T1_AU06\.csv"):
        bp4d_plus.read(tmp_path, intensities=True)
    other.unlink()
    (tmp_path / "AUCoding/AU_INT/AUxx").mkdir()
    with pytest.raises(DataFormatError, match="AUxx: expected the folder of an action unit"):
        bp4d_plus.read(tmp_path, intensities=True)
    (tmp_path / "AUCoding/AU_INT/AUxx").rmdir()
    write(file, ["1,6"])
    with pytest.raises(DataFormatError, match="line 1: expected an intensity"):
        bp4d_plus.read(tmp_path, intensities=True)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="expected the folder 'AUCoding/AU_OCC'"):
        bp4d.read(tmp_path)
    (tmp_path / "AUCoding/AU_OCC").mkdir(parents=True)
    with pytest.raises(MissingDataError, match=r"expected files as F001_T1\.csv"):
        bp4d.read(tmp_path)
    make(tmp_path, BP4D)
    with pytest.raises(DataFormatError, match=r"F001_T4\.csv: expected a name .* a task of T1, T6, T7, T8"):
        bp4d_plus.read(tmp_path)
    (tmp_path / "AUCoding/AU_OCC/F001_T4.csv").unlink()
    (tmp_path / "AUCoding/AU_OCC/F007_T2.csv").unlink()
    with pytest.raises(MissingDataError, match="expected the folder 'AUCoding/AU_INT'"):
        bp4d_plus.read(tmp_path, intensities=True)
    with pytest.raises(MissingDataError, match="found none of"):
        bp4d_plus.read(tmp_path, images="nowhere")


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_columns_go_by_their_names(tree: Path, data: st.DataObject) -> None:
    file = tree / "AUCoding/AU_OCC/F001_T1.csv"
    original = file.read_bytes()
    columns = [f"action_units.AU{unit}" for unit in bp4d.UNITS]
    truth = truth_of(bp4d.read(tree), columns)
    order = data.draw(st.permutations(range(len(COLUMNS) + 1)))
    try:
        file.write_bytes(permuted(original, order))
        assert truth_of(bp4d.read(tree), columns) == truth
    finally:
        file.write_bytes(original)


@given(data=st.data())
def test_damage_is_named_or_harmless(tree: Path, data: st.DataObject) -> None:
    def read():
        return bp4d.read(tree, missing="keep", gaps="keep")

    file = tree / "AUCoding/AU_OCC/F001_T1.csv"
    truth = truth_of(read(), ["group", *(f"action_units.AU{unit}" for unit in bp4d.UNITS)])
    check_damage(read, file, data.draw(damages(file.read_bytes(), ",")), truth)
