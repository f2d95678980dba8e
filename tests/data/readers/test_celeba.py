"""CelebA: attributes, identities, and the two splits."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from _face_mutations import Damage, check_damage, damages, touch, truth_of, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from concord.data.readers import celeba
from concord.errors import ConcordWarning, DataFormatError, MissingDataError, RangeError, UnknownNameError

pytestmark = pytest.mark.filterwarnings("ignore:.* annotated images are not in")  # left out on purpose

PEOPLE = [2880, 12, 2880, 7, 12, 2880, 10177, 12]
PARTS = [0, 0, 0, 1, 0, 0, 2, 0]
IMAGES = [f"{k:06d}.jpg" for k in range(1, 9)]
SHIFT = 3  # the order of lines in the other lists
COUNT = len(celeba.ATTRIBUTES)


def present(image: int, attribute: int) -> int:
    return (image * 7 + attribute * 3) % 5 % 2


def shifted(values: list[str]) -> list[str]:
    return values[SHIFT:] + values[:SHIFT]


def make(root: Path, folders: bool = True) -> Path:
    anno, parts, img = ("Anno/", "Eval/", "Img/") if folders else ("", "", "")
    rows = []
    for i, image in enumerate(IMAGES):
        codes = [" 1" if present(i, k) else "-1" for k in range(COUNT)]
        rows.append(f"{image} {' '.join(codes)}")  # columns of two, so that blanks repeat
    names = " ".join(celeba.ATTRIBUTES) + " "
    write(root / f"{anno}list_attr_celeba.txt", [str(len(rows)), names, *rows])
    write(
        root / f"{anno}identity_CelebA.txt",
        shifted([f"{i} {p}" for i, p in zip(IMAGES, PEOPLE, strict=True)]),
    )
    write(
        root / f"{parts}list_eval_partition.txt",
        shifted([f"{i} {p}" for i, p in zip(IMAGES, PARTS, strict=True)]),
    )
    points = [f"{image}  {' '.join(f'{k * 10 + i:>3}' for k in range(10))}" for i, image in enumerate(IMAGES)]
    write(
        root / f"{anno}list_landmarks_align_celeba.txt", [str(len(points)), " ".join(celeba.POINTS), *points]
    )
    touch(root, [f"{img}img_align_celeba/{image}" for image in IMAGES])
    return root


def truth(prefix: str = "Img/") -> dict[str, dict[str, object]]:
    return {
        f"{prefix}img_align_celeba/{image}": {
            "split": ("train", "val", "test")[PARTS[i]],
            "group": str(PEOPLE[i]),
            "identity": str(PEOPLE[i]),
            **{f"attributes.{name}": present(i, k) for k, name in enumerate(celeba.ATTRIBUTES)},
        }
        for i, image in enumerate(IMAGES)
    }


@pytest.mark.parametrize("folders", [True, False])
def test_lists_are_joined_by_name(tmp_path: Path, folders: bool) -> None:
    manifest = celeba.read(make(tmp_path, folders))
    expected = truth("Img/" if folders else "")
    assert truth_of(manifest, next(iter(expected.values()))) == expected
    identity, attributes = manifest.tasks
    assert identity.outputs == ("7", "12", "2880", "10177")  # by number, not by spelling
    assert attributes.outputs == celeba.ATTRIBUTES
    assert attributes.width == 40
    assert all(
        str(dtype) == "Int8"
        for name, dtype in manifest.frame.schema.items()
        if name.startswith("attributes.")
    )


def test_without_identities(tmp_path: Path) -> None:
    (make(tmp_path) / "Anno/identity_CelebA.txt").unlink()
    manifest = celeba.read(tmp_path, identity=False)
    assert [task.name for task in manifest.tasks] == ["attributes"]
    assert manifest.frame["group"].null_count() == len(IMAGES)
    with pytest.raises(MissingDataError, match="identity_CelebA"):
        celeba.read(tmp_path, identity=True)
    with pytest.warns(ConcordWarning, match="so that nobody is identified"):
        assert celeba.read(tmp_path).frame.equals(manifest.frame)
    with pytest.raises(RangeError, match="expected identity=True"):
        celeba.read(tmp_path, identity=False, split="identity")


def make_csv(root: Path) -> Path:
    """The copy with commas, without identities, its images in a folder of their folder's name."""
    rows = [
        ",".join([image, *("1" if present(i, k) else "-1" for k in range(COUNT))])
        for i, image in enumerate(IMAGES)
    ]
    write(root / "list_attr_celeba.csv", [",".join(["image_id", *celeba.ATTRIBUTES]), *rows])
    parts = shifted([f"{i},{p}" for i, p in zip(IMAGES, PARTS, strict=True)])
    write(root / "list_eval_partition.csv", ["image_id,partition", *parts])
    points = [",".join([image, *(str(k * 10 + i) for k in range(10))]) for i, image in enumerate(IMAGES)]
    write(root / "list_landmarks_align_celeba.csv", [",".join(["image_id", *celeba.POINTS]), *points])
    touch(root, [f"img_align_celeba/img_align_celeba/{image}" for image in IMAGES])
    return root


