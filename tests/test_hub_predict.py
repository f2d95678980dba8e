"""`concord.from_pretrained(FOLDER).predict(INPUTS)` is `concord predict` of the exported training."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import concord as cc
from asserts import raises
from concord.cli import app
from concord.config.load import as_config
from concord.config.schema import InputPlan
from concord.data import Manifest, read_manifest, write_manifest
from concord.decoding import Decoders, Thresholds
from concord.deploy import Preprocessing, Pretrained, Service, export_folder
from concord.deploy.hub import _usage
from concord.errors import (
    AnnotationError,
    CheckpointError,
    ConfigError,
    DataFormatError,
    DuplicateNameError,
    EmptyDataError,
    MissingDataError,
    NotFiniteError,
    ShapeError,
    UnknownNameError,
)
from concord.networks import build_trunk
from concord.runs import Run, load_run, predict, predict_split, train
from concord.runs.run import save_run
from config_worlds import SIDE, WORDS, config_of, world
from forging import forge

KINDS = ("images", "arrays", "features", "columns", "texts")


class Served:
    """A training with thresholds and joint decoding, and the folder that was exported from it."""

    def __init__(self, folder: Path, kind: str, **changes: Any) -> None:
        self.data = folder
        config = config_of(
            world(folder, kind),
            validation__select="metric",
            training__steps=12,
            **changes,
        )
        self.config, run = config, train(config)
        (decoder,) = run.decoder.decoders
        decoder.target_strength, decoder.class_strength = 0.5, 0.35
        cuts = {"shape": np.array([0.5, 0.3, 0.4]), "marks": np.array([0.37, 0.61])}
        save_run(replace(run, thresholds=Thresholds("f1", cuts)))
        self.run = load_run(run.folder)
        self.model: Pretrained = cc.from_pretrained(export_folder(self.run, folder / "hub"))
        self.split = predict_split(self.run, config, "train").filter(source="classed")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Served] = {}

    def of(kind: str) -> Served:
        if kind not in made:
            made[kind] = Served(tmp_path_factory.mktemp(kind), kind)
        return made[kind]

    return of


def rows_of(served: Served, kind: str) -> list[Any]:
    """The training rows of the first source, in every form that the kind may be given in."""
    manifest = read_manifest(served.data / "classed.parquet").filter(pl.col("split") == "train")
    frame = manifest.frame
    if kind == "texts":
        texts = frame["text"].to_list()
        return [texts, tuple(texts), np.array(texts), frame["text"], frame.select("text"), {"text": texts}]
    if kind == "columns":
        return [frame, {name: frame[name].to_list() for name in ("one", "size", "two", "word")}]
    rows = frame["row"].to_numpy() if "row" in frame.columns else None
    if kind == "features":
        x = np.load(served.data / "features0.npz")["x"][rows]
        return [x, x.tolist(), torch.from_numpy(x), pl.DataFrame(x)]
    if kind == "arrays":
        x = np.load(served.data / "pixels0.npy")[rows]
        return [x, torch.from_numpy(x), np.repeat(x[..., None], 3, axis=3)]
    paths = [served.data / path for path in frame["path"]]
    pictures = [Image.open(path) for path in paths]
    arrays = [np.asarray(picture.convert("RGB")) for picture in pictures]
    return [
        paths,
        [str(path) for path in paths],
        pictures,
        arrays,
        np.stack(arrays),
        [np.asarray(picture) for picture in pictures],
        [path.read_bytes() for path in paths],
        {"path": [str(path) for path in paths]},
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_the_rows_is_predicted_as_the_run_does(kind: str, served: Any) -> None:
    here = served(kind)
    expected = here.split
    for given in rows_of(here, kind):
        found = here.model.predict_proba(given, batch_size=7)
        for task in here.run.tasks:
            joint = expected.select(f"{task.name}.joint.{name}" for name in task.outputs).to_numpy()
            np.testing.assert_allclose(found[task.name], joint, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_classes_come_by_name_and_labels_in_their_order(kind: str, served: Any) -> None:
    here = served(kind)
    decided = here.model.predict(rows_of(here, kind)[0])
    assert decided["shape"].tolist() == here.split["shape.joint"].to_list()
    names = np.asarray(here.run.tasks[1].outputs, dtype=object)
    labels = [";".join(names[row == 1]) for row in decided["marks"]]
    assert labels == here.split["marks.joint"].to_list()


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_is_that_of_the_command(kind: str, served: Any) -> None:
    here = served(kind)
    given = rows_of(here, kind)[0]
    found = here.model.predict_frame(given)
    expected = here.split.drop("source")
    assert [c for c in found.columns if "." in c] == [c for c in expected.columns if "." in c]
    for name in (c for c in expected.columns if "." in c):
        if expected[name].dtype == pl.String:
            assert found[name].to_list() == expected[name].to_list()
        else:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


@pytest.mark.parametrize("kind", ["images", "features"])
def test_the_command_predicts_by_an_exported_folder_as_by_the_training(
    kind: str, served: Any, tmp_path: Path
) -> None:
    here = served(kind)
    if kind == "images":
        given = [str(path) for path in sorted((here.data / "images0").iterdir())[:5]]
    else:
        given = [str(here.data / "features0.npz")]
    for name, folder in (("run", here.run.folder), ("hub", here.data / "hub")):
        called = CliRunner().invoke(
            app, ["predict", str(folder), *given, "--to", str(tmp_path / f"{name}.csv")]
        )
        assert called.exit_code == 0, called.output
    one, other = (pl.read_csv(tmp_path / f"{name}.csv") for name in ("run", "hub"))
    assert one.columns == other.columns
    for name in one.columns:
        if one[name].dtype == pl.Float64:
            np.testing.assert_allclose(other[name], one[name], atol=1e-6)
        else:
            assert other[name].to_list() == one[name].to_list()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "name the files"),
        (["x.npy", "--features", "y.npz"], "leave out"),
        (["x.npy", "--set", "a=1"], "leave out"),
    ],
)
def test_what_an_exported_folder_cannot_say_is_refused(served: Any, more: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        CliRunner().invoke(
            app, ["predict", str(served("features").data / "hub"), *more], catch_exceptions=False
        )


def test_thresholds_and_joint_decoding_have_a_say(served: Any) -> None:
    here = served("features")
    x = rows_of(here, "features")[0]
    frame = here.model.predict_frame(x)
    assert np.abs(frame["marks.joint.m1"] - frame["marks.head.m1"]).max() > 1e-3
    cut = here.run.thresholds.values["marks"]
    decided = frame.select(pl.col("^marks\\.joint\\.m\\d$")).to_numpy() >= cut
    np.testing.assert_array_equal(here.model.predict(x)["marks"], decided)
    assert (decided != (frame.select(pl.col("^marks\\.joint\\.m\\d$")).to_numpy() >= 0.5)).any()


def test_one_picture_a_folder_and_a_manifest(served: Any, tmp_path: Path) -> None:
    here = served("images")
    folder = here.data / "images0"
    path = folder / "007.png"
    one = here.model.predict_proba(path)["shape"]
    assert one.shape == (1, 3)
    for same in (str(path), Image.open(path), np.asarray(Image.open(path)), path.read_bytes()):
        np.testing.assert_array_equal(here.model.predict_proba(same)["shape"], one)
    whole = here.model.predict_frame(folder)
    assert whole["path"].to_list() == sorted(p.name for p in folder.iterdir())
    expected = predict(here.run, folder)
    np.testing.assert_allclose(whole["shape.joint.star"], expected["shape.joint.star"], atol=1e-6)
    manifest = here.model.predict_frame(here.data / "classed.parquet")
    assert manifest["path"].to_list() == [f"images0/{name}" for name in whole["path"]]
    shown = here.model.predict_frame({"path": [str(path)]})
    assert shown["path"].to_list() == [path.as_posix()]


def test_files_of_features_and_of_columns(served: Any, tmp_path: Path) -> None:
    features = served("features")
    x = rows_of(features, "features")[0]
    np.save(tmp_path / "x.npy", x)
    for same in (tmp_path / "x.npy", str(tmp_path / "x.npy")):
        np.testing.assert_array_equal(
            features.model.predict_proba(same)["shape"], features.model.predict_proba(x)["shape"]
        )
    columns = served("columns")
    assert columns.model.predict_frame(columns.data / "classed.parquet").height == 60
    texts = served("texts")
    assert texts.model.predict_frame(texts.data / "classed.parquet").height == 60
    assert texts.model.predict("a round thing m1")["marks"].shape == (1, 2)


def test_tables_of_pandas(served: Any) -> None:
    pd = pytest.importorskip("pandas")
    here = served("columns")
    plain = rows_of(here, "columns")[1]
    np.testing.assert_array_equal(
        here.model.predict_proba(pd.DataFrame(plain))["marks"], here.model.predict_proba(plain)["marks"]
    )
    texts = rows_of(served("texts"), "texts")[0]
    model = served("texts").model
    assert model.predict(pd.Series(texts))["shape"].tolist() == model.predict(texts)["shape"].tolist()


def test_a_table_of_features_keeps_the_columns_of_the_training(tmp_path: Path) -> None:
    values = world(tmp_path, "features")
    for seed, name in enumerate(("classed", "labelled")):
        x = np.load(tmp_path / f"features{seed}.npz")["x"]
        frame = pl.DataFrame(x, schema=[f"f{i}" for i in range(6)])
        frame = frame.with_columns(word=pl.Series([WORDS[int(v) % 3] for v in x[:, 0]]))
        frame.write_parquet(tmp_path / f"features{seed}.parquet")
        values["sources"][name]["inputs"] = {"kind": "features", "file": f"features{seed}.parquet"}
    run = train(config_of(values))
    model = cc.from_pretrained(export_folder(run, tmp_path / "hub"))
    table = pl.read_parquet(tmp_path / "features0.parquet")
    found = model.predict_frame(table[::-1].select(reversed(table.columns)))[::-1]
    manifest = read_manifest(tmp_path / "classed.parquet")
    expected = predict(run, tmp_path / "classed.parquet", source="classed")
    assert len(manifest) == found.height
    np.testing.assert_allclose(found["shape.joint.star"], expected["shape.joint.star"], atol=1e-6)
    np.testing.assert_allclose(
        model.predict_frame(tmp_path / "features0.parquet")["shape.joint.star"],
        expected["shape.joint.star"],
        atol=1e-6,
    )
    with raises(UnknownNameError, "no feature column 'word'"):
        model.predict(table.drop("word"))
    with raises(ShapeError, "columns have one length, found 1 values of 'f0' and 2 of 'f1'"):
        model.predict({"f0": [1.0], "f1": [1.0, 2.0]})
    service = Service(tmp_path / "hub")  # in company with a text, "7" was one; alone it was refused
    row = table.row(0, named=True)
    odd = [row | {"word": "7"}, row, row | {"word": None}, list(range(9))]
    alone = [service.answers([request])[0] for request in odd]
    assert ["error" in answer for answer in alone] == [True, False, False, False]
    assert [set(answer) for answer in service.answers(odd)] == [set(answer) for answer in alone]


def test_names_are_refused_where_the_training_had_none(served: Any, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    here = served("features")
    x = np.load(here.data / "features0.npz")["x"]
    named = pl.DataFrame(x, schema=[f"f{i}" for i in range(6)])
    named.write_parquet(tmp_path / "named.parquet")
    named.write_csv(tmp_path / "named.csv")
    for table in (named, named.to_pandas(), named.to_dict(), pd.DataFrame(x)[[5, 4, 3, 2, 1, 0]],
                  tmp_path / "named.parquet", tmp_path / "named.csv"):  # fmt: skip
        with raises(ConfigError, "this model was trained on an array", "give an array (n, width)"):
            here.model.predict(table)
    expected = here.model.predict_proba(x)["shape"]
    np.testing.assert_array_equal(here.model.predict_proba(pd.DataFrame(x))["shape"], expected)
    manifest = here.data / "classed.parquet"
    with raises(ConfigError, "this model was trained on an array"):
        predict(here.run, manifest, features=tmp_path / "named.parquet")


def test_a_feature_is_called_what_it_is_called(served: Any, tmp_path: Path) -> None:
    folder = tmp_path / "renamed"
    shutil.copytree(served("columns").model.folder, folder)
    known = json.loads((folder / "config.json").read_text())["preprocessing"]
    names = {"size": "row", "word": "text", "one": "split", "two": "group"}
    vocabulary = {names[name]: values for name, values in known["vocabulary"].items()}
    forge(folder, "hub", preprocessing=known | {"vocabulary": vocabulary})
    given = rows_of(served("columns"), "columns")[1]
    renamed = {names[name]: values for name, values in given.items()}
    expected = served("columns").model.predict_frame(given)
    found = cc.from_pretrained(folder).predict_frame(renamed)
    assert found.columns == expected.columns
    np.testing.assert_array_equal(found["shape.joint.star"], expected["shape.joint.star"])


def test_inputs_go_the_way_of_their_kind(served: Any, tmp_path: Path) -> None:
    """Images and arrays feed one network; the arrays come first, and are inverted."""
    images, folder = served("images").model, tmp_path / "both"
    shutil.copytree(images.folder, folder)
    plans = {
        "pixels": {"kind": "arrays", "size": SIDE, "white": 255.0, "key": "x", "invert": True},
        "photos": {"kind": "images", "size": SIDE, "fit": "crop"},
    }
    forge(folder, "hub", preprocessing={"inputs": plans, "vocabulary": {}, "columns": None})
    both = cc.from_pretrained(folder)
    path = served("images").data / "images0" / "007.png"
    picture = Image.open(path)
    grey, colours = np.asarray(picture), np.asarray(picture.convert("RGB"))
    expected = images.predict_proba(path)["shape"]
    for given in (path, [picture], path.read_bytes(), {"path": [str(path)]}, picture):
        np.testing.assert_array_equal(both.predict_proba(given)["shape"], expected)
    np.testing.assert_array_equal(both.predict_proba([colours], source="photos")["shape"], expected)
    for given in (grey, colours, colours[None], [grey]):
        with raises(ConfigError, "several kinds of inputs", "'pixels' (arrays) or 'photos' (images)"):
            both.predict(given)
    with raises(EmptyDataError, "the list is empty"):
        both.predict([])
    inverted = both.predict_proba(grey[None], source="pixels")["shape"]
    np.testing.assert_array_equal(both.predict_proba(torch.from_numpy(grey[None].copy()))["shape"], inverted)
    assert np.abs(inverted - expected).max() > 1e-4
    usage = _usage(None, both.preprocessing)
    assert ".predict(photos, source='pixels')" in usage
    run = replace(served("images").run, inputs=both.preprocessing.inputs)
    found = predict(run, served("images").data / "classed.parquet")  # a manifest with paths, and no rows
    np.testing.assert_allclose(found["shape.joint.star"][7], expected[0, 2], atol=1e-6)


def boxed(folder: Path, **options: Any) -> Run:
    """An untrained run of images that a table cuts out."""
    inputs = {"kind": "images", "size": 8, "region": "box", "margin": 0.1, **options}
    shape = (3, 8, 8)
    built = build_trunk("builtin:resnet", shape=shape, options={"width": 8, "stages": 1})
    task = cc.MulticlassTask("grade", [3, 1, 2])
    made = Run(
        folder=folder,
        config=as_config(
            {
                "output": str(folder),
                "sources": {"faces": {"manifest": "faces.parquet", "inputs": inputs}},
                "trunk": {"name": "builtin:resnet", "options": {"width": 8, "stages": 1}},
                "training": {"accelerator": "cpu"},
            },
            "config",
        ),
        network=cc.MultiTaskNetwork(built.module, (task,), built.example).eval(),
        tasks=(task,),
        relations=(),
        decoder=Decoders([]),
        example_input=built.example,
        inputs={"faces": InputPlan.model_validate(inputs)},
        shape=shape,
        trunk=built.resolved,
    )
    save_run(made)
    return made


def test_boxes_come_with_a_table_and_numbers_come_back_as_numbers(tmp_path: Path) -> None:
    run = boxed(tmp_path / "run")
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    table = pl.DataFrame(
        {
            "path": [f"{i}.png" for i in range(4)],
            "box_x": [1.0, 5, 9, 20],
            "box_y": [2.0, 2, 8, 5],
            "box_width": [20.0, 11, 12, 9],
            "box_height": [12.0, 12, 14, 30],
        }
    )
    table.write_csv(tmp_path / "faces.csv")
    write_manifest(Manifest(table, (), tmp_path, "faces"), tmp_path / "faces.parquet")
    model = cc.from_pretrained(export_folder(run, tmp_path / "hub"))
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "photos = ...  # a table with the columns path, box_x, box_y, box_width, box_height" in card
    expected = predict(run, tmp_path / "faces.parquet")
    absolute = table.with_columns(path=pl.Series([str(tmp_path / p) for p in table["path"]]))
    np.testing.assert_allclose(
        model.predict_proba(absolute)["grade"],
        expected.select("grade.joint.3", "grade.joint.1", "grade.joint.2"),
        atol=1e-6,
    )
    plain = model.predict_frame(tmp_path / "faces.csv")  # says no root: that of the file
    np.testing.assert_allclose(plain["grade.joint.3"], expected["grade.joint.3"], atol=1e-6)
    predicted = model.predict(absolute)["grade"]
    assert predicted.dtype.kind == "i"
    assert list(map(str, predicted.tolist())) == expected["grade.joint"].to_list()
    with raises(ConfigError, "give a table with the columns path, box_x, box_y"):
        model.predict(np.zeros((9, 9, 3), np.uint8))
    with raises(UnknownNameError, "the column 'box_x' is missing; the table has path"):
        model.predict({"path": [str(tmp_path / "0.png")]})


def test_upright_transparent_and_odd_pictures_are_what_their_files_are(served: Any, tmp_path: Path) -> None:
    model = served("images").model
    rng = np.random.default_rng(1)
    colours = Image.fromarray(rng.integers(0, 255, (9, 17, 4), dtype=np.uint8), "RGBA")
    colours.save(tmp_path / "a.png")
    turned = Image.new("RGB", (20, 10), (9, 99, 200))
    turned.paste((200, 0, 0), (0, 0, 5, 10))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "b.jpg", exif=exif)
    for name in ("a.png", "b.jpg"):
        of_file = model.predict_proba(tmp_path / name)["shape"]
        np.testing.assert_array_equal(model.predict_proba(Image.open(tmp_path / name))["shape"], of_file)
        content = (tmp_path / name).read_bytes()
        np.testing.assert_array_equal(model.predict_proba(bytearray(content))["shape"], of_file)
    np.testing.assert_array_equal(
        model.predict_proba(np.asarray(colours))["shape"], model.predict_proba(tmp_path / "a.png")["shape"]
    )


# -- a network of one's own -----------------------------------------------------------------------------


def test_a_network_of_ones_own_brings_its_preprocessing(tmp_path: Path) -> None:
    task = cc.MulticlassTask("kind", ["cat", "dog"])
    trunk = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16, 5))
    network = cc.MultiTaskNetwork(trunk, [task], torch.zeros(1, 3, 4, 4)).eval()
    by = ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    how = Preprocessing.of("images", size=4, fit="stretch")
    cc.save_pretrained(
        tmp_path / "m", network, [task], example=torch.zeros(1, 3, 4, 4), normalization=by, preprocessing=how
    )
    model = cc.from_pretrained(
        tmp_path / "m", trunk=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5))
    )
    x = np.random.default_rng(0).integers(0, 255, (5, 4, 4, 3), dtype=np.uint8)
    ours = (torch.from_numpy(x).permute(0, 3, 1, 2) / 255 - torch.tensor(by[0]).view(3, 1, 1)) / torch.tensor(
        by[1]
    ).view(3, 1, 1)
    with torch.no_grad():
        expected = network(ours)["kind"].double().softmax(-1).numpy()
    np.testing.assert_allclose(model.predict_proba(x)["kind"], expected, atol=1e-6)
    for wrong, words in (
        ({"preprocessing": how}, "images need normalization=(mean, deviation)"),
        ({"preprocessing": how, "normalization": (by[0], (0.1, 0.0, 0.1))}, "deviations above 0"),
        (
            {"preprocessing": Preprocessing.of("images", size=5), "normalization": by},
            "inputs of shape (3, 5, 5), the network takes inputs of shape (3, 4, 4)",
        ),
        ({"preprocessing": Preprocessing.of("texts")}, "texts need a named trunk, trunk=TrunkRecord"),
    ):
        with raises(ConfigError, words):
            cc.save_pretrained(tmp_path / "n", network, [task], example=torch.zeros(1, 3, 4, 4), **wrong)
    assert not (tmp_path / "n").exists()
    with raises(ConfigError, "preprocessing.inputs.margins"):
        Preprocessing.of("images", margins=3)
    with raises(ConfigError, "kind"):
        Preprocessing.of("sounds")
    with raises(ConfigError, "Preprocessing.of('features', columns="):
        Preprocessing.of("columns")
    with raises(ConfigError, "columns are of kind features"):
        Preprocessing.of("images", columns={"a": None})
    with raises(ConfigError, "preprocessing.columns"):
        Preprocessing.of("features", columns={"a": "b"})


def test_a_network_of_ones_own_takes_tables_by_name(tmp_path: Path) -> None:
    task = cc.MulticlassTask("kind", ["cat", "dog"])
    network = cc.MultiTaskNetwork(torch.nn.Linear(3, 4), [task], torch.zeros(1, 3)).eval()
    how = Preprocessing.of("features", columns={"age": None, "word": ["no", "yes"]})
    cc.save_pretrained(tmp_path, network, [task], example=torch.zeros(1, 3), preprocessing=how)
    model = cc.from_pretrained(tmp_path, trunk=torch.nn.Linear(3, 4))
    found = model.predict_proba({"word": ["yes", "no"], "age": [3, 4]})["kind"]
    with torch.no_grad():
        logits = network(torch.tensor([[3.0, 0, 1], [4, 1, 0]]))["kind"]
    np.testing.assert_allclose(found, logits.double().softmax(-1), atol=1e-6)


def test_texts_find_their_tokenizer_with_a_network_of_ones_own(served: Any) -> None:
    here = served("texts").model
    texts = ["a round thing m1", "a boxy thing"]
    expected = here.predict_proba(texts)["shape"]
    own = cc.from_pretrained(here.folder, network=here.network)
    np.testing.assert_array_equal(own.predict_proba(texts)["shape"], expected)
    built = build_trunk("builtin:bag-of-words", options={"buckets": 512, "width": 16})
    own = cc.from_pretrained(here.folder, trunk=built.module)
    np.testing.assert_array_equal(own.predict_proba(texts)["shape"], expected)


# -- what goes wrong -------------------------------------------------------------------------------------


def test_what_the_model_does_not_take_is_said(served: Any, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    images, features, texts = served("images").model, served("features").model, served("texts").model
    with raises(ConfigError, "this model takes images: paths", "found int"):
        images.predict(3)
    with raises(ShapeError, "(height, width, 3) or (height, width) of uint8", "float64"):
        images.predict(np.zeros((4, 4, 3)))
    with raises(MissingDataError, "nothing.png"):
        images.predict(tmp_path / "nothing.png")
    with raises(MissingDataError, "nothing.png"):
        images.predict({"path": [str(tmp_path / "nothing.png")]})
    with raises(DataFormatError, "picture 1", "no image of"):
        images.predict([(served("images").data / "images0" / "000.png").read_bytes(), b"%!PS-Adobe-3.0 EPSF"])
    with raises(EmptyDataError, "the list is empty"):
        images.predict([])
    with raises(UnknownNameError, "unknown source 'other'"):
        images.predict(np.zeros((4, 4, 3), np.uint8), source="other")
    with raises(ShapeError, "(6)", "(5)"):
        features.predict(np.zeros((2, 5)))
    with raises(NotFiniteError, "row 1"):
        features.predict([[0.0] * 6, [0.0] * 5 + [np.nan]])
    with raises(ConfigError, "this model takes texts"):
        texts.predict(3.5)
    for one in ("a round thing", b"bytes", {"a": 1}, 3, None, {"a", "b"}):
        with raises(DataFormatError, "a column is a list of values, found"):
            texts.predict({"text": one})
    with raises(DataFormatError, "row 1 holds text that UTF-8 cannot write"):
        texts.predict(["a", "\ud800"])
    for table in ({"text": ["a", "\udc80"]}, {"\udc80": ["a"]}):
        with raises(DataFormatError, "UTF-8 cannot write"):
            texts.predict(table)
    with raises(ShapeError, "texts are strings", "row 1"):
        texts.predict(["a", None])
    with raises(AnnotationError, "column 'text' holds text, found Float64"):
        texts.predict({"text": [1, 2]})
    with raises(DataFormatError, "paths are text"):
        images.predict({"path": [["a.png"]]})
    with raises(ConfigError, "a list of one kind", "PosixPath, ndarray"):
        images.predict([np.zeros((4, 4), np.uint8), Path("a.png")])
    with raises(DuplicateNameError, "column 'a' occurs twice"):
        features.predict(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    for nothing in (np.zeros((0, 6)), pl.DataFrame(np.zeros((0, 6))), {"0": []}, torch.zeros(0, 6)):
        with raises(EmptyDataError, "nothing to predict"):
            features.predict(nothing)
    for nothing in (np.zeros((0, 4, 4, 3), np.uint8), {"path": []}):
        with raises(EmptyDataError, "nothing to predict"):
            images.predict(nothing)
    with raises(EmptyDataError, "nothing to predict"):
        texts.predict(np.array([], dtype=str))
    for other in (None, (row for row in [[0.0] * 6]), 3, {1, 2}, b"x"):
        with raises(ConfigError, "this model takes features", "found"):
            features.predict(other)
    with raises(UnknownNameError, "way with images that cannot be read", "'bogus'"):
        features.predict_frame(np.zeros((1, 6)), on_error="bogus")
    arrays = served("arrays").model
    for size in (3, 4):
        with raises(ShapeError, "one picture in colours", "x[None]", "x[..., None]"):
            arrays.predict(np.zeros((9, 12, size), np.uint8))
    assert len(arrays.predict(np.zeros((1, 9, 12, 3), np.uint8))["shape"]) == 1
    assert len(arrays.predict(np.zeros((2, 9, 3, 1), np.uint8))["shape"]) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux alone")
def test_a_file_whose_name_is_no_text_is_named(served: Any, tmp_path: Path) -> None:
    odd = tmp_path / "half\udc80.png"
    shutil.copy(served("images").data / "images0" / "000.png", odd)
    for given in (odd, tmp_path, [odd, odd]):
        with raises(DataFormatError, "half\\udc80.png", "rename it"):
            served("images").model.predict(given)


def test_pictures_that_cannot_be_read_are_skipped_where_asked(served: Any, tmp_path: Path) -> None:
    model = served("images").model
    (tmp_path / "bad.png").write_bytes(b"no picture")
    shutil.copy(served("images").data / "images0" / "000.png", tmp_path / "good.png")
    with raises(DataFormatError, "bad.png"):
        model.predict(tmp_path)
    with pytest.warns(UserWarning, match="bad.png"):
        assert model.predict_frame(tmp_path, on_error="skip")["path"].to_list() == ["good.png"]


def test_a_folder_of_an_earlier_version_says_what_to_do(served: Any, tmp_path: Path) -> None:
    shutil.copytree(served("features").model.folder, tmp_path / "old")
    forge(tmp_path / "old", "hub", preprocessing=...)
    model = cc.from_pretrained(tmp_path / "old")
    with raises(CheckpointError, str(tmp_path / "old"), "concord export RUN --hub", "model.network"):
        model.predict(np.zeros((1, 6)))
    assert set(model.network(torch.zeros(1, 6))) == {"shape", "marks"}


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("features", {"inputs": {}}, "one source at least"),
        ("features", {"inputs": []}, "one source at least"),
        ("features", {"inputs": {"a": 3}}, "a mapping is needed"),
        ("features", {"inputs": {"a": {"kind": "python", "key": "os"}}}, "kind"),
        ("features", {"inputs": {"a": {"kind": "features", "code": "import os"}}}, "code"),
        ("features", {"columns": {"a": "b"}}, "preprocessing.columns"),
        ("features", {"columns": {"a": 10**9}}, "the network takes inputs of shape (6,)"),
        ("features", {"more": 1}, "nothing else"),
        ("columns", {"vocabulary": {"size": None}}, "it makes inputs of shape (1,)"),
        ("columns", {"vocabulary": {}}, "needs one"),
        ("columns", {"vocabulary": 7}, "preprocessing.vocabulary"),
        ("images", {"inputs": {"a": {"kind": "images", "size": 2**30}}}, "it makes inputs of shape"),
        ("images", {"inputs": {"a": {"kind": "images", "size": -1}}}, "inputs.size"),
        ("images", {"inputs": {"a": {"kind": "texts"}}}, "no tokenizer"),
        ("images", None, "preprocessing has inputs, vocabulary and columns"),
    ],
)
def test_a_preprocessing_that_says_something_else_is_refused_by_name(
    kind: str, change: Any, words: str, served: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "forged"
    shutil.copytree(served(kind).model.folder, folder)
    known = json.loads((folder / "config.json").read_text())["preprocessing"]
    forge(folder, "hub", preprocessing=0 if change is None else known | change)
    with raises(CheckpointError, "config.json is no whole config", words):
        cc.from_pretrained(folder)


@pytest.mark.parametrize("by", [[[0.5] * 3, [0.2, 0.2, 0.0]], [[0.5] * 3], [["a"] * 3, [1.0] * 3], "none"])
def test_a_normalization_that_is_none_is_refused(by: Any, served: Any, tmp_path: Path) -> None:
    folder = tmp_path / "forged"
    shutil.copytree(served("images").model.folder, folder)
    forge(folder, "hub", normalization=by)
    with raises(CheckpointError, "images need normalization"):
        cc.from_pretrained(folder)


def test_a_preprocessing_that_was_edited_is_seen_by_the_digest(served: Any, tmp_path: Path) -> None:
    folder = tmp_path / "edited"
    shutil.copytree(served("images").model.folder, folder)
    path = folder / "config.json"
    text = path.read_text()
    assert f'"size": {SIDE}' in text
    path.write_text(text.replace('"fit": "pad"', '"fit": "crop"'))
    with raises(CheckpointError, "config.json was changed after it was written"):
        cc.from_pretrained(folder)


def test_the_folder_names_no_file_of_the_training(served: Any) -> None:
    for kind in KINDS:
        here = served(kind)
        text = (here.model.folder / "config.json").read_text()
        assert str(here.data) not in text
        assert "features0" not in text
        assert "pixels0" not in text


def test_the_card_says_in_one_line_how_to_predict(served: Any) -> None:
    for kind in KINDS:
        text = (served(kind).model.folder / "README.md").read_text()
        assert 'concord.from_pretrained("FOLDER").predict(' in text


def test_reading_bytes_does_not_open_other_formats(served: Any) -> None:
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "EPS")
    with raises(DataFormatError, "picture 0"):
        served("images").model.predict(buffer.getvalue())
