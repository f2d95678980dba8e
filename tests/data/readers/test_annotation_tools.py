"""COCO json, Label Studio and CVAT: their own formats, and a manifest written to each and read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from _face_mutations import touch, truth_of, write
from PIL import Image

from concord.data.annotation_files import write_annotations
from concord.data.manifest import Manifest
from concord.data.readers import coco, cvat, label_studio
from concord.errors import (
    ConcordWarning,
    ConfigError,
    DataFormatError,
    EmptyDataError,
    MissingDataError,
    UnknownNameError,
)
from concord.tasks import MulticlassTask, MultilabelTask

MOOD = MulticlassTask("mood", ["calm", 'so "sad" & <blue>'])
UNITS = MultilabelTask("units", ["AU1", "AU2"])
PLACE = MulticlassTask("place", ["indoors", "outdoors"])


def manifest(root: Path) -> Manifest:
    for number in range(5):
        path = root / "pictures" / f"{number} é.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6 + number, 3), number, dtype=np.uint8)).save(path)
    frame = pl.DataFrame(
        {
            "path": [f"pictures/{k} é.png" for k in range(5)],
            "split": ["train", "train", "val", "test", None],
            "mood": ["calm", 'so "sad" & <blue>', None, "calm", None],
            "units.AU1": [1, None, 0, None, None],
            "units.AU2": [0, None, 1, 1, None],
            "place": ["indoors", "outdoors", None, None, None],
        }
    )
    return Manifest(frame, (MOOD, UNITS, PLACE), root, "made")


COLUMNS = ["mood", "units.AU1", "units.AU2", "place"]
READERS = {"coco": (coco, ".json"), "label-studio": (label_studio, ".json"), "cvat": (cvat, ".xml")}


@pytest.mark.parametrize("tool", READERS)
def test_a_manifest_comes_back_from_each_tool(tmp_path: Path, tool: str) -> None:
    module, ending = READERS[tool]
    made = manifest(tmp_path)
    files = write_annotations(made, tmp_path / f"export{ending}", tool)  # type: ignore[arg-type]
    assert all(file.is_file() for file in files)
    options: dict[str, Any] = {"labels": ["units"]} if tool == "label-studio" else {"task": "mood"}
    again = module.read(tmp_path, annotations=f"export{ending}", **options)
    assert truth_of(again, COLUMNS) == truth_of(made, COLUMNS)
    if tool == "cvat":
        assert truth_of(again, ["split"]) == truth_of(made, ["split"])


def test_what_cannot_be_written(tmp_path: Path) -> None:
    made = manifest(tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'coco'"):
        write_annotations(made, tmp_path / "x.json", "cocoa")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"cvat takes a \.xml file"):
        write_annotations(made, tmp_path / "x.json", "cvat")
    texts = Manifest(pl.DataFrame({"text": ["a"], "mood": ["calm"]}), (MOOD,))
    with pytest.raises(ConfigError, match="a path in every row"):
        write_annotations(texts, tmp_path / "x.json", "coco")
    filler = MulticlassTask("mood", ["unlabeled", "calm"])
    with pytest.raises(ConfigError, match="rename it"):
        write_annotations(
            Manifest(pl.DataFrame({"path": ["a.png"], "mood": ["calm"]}), (filler,), tmp_path),
            tmp_path / "x.json",
            "coco",
        )
    (tmp_path / "pictures/0 é.png").write_bytes(b"no picture")
    with pytest.raises(MissingDataError, match="found no picture"):
        write_annotations(made, tmp_path / "x.json", "coco")


# -- COCO ------------------------------------------------------------------------------------------


def coco_file(root: Path, name: str, annotations: list[dict[str, Any]]) -> Path:
    content = {
        "info": {},
        "images": [
            {"id": 7, "file_name": "a.jpg"},
            {"id": 3, "file_name": "b.jpg"},
            {"id": 4, "file_name": "c.jpg"},
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [{"id": k, "bbox": [0, 0, 1, 1], **a} for k, a in enumerate(annotations)],
    }
    return write(root / name, [json.dumps(content)])


MARKS = [
    {"image_id": 3, "category_id": 2, "attributes": {"wet": True, "coat": "short", "units.AU1": 0}},
    {"image_id": 7, "category_id": 90, "attributes": {"wet": False, "coat": "long", "units.AU1": 1}},
    {"image_id": 7, "category_id": 90, "attributes": {"wet": True}},  # disagrees with the line above
]


@pytest.mark.parametrize(
    ("name", "split", "folder"),
    [
        ("annotations/instances_train2017.json", "train", "images"),
        ("valid/_annotations.coco.json", "val", "valid"),
        ("labels.json", None, ""),
    ],
)
def test_classes_and_attributes_of_images(tmp_path: Path, name: str, split: str | None, folder: str) -> None:
    coco_file(tmp_path, name, MARKS)
    above = f"{folder}/" if folder else ""
    touch(tmp_path, [f"{above}{image}.jpg" for image in "abc"])
    found = coco.read(tmp_path)
    assert found.task("category").outputs == ("dog", "cat")
    assert truth_of(found, ["split", "category", "attributes.wet", "units.AU1", "coat"]) == {
        f"{above}a.jpg": {
            "split": split,
            "category": "dog",
            "attributes.wet": None,
            "units.AU1": 1,
            "coat": "long",
        },
        f"{above}b.jpg": {
            "split": split,
            "category": "cat",
            "attributes.wet": 1,
            "units.AU1": 0,
            "coat": "short",
        },
        f"{above}c.jpg": dict.fromkeys(["category", "attributes.wet", "units.AU1", "coat"])
        | {"split": split},
    }


def test_images_of_several_classes(tmp_path: Path) -> None:
    coco_file(
        tmp_path, "labels.json", [{"image_id": 3, "category_id": 2}, {"image_id": 3, "category_id": 90}]
    )
    touch(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    with pytest.raises(DataFormatError, match=r"one class per image .*'cat' and 'dog' for 'b\.jpg'"):
        coco.read(tmp_path)
    assert coco.read(tmp_path, several="gap").frame["category"].to_list() == [None] * 3
    labels = coco.read(tmp_path, several="labels").frame.select("path", "category.dog", "category.cat")
    assert labels.rows() == [("a.jpg", None, None), ("b.jpg", 1, 1), ("c.jpg", None, None)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"category_id": 2', '"category_id": 5'),
        ('"image_id": 3', '"image_id": 5'),
        ('"images"', '"pictures"'),
    ],
)
def test_ids_that_do_not_meet(tmp_path: Path, old: str, new: str) -> None:
    file = coco_file(tmp_path, "labels.json", MARKS)
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(
        DataFormatError, match=r"labels\.json: expected 'images', 'categories' and 'annotations'"
    ):
        coco.read(tmp_path)
    file.write_text(file.read_text()[:40])
    with pytest.raises(DataFormatError, match="expected JSON"):
        coco.read(tmp_path)


# -- Label Studio ----------------------------------------------------------------------------------


def chosen(**controls: list[str]) -> dict[str, Any]:
    results = [
        {"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": picks}}
        for name, picks in controls.items()
    ]
    return {"result": [*results, {"from_name": "box", "type": "rectanglelabels", "value": {}}]}


def studio_file(root: Path, tasks: list[tuple[str, list[dict[str, Any]]]]) -> Path:
    content = [
        {"id": k, "data": {"image": place}, "annotations": people} for k, (place, people) in enumerate(tasks)
    ]
    return write(root / "export.json", [json.dumps(content)])


def test_votes_of_several_people(tmp_path: Path) -> None:
    skipped = chosen(mood=["sad"]) | {"was_cancelled": True}
    tasks = [
        (
            "/data/upload/3/1a2b-a.jpg",
            [chosen(mood=["happy"], units=["AU1", "AU2"])] * 2 + [chosen(mood=["sad"], units=["AU1"])],
        ),
        ("/data/local-files/?d=deep/b.jpg", [chosen(mood=["sad"], units=["AU2"]), skipped]),
        ("https://host/x/c.jpg", [chosen(mood=["sad"]), chosen(mood=["happy"])]),
        ("d.jpg", []),
    ]
    studio_file(tmp_path, tasks)
    touch(tmp_path, ["1a2b-a.jpg", "deep/b.jpg", "c.jpg", "d.jpg"])
    found = label_studio.read(tmp_path)
    assert truth_of(found, ["mood", "units.AU1", "units.AU2"]) == {
        "1a2b-a.jpg": {"mood": "happy", "units.AU1": 1, "units.AU2": None},
        "deep/b.jpg": {"mood": "sad", "units.AU1": 0, "units.AU2": 1},
        "c.jpg": {"mood": None, "units.AU1": 0, "units.AU2": 0},
        "d.jpg": {"mood": None, "units.AU1": None, "units.AU2": None},
    }
    third = 1 / 3
    np.testing.assert_allclose(
        found.soft_targets()["mood"], [[2 * third, third], [0, 1], [0.5, 0.5], [np.nan] * 2], rtol=1e-6
    )


def test_a_label_that_was_left_open_and_is_chosen_now_is_an_annotation(tmp_path: Path) -> None:
    made = manifest(tmp_path)
    file = tmp_path / "export.json"
    write_annotations(made, file, "label-studio")
    tasks = json.loads(file.read_text())
    # Somebody opens the second picture, whose labels are gaps, and the third, whose AU1 is absent.
    tasks[1]["annotations"][0]["result"].append(chosen(units=["AU1"])["result"][0])
    tasks[2]["annotations"][0] = chosen(units=["AU1", "AU2"])
    file.write_text(json.dumps(tasks))
    frame = label_studio.read(tmp_path, annotations="export.json", labels=["units"]).frame
    assert frame["units.AU1"].to_list() == [1, 1, 1, None, None]
    assert frame["units.AU2"].to_list() == [0, None, 1, 1, None]


@pytest.mark.parametrize("host", ["", "http://localhost:8080", "https://label.example.org"])
def test_places_are_read_as_they_were_before_a_url_escaped_them(tmp_path: Path, host: str) -> None:
    touch(tmp_path, ["a b/1 é.png", "a b/100%.png"])
    places = ["a%20b/1%20%C3%A9.png", "a%20b/100%25.png"]
    studio_file(
        tmp_path,
        [
            (f"{host}/data/local-files/?d={place}", [chosen(mood=[name])])
            for place, name in zip(places, ("calm", "glad"), strict=True)
        ],
    )
    assert label_studio.read(tmp_path).frame["path"].to_list() == ["a b/1 é.png", "a b/100%.png"]


@pytest.mark.parametrize("tool", READERS)
def test_a_class_task_of_one_class_is_left_out_and_told(tmp_path: Path, tool: str) -> None:
    module, ending = READERS[tool]
    made = manifest(tmp_path)
    made = replace(made, frame=made.frame.with_columns(place=pl.lit("indoors")))
    write_annotations(made, tmp_path / f"export{ending}", tool)  # type: ignore[arg-type]
    options: dict[str, Any] = {"labels": ["units"]} if tool == "label-studio" else {"task": "mood"}
    with pytest.warns(ConcordWarning, match="'place' is left out: .* 'indoors'"):
        found = module.read(tmp_path, annotations=f"export{ending}", **options)
    assert {task.name for task in found.tasks} == {"mood", "units"}


def test_other_exports_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "export.json", [json.dumps([{"image": "a.jpg", "mood": "sad"}])])
    with pytest.raises(DataFormatError, match="not JSON-MIN"):
        label_studio.read(tmp_path)
    studio_file(tmp_path, [("a.jpg", [{"result": [{"type": "choices"}]}])])
    with pytest.raises(DataFormatError, match="found task 0 without"):
        label_studio.read(tmp_path)
    studio_file(tmp_path, [("a.jpg", [])])
    with pytest.raises(EmptyDataError, match="expected choices"):
        label_studio.read(tmp_path)


# -- CVAT ------------------------------------------------------------------------------------------

XML = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><project><labels><label><name>dog</name></label><label><name>cat</name></label></labels></project></meta>
<image id="0" name="a.jpg" subset="Train" width="4" height="4">
  <tag label="cat" source="manual">
    <attribute name="wet">true</attribute><attribute name="coat">short</attribute>
  </tag>
  <box label="dog" xtl="0" ytl="0" xbr="1" ybr="1"/>
</image>
<image id="1" name="b.jpg" subset="Validation">
  <box label="dog"><attribute name="coat">long</attribute></box>
</image>
<image id="2" name="c.jpg"/>
</annotations>"""


