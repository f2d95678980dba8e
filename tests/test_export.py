from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from torch import nn

import concord as cc
from asserts import raises
from concord.decoding.decoders import Decoders
from concord.decoding.joint import decode_classes, decode_targets
from concord.deploy.onnx import JointDecoding, Predictor, export_onnx, random_inputs
from concord.errors import ExportError, MissingExtraError, NotFittedError, RangeError, ShapeError
from concord.networks.trunks.named import build_trunk
from concord.networks.trunks.perceptron import mlp
from training_problem import MARKS, SHAPE, WIDTH, network, relation, rows

KIND = cc.MulticlassTask("kind", ["k1", "k2", "k3", "k4"])
TASKS = (SHAPE, MARKS)


def decoder(made: cc.Relation | None = None, target: float = 0.5, classes: float = 0.75) -> cc.JointDecoder:
    out = cc.JointDecoder(made or relation())
    out.target_strength, out.class_strength = target, classes
    return out


# -- the decoding as a module ----------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**31),
    class_to_class=st.booleans(),
    target=st.sampled_from([0.1, 0.5, 1.0]),
    classes=st.sampled_from([0.1, 0.5, 1.0]),
    sharp=st.sampled_from([1.0, 8.0]),
)
def test_decoding_in_torch_is_decoding(
    seed: int, class_to_class: bool, target: float, classes: float, sharp: float
):
    rng = np.random.default_rng(seed)
    source = cc.MulticlassTask("source", range(4))
    other = (cc.MulticlassTask if class_to_class else cc.MultilabelTask)("target", range(5))
    table = rng.dirichlet(np.full(5, 0.3), 4) if class_to_class else rng.random((4, 5)).round(1)
    if class_to_class:
        table[rng.random(4) < 0.3] = np.nan
    else:
        table[rng.random((4, 5)) < 0.3] = np.nan
    made = cc.Relation(source, other, table, prior=rng.dirichlet(np.ones(4)))
    p = rng.dirichlet(np.full(4, 1 / sharp), 20)
    q = (
        rng.dirichlet(np.ones(5), 20)
        if class_to_class
        else 1 / (1 + np.exp(sharp * rng.normal(size=(20, 5))))
    )
    known = decoder(made, target, classes)
    module = JointDecoding(known)
    mass = made.known_mass(p)
    settled = (np.abs(mass - 1e-3) > 1e-6).all(axis=1)  # float32 may fall on the other side of a threshold
    x, y = torch.from_numpy(p).float(), torch.from_numpy(q).float()
    heads = {"source": x, "target": y}
    moved, _ = module(heads, heads, heads)
    np.testing.assert_allclose(moved["source"], decode_classes(p, q, made, classes), atol=2e-5)
    expected = decode_targets(p, q, made, target)
    np.testing.assert_allclose(moved["target"][settled], expected[settled], atol=2e-5)


def test_a_sparse_table_decodes_as_a_dense_one():
    thin = cc.Relation(SHAPE, KIND, sparse.csr_array(np.eye(3, 4)))
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(3), 9), rng.dirichlet(np.ones(4), 9)
    said = {"shape": torch.from_numpy(p).float(), "kind": torch.from_numpy(q).float()}
    moved, _ = JointDecoding(decoder(thin))(said, said, said)
    np.testing.assert_allclose(moved["shape"], decode_classes(p, q, thin, 0.75), atol=1e-5)
    np.testing.assert_allclose(moved["kind"], decode_targets(p, q, thin, 0.5), atol=1e-5)


def test_a_decoder_without_strengths_is_no_part_of_a_graph():
    with raises(NotFittedError, "shape->marks", "call fit"):
        JointDecoding(cc.JointDecoder(relation()))


def said_by_graph(known: Decoders) -> tuple[dict[str, torch.Tensor], dict[str, np.ndarray]]:
    """Outputs of a graph of three tasks, and the probabilities of its heads."""
    tasks = (*TASKS, KIND)
    net = cc.MultiTaskNetwork(mlp(WIDTH), tasks, torch.zeros(1, WIDTH)).eval()
    predictor = Predictor(net, tasks, known.decoders).eval()
    with torch.no_grad():
        out = dict(zip(predictor.outputs, predictor(rows(30).inputs), strict=True))
    return out, {task.name: out[f"{task.name}_probabilities"].double().numpy() for task in tasks}