CSV = {
    path.replace("img_align_celeba", "img_align_celeba/img_align_celeba"): {
        name: value for name, value in row.items() if name not in ("group", "identity")
    }
    for path, row in truth("").items()
}


def test_lists_with_commas_and_nested_images(tmp_path: Path) -> None:
    with pytest.warns(ConcordWarning) as told:
        manifest = celeba.read(make_csv(tmp_path), landmarks=True)
    assert truth_of(manifest, next(iter(CSV.values()))) == CSV
    assert manifest.frame["landmarks"].to_list()[2] == [2.0 + 10 * k for k in range(10)]
    said = " ".join(str(warning.message) for warning in told)
    assert "layout='csv'" in said
    assert "nobody is identified" in said
    people = [f"{i} {p}" for i, p in zip(IMAGES, PEOPLE, strict=True)]
    write(tmp_path / "identity_CelebA.txt", people)
    named = celeba.read(tmp_path, layout="csv")
    assert dict(named.frame.select("path", "identity").rows()) == {
        path.replace("img_align_celeba", "img_align_celeba/img_align_celeba"): row["identity"]
        for path, row in truth("").items()
    }
    with pytest.raises(MissingDataError, match=r"list_attr_celeba\.txt"):
        celeba.read(tmp_path, layout="text")


