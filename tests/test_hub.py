from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy import sparse
from torch import nn

import concord as cc
from asserts import raises
from concord.deploy.hub import Card, TrunkRecord, from_pretrained, save_pretrained
from concord.deploy.onnx import export_onnx
from concord.errors import (
    CheckpointError,
    ConfigError,
    DuplicateNameError,
    MissingExtraError,
    NotFittedError,
    ShapeError,
    UnknownNameError,
)
from concord.fitting.loop import fit
from concord.networks.multitask import mlp_network
from concord.networks.predict import predict_logits
from concord.networks.trunks.named import build_trunk
from concord.networks.trunks.perceptron import mlp
from forging import forge
from training_problem import MARKS, SHAPE, WIDTH, network, objective, relation, rows

TASKS = (SHAPE, MARKS)
IMAGE = (1, 8, 8)
NAMED: dict[str, tuple[tuple[int, ...] | None, dict[str, Any]]] = {
    "builtin:mlp": ((WIDTH,), {"hidden": [7, 9]}),
    "builtin:resnet": (IMAGE, {"width": 8, "stages": 2}),
    "builtin:bag-of-words": (None, {"width": 6, "buckets": 50}),
}
CARD = Card(
    name="toy shapes",
    description="Shapes with marks.",
    license="apache-2.0",
    data={"toy": "cc0-1.0", "other": "", "me/toys.v2": "mit"},
    metrics={"shape": {"accuracy": 0.875}, "marks": {"map": 0.5}},
    evaluated_on="rows of the test",
)


def decoder(of: cc.Relation | None = None) -> cc.JointDecoder:
    made = cc.JointDecoder(of or relation())
    made.target_strength, made.class_strength = 0.35, 0.75
    return made


def shape_of(name: str) -> tuple[int, ...]:
    return NAMED[name][0] or ()


def saved(folder: Path, name: str = "builtin:mlp", **options: Any) -> tuple[nn.Module, Any]:
    shape, of_trunk = NAMED[name]
    built = build_trunk(name, shape=shape, options=of_trunk)
    net = cc.MultiTaskNetwork(built.module, TASKS, built.example).eval()
    record = TrunkRecord.of(built, name, shape, of_trunk)
    save_pretrained(folder, net, TASKS, example=built.example, trunk=record, **options)
    return net, built


def test_a_decoder_without_strengths_is_refused_before_anything_is_written(tmp_path: Path):
    with raises(NotFittedError, "shape->marks", "call fit"):
        saved(tmp_path / "new", decoders=[cc.JointDecoder(relation())])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", NAMED)
def test_named_trunks_come_back_with_identical_predictions(name: str, tmp_path: Path):
    net, built = saved(tmp_path, name, decoders=[decoder()], card=CARD)
    found = from_pretrained(tmp_path)
    x = built.tokenize(["a text", "another one"]) if built.tokenize else torch.rand(3, *shape_of(name))
    mine, other = predict_logits(net, x), predict_logits(found.network, x)
    assert all(torch.equal(mine[task], other[task]) for task in mine)
    assert found.tasks == TASKS
    assert not found.network.training
    assert (found.tokenize is None) == (built.tokenize is None)
    assert [(d.target_strength, d.class_strength) for d in found.decoders] == [(0.35, 0.75)]
    np.testing.assert_array_equal(found.relations[0].table, relation().table)


def test_a_trained_network_round_trips(tmp_path: Path):
    net = network()
    fit(net, objective(), rows(), steps=5)
    save_pretrained(tmp_path / "new" / "folder", net, TASKS, example=torch.zeros(1, WIDTH))
    found = from_pretrained(tmp_path / "new" / "folder", trunk=mlp(WIDTH, (16, 16)))
    x = rows(30, seed=2).inputs
    mine, other = predict_logits(net, x), predict_logits(found.network, x)
    assert all(torch.equal(mine[task], other[task]) for task in mine)
    with raises(ConfigError, "give trunk=MODULE"):
        from_pretrained(tmp_path / "new" / "folder")
    with raises(CheckpointError, "is of another network"):
        from_pretrained(tmp_path / "new" / "folder", trunk=mlp(WIDTH, (16, 17)))


def test_private_parts_need_the_whole_network(tmp_path: Path):
    net = mlp_network(WIDTH, TASKS, hidden=(8, 8), capacity="half-shared").eval()
    other = mlp_network(WIDTH, TASKS, hidden=(8, 8), capacity="half-shared")
    save_pretrained(tmp_path, net, TASKS, example=torch.zeros(1, WIDTH))
    again = from_pretrained(tmp_path, network=other)
    x = rows(9).inputs
    assert torch.equal(predict_logits(net, x)["marks"], predict_logits(again.network, x)["marks"])
    with raises(ConfigError, "without private parts"):
        save_pretrained(tmp_path, net, TASKS, example=x, trunk=TrunkRecord("builtin:mlp", (WIDTH,)))


