"""Readers of videos and of people say which rows belong together; no reader is forgotten."""

from __future__ import annotations

import inspect
from pathlib import Path

import native_trees
import pytest
import test_gft

from concord.data import read, reader, reader_names

GROUPED = {
    "affwild2": "video",
    "bp4d": "person",
    "bp4d-plus": "person",
    "celeba": "person",
    "disfa": "person",
    "gft": "person",
    "ut-zappos50k": "shoe",
}
"""What a group is."""

ON_REQUEST = {"huggingface", "imagefolder"}
"""Readers with an option that names groups, where the user's data have some."""

ALONE = {
    "affectnet": "faces from the web, one each",
    "clothing-attributes": "photographs from the web, one each",
    "coco": "the annotation tool knows no groups",
    "cvat": "the annotation tool knows no groups",
    "cub200": "photographs of birds from the web, one each",
    "deepfashion": "the lists name no item",
    "emotionet": "faces from the web, one each",
    "fer2013": "faces from the web, one each",
    "label-studio": "the annotation tool knows no groups",
    "pack": "photographs and texts, one each",
    "raf-au": "faces from the web, one each",
    "rafdb": "faces from the web, one each",
    "shoes": "pictures of a catalogue, one each",
}
"""Readers whose data say of no row what it belongs to, and why."""


def test_each_reader_says_whether_it_has_groups() -> None:
    assert sorted([*GROUPED, *ON_REQUEST, *ALONE]) == sorted(reader_names())


@pytest.mark.filterwarnings("ignore::concord.errors.ConcordWarning")  # how a tree was read
@pytest.mark.parametrize("name", GROUPED)
def test_rows_of_a_video_or_person_have_a_group(name: str, tmp_path: Path) -> None:
    if name == "gft":
        test_gft.make(tmp_path)
    else:
        native_trees.make(name.replace("-", "_"), tmp_path)
    frame = read(name, tmp_path).frame
    assert frame["group"].null_count() == 0
    assert (
        1 < frame["group"].n_unique() < frame.height + (name == "ut-zappos50k")
    )  # one picture of each there


@pytest.mark.parametrize("name", sorted(ON_REQUEST))
def test_readers_of_anyones_folders_take_groups_from_an_option(name: str) -> None:
    assert "group" in inspect.signature(reader(name).read).parameters