def test_tags_and_attributes(tmp_path: Path) -> None:
    write(tmp_path / "annotations.xml", [XML])
    touch(tmp_path, [f"images/{name}.jpg" for name in "abc"])
    found = cvat.read(tmp_path, task="animal")
    assert found.task("animal").outputs == ("dog", "cat")
    assert truth_of(found, ["split", "animal", "attributes.wet", "coat"]) == {
        "images/a.jpg": {"split": "train", "animal": "cat", "attributes.wet": 1, "coat": "short"},
        "images/b.jpg": {"split": "val", "animal": "dog", "attributes.wet": None, "coat": "long"},
        "images/c.jpg": {"split": None, "animal": None, "attributes.wet": None, "coat": None},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (XML[:-20], "expected XML, found"),
        (XML.replace("annotations>", "labels>"), "expected <annotations>"),
        (
            XML.replace("<annotations>", "<!DOCTYPE x [<!ENTITY a 'b'>]><annotations>"),
            "without a document type",
        ),
        (XML.replace('name="b.jpg"', ""), "expected an image with a name"),
        (XML.replace('<tag label="cat"', "<tag"), "tags with a label"),
    ],
)
def test_damaged_xml_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "annotations.xml", [text])
    with pytest.raises(DataFormatError) as info:
        cvat.read(tmp_path)
    assert str(info.value).startswith(f"{file}: ")
    assert message in str(info.value)


def test_paths_that_leave_the_root(tmp_path: Path) -> None:
    write(tmp_path / "annotations.xml", [XML.replace("a.jpg", "../a.jpg")])
    with pytest.raises(PermissionError, match="paths below"):
        cvat.read(tmp_path)
