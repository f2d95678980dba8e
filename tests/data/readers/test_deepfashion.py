"""DeepFashion: names with blanks, three-valued attributes, and a list too large to hold as text."""

import re
from pathlib import Path

import pytest
from _face_mutations import check_damage, damages, touch, truth_of, write
from hypothesis import given
from hypothesis import strategies as st

from concord.data.readers import _text, deepfashion
from concord.errors import ConfigError, DataFormatError, MissingDataError, UnknownNameError

pytestmark = pytest.mark.filterwarnings("ignore:.* annotated images are not in")  # left out on purpose

CATEGORIES = [("Anorak", 1), ("Faux Fur Jacket", 1), ("Jeans", 2), ("Dress", 3)]
ATTRIBUTES = [
    ("a-line", 3),
    ("abstract chevron print", 1),
    ("18 inch zip", 4),
    ("chiffon", 2),
    ("boho chic", 5),
]
IMAGES = [f"img/Sheer_Pleated-Front_{n}/img_{i:08d}.jpg" for i, n in enumerate("ABACBD", 1)]
CATEGORY = [1, 2, 4, 3, 2, 1]
PARTS = ["train", "val", "train", "test", "train", "val"]
SHIFT = 2


def code(image: int, attribute: int) -> int:
    return (image + attribute * 2) % 3 - 1


def listed(root: Path, name: str, header: str, rows: list[str], shift: int = 0) -> None:
    write(root / name, [str(len(rows)), header, *rows[shift:], *rows[:shift]])


def make(root: Path, notes: str = "Anno_coarse", img: str = "Img/") -> Path:
    names = [f"{name:<30}{kind}" for name, kind in CATEGORIES]
    listed(root, f"{notes}/list_category_cloth.txt", "category_name  category_type", names)
    names = [f"{name:<30}{kind}" for name, kind in ATTRIBUTES]
    listed(root, f"{notes}/list_attr_cloth.txt", "attribute_name  attribute_type", names)
    rows = [f"{image:<70}{c}" for image, c in zip(IMAGES, CATEGORY, strict=True)]
    listed(root, f"{notes}/list_category_img.txt", "image_name  category_label", rows)
    rows = [f"{im:<70}{' '.join(f'{code(i, k):>2}' for k in range(5))}" for i, im in enumerate(IMAGES)]
    listed(root, f"{notes}/list_attr_img.txt", "image_name  attribute_labels", rows, SHIFT)
    rows = [f"{im:<70}{i:03d}".replace(" 00", " ") + f" 072 {i + 30} 232" for i, im in enumerate(IMAGES)]
    rows = [row.replace(" 072", " 72") for row in rows]
    listed(root, f"{notes}/list_bbox.txt", "image_name  x_1  y_1  x_2  y_2", rows, 1)
    rows = [f"{image:<70}{part}" for image, part in zip(IMAGES, PARTS, strict=True)]
    listed(root, "Eval/list_eval_partition.txt", "image_name  evaluation_status", rows, 3)
    touch(root, [f"{img}{image}" for image in IMAGES])
    return root


def truth(prefix: str = "Img/", unknown: int | None = None) -> dict[str, dict[str, object]]:
    return {
        f"{prefix}{image}": {
            "split": PARTS[i],
            "category": CATEGORIES[CATEGORY[i] - 1][0],
            **{
                f"attributes.{name}": {1: 1, -1: 0, 0: unknown}[code(i, k)]
                for k, (name, _) in enumerate(ATTRIBUTES)
            },
        }
        for i, image in enumerate(IMAGES)
    }