def test_several_relations_move_in_turn_as_predictions_are():
    second = cc.Relation(SHAPE, KIND, np.random.default_rng(1).dirichlet(np.ones(4), 3))
    known = Decoders([relation(), second])
    known.set_strengths(
        {"shape->marks": {"target": 0.5, "class": 0.0}, "shape->kind": {"target": 0.0, "class": 1.0}}
    )
    out, said = said_by_graph(known)
    for name, expected in known.decode(said).items():
        np.testing.assert_allclose(out[f"{name}_decoded"], expected, atol=1e-5)
    torch.testing.assert_close(out["kind_decoded"], out["kind_probabilities"])


def test_along_a_chain_the_graph_tells_each_task_what_the_one_before_was_decided_to_be():
    first = cc.Relation(KIND, SHAPE, np.random.default_rng(1).dirichlet(np.ones(3), 4))
    known = Decoders([first, relation()])
    known.set_strengths(
        {"kind->shape": {"target": 0.8, "class": 0.4}, "shape->marks": {"target": 0.5, "class": 0.3}}
    )
    out, said = said_by_graph(known)
    found = known.decode(said)
    for name, expected in found.items():
        np.testing.assert_allclose(out[f"{name}_decoded"], expected, atol=1e-5)
    moved = decode_targets(said["kind"], said["shape"], first, 0.8)
    np.testing.assert_allclose(found["marks"], decode_targets(moved, said["marks"], relation(), 0.5))


# -- the file --------------------------------------------------------------------------------------


def run_file(path: Path, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {k: v.numpy() for k, v in inputs.items()}), strict=True))


def test_features_are_named_for_each_column_of_the_input(tmp_path):
    for example in (torch.zeros(1, WIDTH), torch.zeros(1, 3, 8, 8)):
        with raises(ShapeError, "2 features are named, but the input has shape (1,"):
            export_onnx(tmp_path / "m.onnx", network(), TASKS, example=example, features=["a", "b"])
    assert not list(tmp_path.iterdir())