@pytest.mark.parametrize("file", ["list_attr_celeba.csv", "list_eval_partition.csv"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_lists_with_commas(tmp_path: Path, file: str, data: st.DataObject) -> None:
    if not (tmp_path / file).exists():
        make_csv(tmp_path)
    damage = data.draw(damages((tmp_path / file).read_bytes(), ","))

    def read():
        return celeba.read(tmp_path, layout="csv", identity=False, missing="keep")

    check_damage(read, tmp_path / file, damage, CSV)


def test_landmarks(tmp_path: Path) -> None:
    points = celeba.read(make(tmp_path), landmarks=True).frame["landmarks"]
    assert points.to_list()[2] == [2.0 + 10 * k for k in range(10)]


def test_identity_split_keeps_all_people_in_train(tmp_path: Path) -> None:
    manifest = celeba.read(make(tmp_path), split="identity", shares=(0.4, 0.3, 0.3), seed=5)
    frame = manifest.frame
    assert set(frame.filter(frame["split"] == "train")["identity"]) == {str(p) for p in PEOPLE}
    assert frame["group"].null_count() == len(frame)
    again = celeba.read(tmp_path, split="identity", shares=(0.4, 0.3, 0.3), seed=5).frame
    assert again.equals(frame)


@given(
    people=st.lists(st.integers(1, 9), min_size=1, max_size=80),
    seed=st.integers(0, 2**32),
    train=st.floats(0.05, 1),
    val=st.floats(0, 1),
    order=st.randoms(use_true_random=False),
)
def test_identity_split_properties(people, seed, train, val, order) -> None:
    shares = (train, (1 - train) * val, (1 - train) * (1 - val))
    images = [f"{k:06d}.jpg" for k in range(len(people))]
    parts = celeba.identity_split(np.array(people), images, seed, shares)
    counts = Counter(zip(people, parts.tolist(), strict=True))
    for person, total in Counter(people).items():
        assert counts[person, "train"] >= 1
        for part, share in zip(("val", "test"), shares[1:], strict=True):
            assert counts[person, part] <= np.ceil(total * share + 1e-9)
            if counts[person, "train"] > 1:
                assert counts[person, part] >= np.floor(total * share - 1e-9)
    # The order of the lines does not matter.
    shuffle = list(range(len(people)))
    order.shuffle(shuffle)
    other = celeba.identity_split(np.array(people)[shuffle], [images[k] for k in shuffle], seed, shares)
    assert other.tolist() == parts[shuffle].tolist()


def test_identity_split_meets_its_shares() -> None:
    people = np.repeat(np.arange(2000), 13)
    images = [f"{k:06d}" for k in range(len(people))]
    parts = celeba.identity_split(people, images, 0, (0.75, 0.15, 0.1))
    share = {part: float((parts == part).mean()) for part in ("train", "val", "test")}
    assert share == {
        "train": pytest.approx(0.75, abs=0.005),
        "val": pytest.approx(0.15, abs=0.005),
        "test": pytest.approx(0.1, abs=0.005),
    }
    assert (celeba.identity_split(people, images, 1, (0.75, 0.15, 0.1)) != parts).any()


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.0, 0.5, 0.5), (0.8, 0.3, -0.1), (0.8, 0.1, 0.2)])
def test_shares_that_are_none(tmp_path: Path, shares: tuple[float, ...]) -> None:
    with pytest.raises(RangeError, match="sum to 1"):
        celeba.read(make(tmp_path), split="identity", shares=shares)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("Anno/list_attr_celeba.txt", "Bald", "Bold", "line 2: expected the name 'Bald', found 'Bold'"),
        ("Anno/list_attr_celeba.txt", " Young", "", "line 2: expected 40 names, found 39"),
        ("Anno/list_attr_celeba.txt", "8\n", "9\n", "line 10: expected 9 entries as line 1 says, found 8"),
        ("Anno/list_attr_celeba.txt", "8\n", "7\n", "line 1: expected 7 entries as line 1 says, found 8"),
        ("Anno/list_attr_celeba.txt", "000003.jpg", "000002.jpg", "line 5: expected each image once"),
        ("Anno/list_attr_celeba.txt", "000003.jpg", "000003.png", "line 5: expected an image as"),
        ("Anno/identity_CelebA.txt", "000003.jpg", "000009.jpg", "line 8: expected an image that the other"),
        (
            "Anno/identity_CelebA.txt",
            "000003.jpg 2880\n",
            "",
            "line 7: expected an entry for each of 8 images",
        ),
        ("Anno/identity_CelebA.txt", "2880\n000004", "0\n000004", "line 8: expected a person's number"),
        ("Eval/list_eval_partition.txt", "000002.jpg 0", "000002.jpg 3", "line 7: expected a part"),
        ("Eval/list_eval_partition.txt", "000002.jpg", "000001.jpg", "line 7: expected each image once"),
        ("Anno/list_landmarks_align_celeba.txt", "nose_x", "nose_z", "line 2: expected the name 'nose_x'"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    place = make(tmp_path) / file
    text = place.read_text()
    if old == "2880\n000004":
        old, new = "000003.jpg 2880", "000003.jpg 0"
    assert old in text
    place.write_text(text.replace(old, new, 1))
    with pytest.raises(DataFormatError) as info:
        celeba.read(tmp_path, landmarks=True)
    assert str(info.value).startswith(f"{place}, {message}")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"list_attr_celeba\.txt.*is empty.*mmlab"):
        celeba.read(tmp_path)
    make(tmp_path)
    (tmp_path / f"Img/img_align_celeba/{IMAGES[0]}").unlink()
    assert len(celeba.read(tmp_path)) == len(IMAGES) - 1
    with pytest.raises(MissingDataError, match="an image for each annotation"):
        celeba.read(tmp_path, missing="error")
    with pytest.raises(UnknownNameError, match="split of CelebA"):
        celeba.read(tmp_path, split="identities")  # type: ignore[arg-type]


def test_an_empty_list(tmp_path: Path) -> None:
    file = write(make(tmp_path) / "Anno/list_attr_celeba.txt", [])
    with pytest.raises(DataFormatError, match="line 1: expected annotations, found an empty file"):
        celeba.read(tmp_path)
    write(file, ["8", " ".join(celeba.ATTRIBUTES)])
    with pytest.raises(DataFormatError, match="line 2: expected 8 entries"):
        celeba.read(tmp_path)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("celeba"))


@pytest.mark.parametrize(
    "file",
    ["Anno/list_attr_celeba.txt", "Anno/identity_CelebA.txt", "Eval/list_eval_partition.txt"],
)
@given(data=st.data())
def test_damage_is_named_or_harmless(tree: Path, file: str, data: st.DataObject) -> None:
    path = tree / file
    damage: Damage = data.draw(damages(path.read_bytes(), " "))
    check_damage(
        lambda: celeba.read(tree, missing="keep"),
        path,
        damage,
        truth(),
        # A number that lost its last digits is a number: nothing in the file tells.
        whole=lambda left: "identity" in file and len(left.split()) == 2,
    )