@pytest.mark.parametrize(("notes", "img"), [("Anno_coarse", "Img/"), ("Anno", "")])
@pytest.mark.parametrize("unknown", ["gap", "absent"])
def test_lists_are_joined_by_name(tmp_path: Path, notes: str, img: str, unknown) -> None:
    manifest = deepfashion.read(make(tmp_path, notes, img), unknown=unknown)
    expected = truth(img, None if unknown == "gap" else 0)
    assert truth_of(manifest, next(iter(expected.values()))) == expected
    category, attributes = manifest.tasks
    assert category.outputs == tuple(name for name, _ in CATEGORIES)
    assert attributes.outputs == tuple(name for name, _ in ATTRIBUTES)
    assert str(manifest.frame.schema["attributes.chiffon"]) == "Int8"


def test_types_of_attributes(tmp_path: Path) -> None:
    manifest = deepfashion.read(make(tmp_path), attribute_types=["style", "texture"])
    assert manifest.tasks[1].outputs == ("abstract chevron print", "boho chic")
    column = truth_of(manifest, ["attributes.boho chic"])
    assert column == {
        path: {"attributes.boho chic": row["attributes.boho chic"]} for path, row in truth().items()
    }
    assert deepfashion.read(tmp_path, attribute_types="fabric").tasks[1].outputs == ("chiffon",)
    with pytest.raises(UnknownNameError, match="did you mean 'fabric'"):
        deepfashion.read(tmp_path, attribute_types="fabrics")
    rows = [f"{name}  3" for name, _ in ATTRIBUTES]
    listed(tmp_path, "Anno_coarse/list_attr_cloth.txt", "attribute_name  attribute_type", rows)
    with pytest.raises(ConfigError, match="of the types fabric, found none"):
        deepfashion.read(tmp_path, attribute_types="fabric")


def test_boxes_padded_with_zeros(tmp_path: Path) -> None:
    file = make(tmp_path) / "Anno_coarse/list_bbox.txt"
    lines = file.read_text().splitlines()
    padded = [" ".join([w.split()[0], *(f"{int(n):03d}" for n in w.split()[1:])]) for w in lines[2:]]
    plain = deepfashion.read(tmp_path, boxes=True).frame
    write(file, [*lines[:2], *padded])
    assert deepfashion.read(tmp_path, boxes=True).frame.equals(plain)


def test_categories_that_were_merged(tmp_path: Path) -> None:
    file = make(tmp_path) / "Anno_coarse/list_category_img.txt"
    lines = file.read_text().splitlines()
    merged = [re.sub(r"(\s)2$", r"\g<1>1", line) for line in lines]
    write(file, merged)
    names = [name for name, _ in CATEGORIES]
    assert deepfashion.read(tmp_path).tasks[0].outputs == tuple(name for name in names if name != names[1])
    assert deepfashion.read(tmp_path, categories="all").tasks[0].outputs == tuple(names)


def test_boxes(tmp_path: Path) -> None:
    frame = deepfashion.read(make(tmp_path), boxes=True).frame
    boxes = frame.select("box_x", "box_y", "box_width", "box_height").rows()
    assert boxes == [(i, 72, 30, 160) for i in range(len(IMAGES))]


