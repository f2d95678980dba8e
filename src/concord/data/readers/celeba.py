"""CelebA: portraits of celebrities, annotated for 40 attributes and for who is shown.

Layout, all files in the root or in the folders of the release: `Anno/list_attr_celeba.txt` (line 1 the count,
line 2 the names, then image and +-1), `Anno/identity_CelebA.txt` (image and number), `Eval/
list_eval_partition.txt` (image and 0 train, 1 val, 2 test; no header), `Img/img_align_celeba/000001.jpg`,
and for landmarks `Anno/list_landmarks_align_celeba.txt`. 202,599 images of 10,177 people.

A copy that many people have holds the lists as CSV, `list_attr_celeba.csv`, `list_eval_partition.csv` and
`list_landmarks_align_celeba.csv`, with a header that begins with `image_id` and no count, and the images in
`img_align_celeba/img_align_celeba/`; there is no list of people in it.

Codes: attributes 1 present, -1 absent, no gaps. A class of the task `identity` is a person's number, as
text.

Traps: columns are padded with repeated blanks; the official split shares no person between its parts, so that
an identity of the test images is in no training image: `split="identity"` divides within each person
instead. `list_bbox_celeba.txt` describes the images before alignment and is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from concord.data.manifest import Manifest
from concord.data.readers._files import Missing, check_choice, find_file, keep_present, tell
from concord.data.readers._lists import below, check_count, positions, read_counted
from concord.data.readers._text import Lines, read_lines, read_table, require_columns
from concord.errors import RangeError
from concord.tasks import MulticlassTask, MultilabelTask, Task

NAME = "celeba"
TITLE = "CelebA"
HOME = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"

ATTRIBUTES = (
    *("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald"),
    *("Bangs", "Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair"),
    *("Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin"),
    *("Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones"),
    *("Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard"),
    *("Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks"),
    *("Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings"),
    *("Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young"),
)
"""The 40 attributes, in the order of the file."""

POINTS = tuple(
    f"{point}_{axis}"
    for point in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    for axis in ("x", "y")
)
"""The landmarks, in the order of the file: five points, x before y."""

_IMAGE = r"[0-9]{6}\.jpg"
_FOLDERS = tuple(
    f"{above}{inner}"
    for inner in ("img_align_celeba/img_align_celeba", "img_align_celeba")
    for above in ("Img/", "")
)


def read(
    root: Path,
    *,
    split: Literal["official", "identity"] = "official",
    seed: int = 0,
    shares: Sequence[float] = (0.8, 0.1, 0.1),
    identity: bool | None = None,
    landmarks: bool = False,
    layout: Literal["text", "csv"] | None = None,
    missing: Missing = "drop",
) -> Manifest:
    """Read CelebA.

    Args:
        root: Folder of the release.
        split: "official", for attributes and for faces of people never seen; or "identity", which divides
            the images of each person, so that all people are in train.
        seed: Of the split within identities; the same seed gives the same split on any machine.
        shares: Of train, val and test in the split within identities; they sum to 1.
        identity: Whether to read the identities; None reads them where their list is there, and says so where
            it is not.
        landmarks: Whether to add a column `landmarks`: 10 numbers an image, in pixels of the aligned image.
        layout: "text" as released, or the "csv" copy; None takes the one that is there.
        missing: An annotation without an image: "drop" the row, "keep" it, or "error".

    Returns:
        A manifest with the tasks `identity` and `attributes`; `group` is the person in the official split,
        and null in the split within identities, which divides people on purpose.

    Raises:
        MissingDataError: A file is not there; the message says what was found.
        DataFormatError: A line that is not in the format; names file and line.
        RangeError: Shares that are no shares.
    """
    check_choice("split of CelebA", split, ("official", "identity"))
    check_choice("layout of CelebA", layout, (None, "text", "csv"))
    if split == "identity" and identity is False:
        raise RangeError(f"{TITLE}: split='identity' divides identities; expected identity=True, found False")
    lists = _lists_of(root, layout)
    if identity is None:
        identity = split == "identity" or _has_identities(root)
    images, attributes = _attributes(root, lists)
    columns = [below(_folder(root), images)]
    tasks: list[Task] = []
    people = _identities(root, images) if identity else None
    if people is not None:
        columns.append(people.cast(pl.String).alias("identity"))
        tasks.append(MulticlassTask("identity", people.unique().sort().cast(pl.String)))
    if split == "identity" and people is not None:
        parts = identity_split(people.to_numpy(), images.to_list(), seed, shares)
        columns.append(pl.Series("split", parts, dtype=pl.String))
    else:
        columns.append(_official(root, images, lists))
        if people is not None:
            columns.append(people.cast(pl.String).alias("group"))
    if landmarks:
        columns.append(_landmarks(root, images, lists))
    frame = pl.DataFrame([*columns, *attributes])
    tasks.append(MultilabelTask("attributes", ATTRIBUTES))
    return Manifest(keep_present(frame, root, missing), tuple(tasks), root, TITLE)


def identity_split(
    people: npt.NDArray[Any], images: Sequence[str], seed: int, shares: Sequence[float]
) -> npt.NDArray[Any]:
    """Divide the images of each person into train, val and test, with at least one image in train.

    What a person's share is not a whole number of images is rounded up or down at random, so that the shares
    hold over all people; a person of one image is in train. The order of the images does not matter.

    Args:
        people: Who is shown: shape (n,).
        images: Distinct names: n of them.
        seed: Of the division.
        shares: Of train, val and test; each in [0, 1], with train above 0, and 1 in sum.

    Returns:
        "train", "val" or "test": shape (n,).

    Raises:
        RangeError: Shares that are no shares.
    """
    _, val_share, test_share = _checked(shares)
    rng = np.random.default_rng(seed)
    order = np.argsort(np.asarray(images), kind="stable")
    _, person = np.unique(people[order], return_inverse=True)
    count = np.bincount(person)
    tests = np.minimum(np.floor(count * test_share + rng.random(len(count))), count - 1)
    vals = np.minimum(np.floor(count * val_share + rng.random(len(count))), count - 1 - tests)
    drawn = np.lexsort((rng.random(len(person)), person))
    rank = np.empty(len(person), dtype=np.int64)
    rank[drawn] = np.arange(len(person)) - np.repeat(np.cumsum(count) - count, count)
    in_test, in_val = rank < tests[person], rank < (tests + vals)[person]
    parts = np.empty(len(person), dtype="<U5")
    parts[order] = np.where(in_test, "test", np.where(in_val, "val", "train"))
    return parts


def _checked(shares: Sequence[float]) -> tuple[float, float, float]:
    values = [float(share) for share in shares]
    if len(values) != 3 or min(values) < 0 or values[0] <= 0 or not np.isclose(sum(values), 1):
        raise RangeError(
            f"{TITLE}: shares of train, val and test are >= 0, train > 0, and sum to 1; found {tuple(shares)}"
        )
    return values[0], values[1], values[2]


# -- files -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lists:
    """The release's lists, with a count and blanks, or the copy's, with commas; `ending` is theirs."""

    ending: Literal["txt", "csv"]

    def find(self, root: Path, folder: str, name: str) -> Path:
        return find_file(root, [f"{folder}/{name}.{self.ending}", f"{name}.{self.ending}"], TITLE, HOME)

    def read(self, path: Path, columns: Sequence[str]) -> tuple[Lines, pl.DataFrame, int]:
        """Lines below the header, the column `image` and the others, and how many entries are announced."""
        if self.ending == "txt":
            table = read_counted(path, columns)
            return table.entries, table.entries.fields(["image", *columns]), table.count
        names, lines = read_table(path)
        require_columns(path, names, ["image_id", *columns])
        fields = lines.fields(["image" if name == "image_id" else name for name in names], ",")
        return lines, fields, len(lines)


def _lists_of(root: Path, layout: str | None) -> _Lists:
    texts, tables = _Lists("txt"), _Lists("csv")
    there = [
        any((root / place / f"list_attr_celeba.{lists.ending}").is_file() for place in ("Anno", "."))
        for lists in (texts, tables)
    ]
    if layout == "csv" or (layout is None and there == [False, True]):
        if layout is None:
            tell(f"{TITLE}: read as the copy with list_attr_celeba.csv (layout='csv')")
        return tables
    if layout is None and not any(there):
        names = [f"Anno/{_LIST}.txt", f"{_LIST}.txt", f"{_LIST}.csv"]
        find_file(root, names, TITLE, HOME)  # raises, and says what is there
    return texts


_LIST = "list_attr_celeba"


def _has_identities(root: Path) -> bool:
    there = any((root / place / "identity_CelebA.txt").is_file() for place in ("Anno", "."))
    if not there:
        tell(f"{TITLE}: 'identity_CelebA.txt' is not in {root}, so that nobody is identified")
    return there


def _folder(root: Path) -> str:
    """Where the images are, with a slash at the end."""
    return next((folder for folder in _FOLDERS if (root / folder).is_dir()), _FOLDERS[-1]) + "/"


def _attributes(root: Path, lists: _Lists) -> tuple[pl.Series, list[pl.Series]]:
    path = lists.find(root, "Anno", _LIST)
    lines, fields, count = lists.read(path, ATTRIBUTES)
    images = fields["image"]
    lines.require(images.str.contains(f"^{_IMAGE}$"), "an image as 000001.jpg", images)
    lines.distinct(images, "image")
    check_count(path, count, len(lines), int(lines.number[-1]) if len(lines) else 2)
    codes = {"1": 1, "-1": 0}
    return images, [
        lines.codes(fields[name], codes, f"a code of {name}", pl.Int8).alias(f"attributes.{name}")
        for name in ATTRIBUTES
    ]


def _identities(root: Path, images: pl.Series) -> pl.Series:
    lines = read_lines(find_file(root, ["Anno/identity_CelebA.txt", "identity_CelebA.txt"], TITLE, HOME))
    lines.require_end()
    fields = lines.match(rf"(?<image>{_IMAGE})\s+(?<person>[0-9]+)", "an image and a person's number")
    people = lines.integers(fields["person"], "a person's number", low=1)
    return people.gather(positions(lines, fields["image"], images))


def _official(root: Path, images: pl.Series, lists: _Lists) -> pl.Series:
    path = lists.find(root, "Eval", "list_eval_partition")
    if lists.ending == "csv":
        lines, fields, _ = lists.read(path, ["partition"])
        fields = fields.rename({"partition": "part"})
    else:
        lines = read_lines(path)
        fields = lines.match(rf"(?<image>{_IMAGE})\s+(?<part>\S+)", "an image and a part (0, 1 or 2)")
    parts = {"0": "train", "1": "val", "2": "test"}
    codes = lines.codes(fields["part"], parts, "a part of the split", pl.String)
    return codes.gather(positions(lines, fields["image"], images)).alias("split")


def _landmarks(root: Path, images: pl.Series, lists: _Lists) -> pl.Series:
    path = lists.find(root, "Anno", "list_landmarks_align_celeba")
    lines, fields, count = lists.read(path, POINTS)
    lines.require_end()
    points = [lines.integers(fields[name], name, low=-1000, high=1000).cast(pl.Float32) for name in POINTS]
    check_count(path, count, len(lines), int(lines.number[-1]) if len(lines) else 2)
    at = positions(lines, fields["image"], images)
    return pl.DataFrame(points).select(pl.concat_list(pl.all()).alias("landmarks")).to_series().gather(at)