def test_a_file_decodes_thousands_of_target_classes_as_the_decoder_does(tmp_path):
    table = np.kron(np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, np.nan]]), np.full(2500, 1 / 2500))
    known = decoder(cc.Relation(SHAPE, cc.MulticlassTask("many", range(5000)), table), 0.5, 1.0)
    tasks = (known.relation.source, known.relation.target)
    net = cc.MultiTaskNetwork(nn.Identity(), tasks, torch.zeros(1, WIDTH))
    export_onnx(tmp_path / "m.onnx", net, tasks, example=torch.zeros(1, WIDTH), decoders=[known])
    out = run_file(tmp_path / "m.onnx", {"features": rows(5).inputs})
    heads = [out[f"{task.name}_probabilities"].astype(float) for task in tasks]
    heads = [head / head.sum(axis=1, keepdims=True) for head in heads]  # float32 sums to nearly 1
    for task, expected in zip(tasks, known.decode(*heads), strict=True):
        np.testing.assert_allclose(out[f"{task.name}_decoded"], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape", "options", "inputs"),
    [
        pytest.param("builtin:mlp", (WIDTH,), {"hidden": [7, 9]}, "features", marks=pytest.mark.slow),
        ("builtin:resnet", (1, 8, 8), {"width": 8, "stages": 1}, "images"),
        pytest.param(
            "builtin:bag-of-words", None, {"width": 6, "buckets": 50}, "tokens", marks=pytest.mark.slow
        ),
    ],
)
def test_builtin_trunks_give_the_same_in_onnxruntime(
    name: str, shape: Any, options: Any, inputs: str, tmp_path: Path
):
    onnx = pytest.importorskip("onnx")
    built = build_trunk(name, shape=shape, options=options)
    net = cc.MultiTaskNetwork(built.module, TASKS, built.example)
    normalization = ([0.5], [0.25]) if inputs == "images" else None
    made = export_onnx(
        tmp_path / "new" / "model.onnx", net, TASKS,
        example=built.example, decoders=[decoder()], normalization=normalization,
    )  # fmt: skip
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.onnx"]
    assert net.training, "the network is left as it was"
    assert made.rows == 100
    assert made.difference <= 1e-5
    assert made.inputs == (inputs,)
    # Independently of the check at export: what the decoder of this package makes of other inputs.
    x = (
        built.tokenize(["a few words", "others", ""])
        if built.tokenize
        else torch.rand(5, *built.example.shape[1:])
    )
    out = run_file(made.path, {inputs: x})
    assert tuple(out) == made.outputs
    with torch.no_grad():
        logits = net.eval()(x)
    p, q = logits["shape"].double().softmax(-1).numpy(), logits["marks"].double().sigmoid().numpy()
    np.testing.assert_allclose(out["shape_probabilities"], p, atol=1e-5)
    np.testing.assert_allclose(out["marks_probabilities"], q, atol=1e-5)
    decoded_p, decoded_q = decoder().decode(p, q)
    np.testing.assert_allclose(out["shape_decoded"], decoded_p, atol=1e-5)
    np.testing.assert_allclose(out["marks_decoded"], decoded_q, atol=1e-5)
    assert np.abs(decoded_p - p).max() > 1e-3
    model = onnx.load(made.path)
    onnx.checker.check_model(model, full_check=True)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts["tasks"])[0] == {
        "name": "shape",
        "kind": "multiclass",
        "outputs": list(SHAPE.classes),
    }
    assert json.loads(facts["decoding"]) == [
        {"relation": "shape->marks", "target_strength": 0.5, "class_strength": 0.75}
    ]
    assert json.loads(facts["normalization"]) == (None if normalization is None else [[0.5], [0.25]])
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.slow
def test_texts_of_transformers_keep_their_two_inputs(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    from concord.networks.trunks.transformers import TextTrunk

    config = transformers.BertConfig(
        vocab_size=12, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = transformers.AutoModel.from_config(config)
    model.pooler = None
    example = {name: torch.ones(1, 2, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    net = cc.MultiTaskNetwork(TextTrunk(model), (SHAPE,), example)
    made = export_onnx(tmp_path / "text.onnx", net, (SHAPE,), example=example)
    assert made.inputs == ("input_ids", "attention_mask")
    assert made.outputs == ("shape_probabilities",)
    drawn = random_inputs(net, example)(50, torch.Generator().manual_seed(0))
    assert 0 <= drawn["input_ids"].min() <= drawn["input_ids"].max() < 12
    assert set(drawn["attention_mask"].unique().tolist()) == {0, 1}
    assert (drawn["attention_mask"][:, 0] == 1).all(), "no text is empty"


def test_standardised_features_are_drawn_where_they_lie():
    from concord.networks.standardize import Standardize

    layer = Standardize(torch.tensor([100.0, -5.0]), torch.tensor([10.0, 0.0]))
    drawn = random_inputs(nn.Sequential(layer), torch.zeros(1, 2))(500, torch.Generator().manual_seed(0))
    assert layer(drawn)[:, 0].std() == pytest.approx(1, abs=0.1)
    assert layer(drawn)[:, 0].mean() == pytest.approx(0, abs=0.15)
    assert layer(drawn)[:, 0].abs().max() < 6, "nothing is clipped"
    assert (layer(drawn)[:, 1] == 0).all()


# -- what goes wrong -------------------------------------------------------------------------------


class Drawn(nn.Module):
    """Features that no two runs share."""

    def forward(self, x):
        return x + torch.randn_like(x)


def test_a_file_that_computes_something_else_is_not_left(tmp_path: Path):
    net = cc.MultiTaskNetwork(Drawn(), TASKS, torch.zeros(1, WIDTH))
    (tmp_path / "model.onnx").write_text("an earlier one")
    with raises(ExportError, "onnxruntime differs from torch by", "100 random inputs", "was not written"):
        export_onnx(tmp_path / "model.onnx", net, TASKS, example=torch.zeros(1, WIDTH))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["an earlier one"]


def test_what_is_not_finite_is_no_match(tmp_path: Path):
    net = network(dropout=0.0)
    nn.init.constant_(net.heads["task_marks"].bias, torch.inf)
    nn.init.constant_(net.heads["task_shape"].bias, torch.nan)
    with raises(ExportError, "differs from torch by inf"):
        export_onnx(tmp_path / "model.onnx", net, TASKS, example=torch.zeros(1, WIDTH))
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_traced_is_one_line(tmp_path: Path):
    class Branching(nn.Module):
        def forward(self, x):
            return x if float(x.sum()) > 0 else -x

    net = cc.MultiTaskNetwork(Branching(), TASKS, torch.zeros(1, WIDTH))
    with raises(ExportError, "torch cannot export this network to ONNX"):
        export_onnx(tmp_path / "model.onnx", net, TASKS, example=torch.zeros(1, WIDTH))
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from concord.deploy import onnx as export

    example = torch.zeros(1, WIDTH)
    with raises(RangeError, "found 0"):
        export_onnx(tmp_path / "model.onnx", network(), TASKS, example=example, tolerance=0)
    (tmp_path / "file").write_text("")
    with raises(ExportError, "cannot write"):
        export_onnx(tmp_path / "file" / "model.onnx", network(), TASKS, example=example)

    class Huge:
        def SerializeToString(self):
            raise ValueError("too large")

    with raises(ExportError, "2 GiB"):
        export._serialized(Huge(), tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with raises(MissingExtraError, "pip install concord-mtl[onnx]"):
        export_onnx(tmp_path / "model.onnx", network(), TASKS, example=example)