@pytest.mark.parametrize("size", [1, 100, 300])
def test_a_list_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    make(tmp_path)
    monkeypatch.setattr(deepfashion, "read_blocks", lambda path: _text.read_blocks(path, size=size))
    if size == 1:  # the first part has no header
        with pytest.raises(DataFormatError, match="line 1: expected a count, a header"):
            deepfashion.read(tmp_path)
        return
    assert truth_of(deepfashion.read(tmp_path), next(iter(truth().values()))) == truth()
    path = tmp_path / "Anno_coarse/list_attr_img.txt"
    text = path.read_text()
    image = IMAGES[3]
    for old, new, message in (
        (image, IMAGES[2], "line 4: expected each image once"),
        (image, "img/other.jpg", "line 4: expected an image that the other lists have"),
        ("-1\n", "-1\n\n", "line 6: expected an annotation"),
        ("-1\n", "-1 1\n", "line 5: expected an image and 5 attributes"),
    ):
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(DataFormatError) as info:
            deepfashion.read(tmp_path)
        assert str(info.value).startswith(f"{path}, {message}"), str(info.value)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("Anno_coarse/list_category_cloth.txt", "4\n", "5\n", "line 6: expected 5 entries as line 1 says"),
        (
            "Anno_coarse/list_category_cloth.txt",
            "_type",
            "_kind",
            "line 2: expected the name 'category_type'",
        ),
        ("Anno_coarse/list_category_cloth.txt", "Jeans ", "Anorak ", "line 5: expected each category once"),
        ("Anno_coarse/list_attr_cloth.txt", "5\n", "6\n", "line 7: expected 6 entries"),
        ("Anno_coarse/list_category_img.txt", IMAGES[1], IMAGES[0], "line 4: expected each image once"),
        ("Anno_coarse/list_category_img.txt", "   4\n", "   5\n", "line 5: expected a category"),
        ("Anno_coarse/list_category_img.txt", ".jpg", ".png", "line 3: expected an image and a category"),
        ("Anno_coarse/list_attr_img.txt", "labels", "types", "line 2: expected the name 'attribute_labels'"),
        ("Anno_coarse/list_attr_img.txt", "6\n", "7\n", "line 8: expected 7 entries"),
        ("Anno_coarse/list_attr_img.txt", " 1  0\n", " 10\n", "line 3: expected an image and attributes"),
        ("Anno_coarse/list_attr_img.txt", "-1 ", "-2 ", "line 3: expected an image and attributes"),
        ("Anno_coarse/list_attr_img.txt", "-1 ", "-1\u00a0", "line 3: expected an image and attributes"),
        ("Anno_coarse/list_bbox.txt", " 232\n", " 12\n", "line 3: expected a box"),
        ("Eval/list_eval_partition.txt", "train\n", "trai\n", "line 4: expected a part"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    path = make(tmp_path) / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataFormatError) as info:
        deepfashion.read(tmp_path, boxes=True)
    assert str(info.value).startswith(f"{path}, {message}"), str(info.value)


def test_an_image_that_is_not_in_the_list_of_attributes(tmp_path: Path) -> None:
    path = make(tmp_path) / "Anno_coarse/list_attr_img.txt"
    lines = path.read_text().splitlines()
    write(path, ["5", *lines[1:-1]])
    with pytest.raises(
        DataFormatError, match="line 7: expected an entry for each image, found none for 'img"
    ):
        deepfashion.read(tmp_path)
    write(path, [])
    with pytest.raises(DataFormatError, match="line 1: expected a count, a header and entries"):
        deepfashion.read(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "Anno_fine").mkdir()
    with pytest.raises(MissingDataError, match=r"'Anno_coarse' or 'Anno'.*found Anno_fine/.*mmlab"):
        deepfashion.read(tmp_path)
    make(tmp_path)
    (tmp_path / "Img" / IMAGES[0]).unlink()
    manifest = deepfashion.read(tmp_path)
    expected = {path: row for path, row in truth().items() if not path.endswith(IMAGES[0])}
    assert truth_of(manifest, next(iter(expected.values()))) == expected
    with pytest.raises(MissingDataError, match="an image for each annotation"):
        deepfashion.read(tmp_path, missing="error")
    (tmp_path / "Anno_coarse/list_attr_img.txt").unlink()
    with pytest.raises(MissingDataError, match=r"list_attr_img\.txt"):
        deepfashion.read(tmp_path)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("deepfashion"))


@pytest.mark.parametrize(
    "file",
    [
        "Anno_coarse/list_category_img.txt",
        "Anno_coarse/list_attr_img.txt",
        "Eval/list_eval_partition.txt",
    ],
)
@given(data=st.data())
def test_damage_is_named_or_harmless(tree: Path, file: str, data: st.DataObject) -> None:
    path = tree / file
    check_damage(
        lambda: deepfashion.read(tree, missing="keep"),
        path,
        data.draw(damages(path.read_bytes(), " ")),
        truth(),
    )
