"""Folders and Parquet files of the library `datasets`."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from concord.data.paths import DataRoot
from concord.data.readers import huggingface
from concord.errors import DataFormatError, MissingDataError, NoAnnotationError, UnknownNameError

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

# Names that are other classes' codes: a code must never be taken for a name.
NAMES = ["2", "1", "0"]
UNITS = ["AU1", "AU2"]
ROWS = {"train": [0, 1, 2, -1], "validation": [2, None, 1], "test": [0]}
SPLITS = {"train": "train", "validation": "val", "test": "test"}


def picture(split: str, row: int) -> bytes:
    out = io.BytesIO()
    pixels = np.full((3, 4, 3), (len(split) * 7 + row * 31) % 256, dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG" if row % 2 else "JPEG")
    return out.getvalue()


def units(row: int) -> list[int] | None:
    return [[0], [0, 1], [], None][row % 4]


def table(split: str) -> Any:
    codes = ROWS[split]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "mood": datasets.ClassLabel(names=NAMES),
            "units": datasets.Sequence(datasets.ClassLabel(names=UNITS)),
            "person": datasets.Value("int64"),
            "place": datasets.Value("string"),
        }
    )
    content = {
        "image": [{"bytes": picture(split, row), "path": None} for row in range(len(codes))],
        "mood": codes,
        "units": [units(row) for row in range(len(codes))],
        "person": list(range(len(codes))),
        "place": ["in" if row % 2 else "out" for row in range(len(codes))],
    }
    return datasets.Dataset.from_dict(content, features=features)


def saved(root: Path) -> None:
    datasets.DatasetDict({split: table(split) for split in ROWS}).save_to_disk(str(root))


def parquet(root: Path) -> None:
    (root / "data").mkdir(parents=True)
    for split in ROWS:
        table(split).to_parquet(str(root / f"data/{split}-00000-of-00001.parquet"))


@pytest.mark.parametrize("write", [saved, parquet])
def test_every_row_is_what_the_library_says(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "set")
    manifest = huggingface.read(tmp_path / "set", cache=tmp_path / "cache", classes=["place"], group="person")
    assert manifest.task("mood").outputs == tuple(NAMES)
    assert manifest.task("place").outputs == ("in", "out")
    root = DataRoot(manifest.root)
    frame = manifest.frame
    for split, codes in ROWS.items():
        part = frame.filter(frame["split"] == SPLITS[split])
        assert len(part) == len(codes)
        for row, values in enumerate(part.iter_rows(named=True)):
            code = codes[row]
            assert values["mood"] == (None if code in (None, -1) else NAMES[code])
            chosen = units(row)
            assert [values["units.AU1"], values["units.AU2"]] == (
                [None, None] if chosen is None else [int(0 in chosen), int(1 in chosen)]
            )
            assert values["place"] == ("in" if row % 2 else "out")
            assert values["group"] == str(row)
            assert root.open(values["path"]).read() == picture(split, row)


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    parquet(tmp_path)
    with pytest.raises(UnknownNameError, match="unknown column 'picture'"):
        huggingface.read(tmp_path, image="picture", cache=tmp_path / "cache")
    with pytest.raises(UnknownNameError, match="did you mean 'person'"):
        huggingface.read(tmp_path, group="persons", cache=tmp_path / "cache")
    bare = datasets.Dataset.from_dict({"a": ["x"]})
    bare.to_parquet(str(tmp_path / "bare.parquet"))
    for split in ROWS:
        (tmp_path / f"data/{split}-00000-of-00001.parquet").unlink()
    with pytest.raises(UnknownNameError, match="expected one column of images, found none of a"):
        huggingface.read(tmp_path, cache=tmp_path / "cache")
    table("test").remove_columns(["mood", "units"]).to_parquet(str(tmp_path / "bare.parquet"))
    with pytest.raises(NoAnnotationError, match="name class columns with classes="):
        huggingface.read(tmp_path, cache=tmp_path / "cache")


def test_minus_one_among_whole_numbers_is_no_class_in_silence(tmp_path: Path) -> None:
    parquet(tmp_path)
    marked = table("test").remove_columns("person").add_column("person", [-1])
    marked.to_parquet(str(tmp_path / "data/test-00000-of-00001.parquet"))
    with pytest.raises(DataFormatError, match="column 'person' holds -1 among classes"):
        huggingface.read(tmp_path, cache=tmp_path / "cache", classes=["person"])


def test_damaged_files_and_rows_without_pictures(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "mood": datasets.ClassLabel(names=NAMES)})
    content = {"image": [{"bytes": None, "path": "/etc/hostname"}], "mood": [0]}
    datasets.Dataset.from_dict(content, features=features).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(DataFormatError, match="picture of row 0 of split 'train' inside the table"):
        huggingface.read(tmp_path, cache=tmp_path / "cache")
    assert not any((tmp_path / "cache").iterdir())
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataFormatError, match="tables that datasets can read"):
        huggingface.read(tmp_path, cache=tmp_path / "cache")
    (tmp_path / "train.parquet").unlink()
    with pytest.raises(MissingDataError, match=r"dataset_info\.json"):
        huggingface.read(tmp_path)