def test_a_network_for_each_task_on_standardised_features_comes_back(tmp_path: Path):
    from concord.networks.multitask import TaskwiseNetwork
    from concord.networks.standardize import Standardize

    shape, options = NAMED["builtin:mlp"]
    built = build_trunk("builtin:mlp", shape=shape, options=options)
    nets = []
    for i in range(2):
        blank = Standardize(torch.full((WIDTH,), i + 0.5), torch.full((WIDTH,), 2.0))
        nets.append(
            cc.MultiTaskNetwork(
                nn.Sequential(blank, build_trunk("builtin:mlp", shape=shape, options=options).module),
                TASKS,
                built.example,
            )
        )
    both = TaskwiseNetwork({"shape": nets[1], "marks": nets[0]}).eval()
    record = TrunkRecord("builtin:mlp", shape, options, standardize=True)
    save_pretrained(tmp_path, both, TASKS, example=built.example, trunk=record)
    found = from_pretrained(tmp_path)
    x = rows(20).inputs
    mine, other = predict_logits(both, x), predict_logits(found.network, x)
    assert all(torch.equal(mine[task], other[task]) for task in mine)
    assert not torch.equal(predict_logits(nets[0], x)["shape"], mine["shape"])


def test_relations_come_back_cell_by_cell(tmp_path: Path):
    classes = cc.MulticlassTask("kind", ["a", "b", "c"])
    table = relation().table.copy()
    table[1, 2] = np.nan
    full = relation().replace(
        table=table,
        strength=np.full(table.shape, 3.5),
        interval=np.stack([table / 2, table]),
        prior=np.array([0.5, 0.3, 0.2]),
        base_rate=np.array([0.1, 0.2, 0.3, 0.4]),
    )
    thin = cc.Relation(SHAPE, classes, sparse.csr_array(np.eye(3)))
    net = cc.MultiTaskNetwork(mlp(WIDTH), (*TASKS, classes), torch.zeros(1, WIDTH))
    save_pretrained(
        tmp_path, net, (*TASKS, classes), example={"x": torch.zeros(1, 4, dtype=torch.int64)},
        relations=[full, thin], normalization=([0.5], [0.25]),
    )  # fmt: skip
    found = from_pretrained(tmp_path, network=net)
    for name in ("table", "strength", "interval", "prior", "base_rate"):
        np.testing.assert_array_equal(getattr(found.relations[0], name), getattr(full, name))
    assert found.relations[1].sparse
    np.testing.assert_array_equal(found.relations[1].table.toarray(), np.eye(3))
    assert found.example["x"].shape == (1, 4)
    assert found.example["x"].dtype == torch.int64
    assert found.normalization == [[0.5], [0.25]]


