"""DISFA."""

from pathlib import Path

import pytest
from _face_mutations import check_damage, damages, touch, truth_of, write
from hypothesis import given
from hypothesis import strategies as st

from concord.data.readers import disfa
from concord.errors import ConfigError, DataFormatError, MissingDataError, RangeError

ALL = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
SUBJECTS = ("SN001", "SN010", "SN013", "SN003")
FRAMES = 6


def intensity(subject: str, unit: int, frame: int) -> int:
    return (int(subject[2:]) + unit * 7 + frame * 5) % 6


def length(subject: str, unit: int) -> int:
    return FRAMES - 1 if (subject, unit) == ("SN010", 6) else FRAMES  # one file has fewer lines


def make(root: Path, subjects: tuple[str, ...] = SUBJECTS) -> Path:
    for subject in subjects:
        for unit in ALL:
            frames = range(1, length(subject, unit) + 1)
            write(
                root / "ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt",
                [f"{frame},{intensity(subject, unit, frame)}" for frame in frames],
            )
        touch(root, [f"Images/{subject}/{frame}.jpg" for frame in range(1, FRAMES + 1)])
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("disfa"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("disfa_alone"), ("SN001",))


@pytest.mark.parametrize("threshold", [1, 2, 5])
@pytest.mark.parametrize("units", [12, 8])
def test_units_from_a_threshold_on(tree: Path, threshold: int, units: int) -> None:
    manifest = disfa.read(tree, threshold=threshold, units=units)  # type: ignore[arg-type]
    kept = ALL if units == 12 else (1, 2, 4, 6, 9, 12, 25, 26)
    assert manifest.tasks[0].outputs == tuple(f"AU{unit}" for unit in kept)
    assert truth_of(manifest, [f"action_units.AU{unit}" for unit in kept]) == {
        f"Images/{s}/{frame}.jpg": {
            f"action_units.AU{unit}": int(intensity(s, unit, frame) >= threshold)
            if frame <= length(s, unit)
            else None
            for unit in kept
        }
        for s in SUBJECTS
        for frame in range(1, FRAMES + 1)
    }


def test_the_usual_folds(tree: Path) -> None:
    assert disfa.read(tree).frame["split"].null_count() == len(SUBJECTS) * FRAMES
    for fold, held in enumerate([{"SN001", "SN010"}, {"SN013"}, {"SN003"}]):
        frame = disfa.read(tree, fold=fold).frame  # type: ignore[arg-type]
        assert set(frame.filter(frame["split"] == "test")["group"]) == held
        assert set(frame.filter(frame["split"] == "train")["group"]) == set(SUBJECTS) - held
    assert sorted(s for part in disfa.PARTS for s in part) == sorted(
        f"SN{n:03d}" for n in (*range(1, 14), 16, 17, 18, 21, *range(23, 33))
    )


def test_images_as_the_user_extracted_them(tmp_path: Path) -> None:
    make(tmp_path, ("SN001",))
    touch(tmp_path, [f"crops/SN001_{frame:04d}.png" for frame in range(6)])
    manifest = disfa.read(tmp_path, images="crops/{subject}_{frame:04d}.png", offset=-1)
    assert manifest.frame["path"].to_list() == [f"crops/SN001_{frame:04d}.png" for frame in range(6)]
    assert manifest.frame["frame"].to_list() == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ConfigError, match="expected images as"):
        disfa.read(tmp_path, images="{person}.png")
    with pytest.raises(MissingDataError, match="found none of 6"):
        disfa.read(tmp_path, images="{subject}/{frame}.png")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="expected the folder 'ActionUnit_Labels'"):
        disfa.read(tmp_path)
    (tmp_path / "ActionUnit_Labels").mkdir()
    with pytest.raises(MissingDataError, match="expected folders as SN001"):
        disfa.read(tmp_path)
    make(tmp_path, ("SN001", "SN099"))
    with pytest.raises(ConfigError, match="found SN099; use fold=None"):
        disfa.read(tmp_path, fold=0)
    (tmp_path / "ActionUnit_Labels/SN001/SN001_au9.txt").unlink()
    with pytest.raises(MissingDataError, match="SN001_au9"):
        disfa.read(tmp_path)
    with pytest.raises(RangeError, match="threshold"):
        disfa.read(tmp_path, threshold=0)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("2,6", "an intensity"),
        ("1,0", "frames in ascending order"),
        ("2,0,0", "2 fields"),
        ("0,0", "a frame number"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, found: str) -> None:
    make(tmp_path, ("SN001",))
    file = write(tmp_path / "ActionUnit_Labels/SN001/SN001_au4.txt", ["1,0", line])
    with pytest.raises(DataFormatError) as info:
        disfa.read(tmp_path)
    assert str(info.value).startswith(f"{file}, line 2: expected {found}")


@given(data=st.data())
def test_damage_is_named_or_harmless(alone: Path, data: st.DataObject) -> None:
    def read():
        return disfa.read(alone, units=8, missing="keep", gaps="keep")

    file = alone / "ActionUnit_Labels/SN001/SN001_au4.txt"
    truth = truth_of(read(), [f"action_units.AU{unit}" for unit in disfa.UNITS[8]])
    check_damage(read, file, data.draw(damages(file.read_bytes(), ",")), truth, may_open=True)
