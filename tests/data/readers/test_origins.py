"""A manifest remembers the data sets with terms of their own that its rows come from."""

from __future__ import annotations

import native_trees
import pytest
from PIL import Image

from concord.data import merge, read, read_manifest, resplit, stack, write_manifest
from concord.errors import DataFormatError


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_through_files_joins_and_splits(tmp_path, suffix):
    native_trees.make("affectnet", tmp_path / "faces")
    for name in ("cat/a.png", "dog/b.png"):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / "pictures" / name)
    faces, pictures = read("affectnet", tmp_path / "faces"), read("imagefolder", tmp_path / "pictures")
    assert (faces.origins, pictures.origins) == (("affectnet",), ())  # a format has no terms
    write_manifest(faces, tmp_path / f"faces.{suffix}")
    again = read_manifest(tmp_path / f"faces.{suffix}")
    assert again.origins == ("affectnet",)
    joined = stack([pictures, again])
    assert joined.origins == merge([pictures, again]).origins == ("affectnet",)
    assert resplit(joined.filter("path is not null"), {"train": 0.5, "test": 0.5}).origins == ("affectnet",)


def test_what_is_no_list_of_names_is_refused(tmp_path):
    native_trees.make("affectnet", tmp_path / "faces")
    write_manifest(read("affectnet", tmp_path / "faces"), tmp_path / "faces.csv")
    sidecar = tmp_path / "faces.csv.tasks.json"
    sidecar.write_text(sidecar.read_text().replace('"affectnet"', "7"))
    with pytest.raises(DataFormatError, match="origins is a list of names"):
        read_manifest(tmp_path / "faces.csv")