def test_a_text_model_brings_its_tokenizer(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    source = tmp_path / "bert"
    transformers.AutoModel.from_config(config).save_pretrained(source)
    (source / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d"]))
    transformers.BertTokenizerFast(vocab_file=str(source / "vocab.txt")).save_pretrained(source)
    name = f"hf:{source}"
    built = build_trunk(name, options={"tokens": 6})
    net = cc.MultiTaskNetwork(built.module, TASKS, built.example).eval()
    record = TrunkRecord.of(built, name, options={"tokens": 6})
    save_pretrained(tmp_path / "saved", net, TASKS, example=built.example, trunk=record)
    source.rename(tmp_path / "gone")  # nothing but the saved folder is needed
    found = from_pretrained(tmp_path / "saved")
    texts = ["a b c", "d"]
    x = built.tokenize(texts)
    y = found.tokenize(texts)
    assert torch.equal(x["input_ids"], y["input_ids"])
    mine, other = predict_logits(net, x), predict_logits(found.network, y)
    assert all(torch.equal(mine[task], other[task]) for task in mine)


# -- the model card --------------------------------------------------------------------------------


def test_the_card_states_what_a_reader_needs(tmp_path: Path):
    unknown = relation().table.copy()
    unknown[0, 0] = np.nan
    saved(tmp_path, decoders=[decoder(relation().replace(table=unknown))], card=CARD)
    text = (tmp_path / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front == {
        "library_name": "concord",
        "license": "apache-2.0",
        "tags": ["multi-task", "multiclass", "multilabel"],
        "datasets": ["me/toys.v2"],
        "metrics": ["accuracy", "map"],
    }
    for line in (
        "# toy shapes",
        "| shape | multiclass | circle, square, star |",
        "| marks | multilabel | m1, m2, m3, m4 |",
        "```\nbuiltin:mlp\n```",
        r"| shape-\>marks | 0.35 | 0.75 |",
        "| toy | cc0-1.0 |",
        "| other | not stated |",
        "On rows of the test.",
        "| shape | accuracy | 0.8750 |",
        "## Licence\n\napache-2.0",
    ):
        assert line in text
    assert f"| circle |  | {unknown[0, 1]:.3g} |" in text
    card = pytest.importorskip("huggingface_hub").ModelCard(text)
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "concord"


def test_an_empty_card_says_what_is_not_stated(tmp_path: Path):
    labels = cc.MultilabelTask("many", [f"l{i}" for i in range(200)])
    table = cc.Relation(SHAPE, labels, np.full((3, 200), 0.5))
    net = cc.MultiTaskNetwork(mlp(WIDTH), (SHAPE, labels), torch.zeros(1, WIDTH))
    save_pretrained(tmp_path, net, (SHAPE, labels), example=torch.zeros(1, WIDTH), relations=[table])
    text = (tmp_path / "README.md").read_text()
    assert "license" not in yaml.safe_load(text.split("---")[1])
    assert text.count("ot stated") == 3
    assert "3 x 200 cells" in text
    assert "trunk=YOUR_TRUNK" in text


# -- what goes wrong -------------------------------------------------------------------------------


def test_nothing_is_pickled_and_nothing_is_run(tmp_path: Path):
    class Evil:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "pwned"),))

    saved(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    (tmp_path / "model" / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    forge(tmp_path / "model", "hub")
    with raises(CheckpointError, "cannot be read as safetensors"):
        from_pretrained(tmp_path / "model")
    assert not (tmp_path / "pwned").exists()


def test_damaged_folders_are_refused_by_name(tmp_path: Path):
    def fresh(name: str) -> Path:
        saved(tmp_path / name, decoders=[decoder()])
        return tmp_path / name

    folder = fresh("truncated")
    os.truncate(folder / "model.safetensors", 200)
    with raises(CheckpointError, "model.safetensors is truncated"):
        from_pretrained(folder)
    folder = fresh("tampered")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with raises(CheckpointError, "its SHA-256 is another"):
        from_pretrained(folder)
    folder = fresh("without weights")
    (folder / "model.safetensors").unlink()
    with raises(CheckpointError, "model.safetensors is missing"):
        from_pretrained(folder)
    for values, words in (
        ({"tasks": [{"name": "shape"}]}, "is no whole config"),
        ({"decoders": [{"relation": "other"}]}, "is no whole config"),
        ({"relations": [{"source": "shape", "target": "nothing"}]}, "is no whole config"),
    ):
        folder = fresh("changed")
        forge(folder, "hub", **values)
        with raises(CheckpointError, words):
            from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with raises(CheckpointError, "config.json cannot be read"):
        from_pretrained(folder)
    (folder / "config.json").unlink()
    with raises(CheckpointError, "it has no config.json"):
        from_pretrained(folder)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with raises(CheckpointError, "cannot write the model to"):
        saved(tmp_path / "file")


def test_names_of_the_hub_are_fetched_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    saved(tmp_path / "model")
    asked: list[bool] = []

    def snapshot(name: str, *, local_files_only: bool, **_: Any) -> str:
        asked.append(local_files_only)
        if local_files_only:
            raise FileNotFoundError("not there\nat all")
        return str(tmp_path / "model")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with raises(CheckpointError, "not in the hub's cache", "not there"):
        from_pretrained("somebody/model")
    assert from_pretrained("somebody/model", download=True).tasks == TASKS
    assert asked == [True, False]
    with raises(CheckpointError, "is no folder"):
        from_pretrained(tmp_path / "nothing")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with raises(MissingExtraError, r"pip install concord-mtl[hub]"):
        from_pretrained("somebody/model")


def test_what_an_ended_save_leaves_is_called_as_it_is_written() -> None:
    from concord.archive import folders
    from concord.deploy import hub

    assert set(hub.ENDED) == {folders.STAGED, folders.SAVED}


def other_order() -> cc.Relation:
    """As `relation`, of classes in another order."""
    known = relation()
    return known.replace(source=cc.MulticlassTask(SHAPE.name, SHAPE.classes[::-1]))


def with_strength(of: cc.Relation, strength: float = 1.0) -> cc.JointDecoder:
    made = cc.JointDecoder(of)
    made.class_strength = strength
    return made


def test_relations_are_between_the_tasks_of_the_network(tmp_path: Path) -> None:
    stranger = relation().replace(source=cc.MulticlassTask("other", SHAPE.classes))
    for of, error, words in (
        (other_order(), ShapeError, "order of classes"),
        (stranger, UnknownNameError, "task in relation other->marks"),
    ):
        with raises(error, words):
            saved(tmp_path / "new", decoders=[with_strength(of)])
        with raises(error, words):
            saved(tmp_path / "new", relations=[of])
        with raises(error, words):  # the same cells, and another order of classes
            saved(tmp_path / "new", relations=[relation()], decoders=[with_strength(of)])
        with raises(error, words):
            net = network()
            export_onnx(
                tmp_path / "new.onnx", net, TASKS, example=torch.zeros(1, WIDTH), decoders=[with_strength(of)]
            )
    assert not any(tmp_path.iterdir())


def test_two_relations_of_one_pair_are_refused_and_a_copy_is_one(tmp_path: Path) -> None:
    other = relation().replace(table=1 - np.asarray(relation().table))
    with raises(DuplicateNameError, "shape->marks", "twice"):
        saved(tmp_path / "new", decoders=[with_strength(relation()), with_strength(other, 0.1)])
    assert not (tmp_path / "new").exists()
    saved(tmp_path / "new", relations=[relation()], decoders=[with_strength(relation())])
    again = from_pretrained(tmp_path / "new")
    assert len(again.relations) == 1
    np.testing.assert_array_equal(again.decoders[0].relation.table, relation().table)
