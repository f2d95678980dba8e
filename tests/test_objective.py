"""The objective: its parts, its weights, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import concord as cc
from asserts import raises
from concord import couplings
from concord.errors import (
    AnnotationError,
    DuplicateNameError,
    NotFiniteError,
    RangeError,
    ShapeError,
    UnknownNameError,
)
from concord.losses.supervised import (
    multiclass_loss,
    multilabel_loss,
    soft_multiclass_loss,
    soft_multilabel_loss,
)
from strategies import batches

NAN = float("nan")
RELATION = cc.tables.expressions()
EXPRESSION, UNITS = RELATION.source, RELATION.target
SMILE = cc.MulticlassTask("smile", ["no", "yes"])
SMILES = cc.Relation(EXPRESSION, SMILE, [[1, 0], [0, 1], *[[0.9, 0.1]] * 5])
PART = "posterior-coannotation:expression->action_units"


def objective(**options) -> cc.CoupledObjective:
    options = {"relations": [RELATION], "couplings": [couplings.PosteriorCoannotation()]} | options
    return cc.CoupledObjective([EXPRESSION, UNITS], **options)


def logits(n: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        task.name: torch.randn(n, task.width, generator=generator, requires_grad=True)
        for task in (EXPRESSION, UNITS)
    }


def targets() -> dict[str, torch.Tensor]:
    units = torch.full((4, 17), NAN)
    units[1], units[2, :5] = 0.0, 1.0
    return {"expression": torch.tensor([3, -1, -1, -1]), "action_units": units}


# What it returns ---------------------------------------------------------------------------------


def test_parts_are_the_losses_and_sum_to_the_loss():
    z, t = logits(), targets()
    soft = {
        "expression": torch.where(
            torch.tensor([[True], [False], [False], [True]]), 1 / 7, torch.full((4, 7), NAN)
        ),
        "action_units": torch.rand(4, 17),
    }
    made = objective(
        couplings=[couplings.PosteriorCoannotation(weight=0.25)],
        task_weights={"expression": 2.0},
        soft_weights={"action_units": 0.5},
    )
    result = made(z, t, soft=soft)
    relation_loss = couplings.PosteriorCoannotation()(z, t, RELATION)
    expected = {
        "expression": 2 * multiclass_loss(z["expression"], t["expression"]),
        "expression/soft": soft_multiclass_loss(z["expression"], soft["expression"]),
        "action_units": multilabel_loss(z["action_units"], t["action_units"]),
        "action_units/soft": 0.5 * soft_multilabel_loss(z["action_units"], soft["action_units"]),
        PART: 0.25 * relation_loss,
    }
    assert result.parts.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(result.parts[name], value.detach())
        assert not result.parts[name].requires_grad
    torch.testing.assert_close(result.loss, sum(expected.values()))


def test_a_list_of_couplings_goes_to_every_relation_and_a_mapping_to_its_own():
    tasks, relations = [EXPRESSION, UNITS, SMILE], [RELATION, SMILES]
    every = cc.CoupledObjective(
        tasks, relations, [couplings.PosteriorCoannotation(), couplings.ClassToLabels()]
    )
    assert every.part_names == [
        PART,
        "posterior-coannotation:expression->smile",
        "class-to-labels:expression->action_units",
        "class-to-labels:expression->smile",
    ]
    own = cc.CoupledObjective(
        tasks,
        relations,
        {
            "expression->smile": [couplings.MarginalLikelihood()],
            RELATION.name: [couplings.DistributionMatching("paper"), couplings.DistributionMatching()],
        },
    )
    assert own.part_names == [
        "marginal-likelihood:expression->smile",
        "distribution-matching:expression->action_units",
        "distribution-matching-2:expression->action_units",
    ]
    z, t = logits(), targets()
    z |= {"smile": torch.randn(4, 2)}
    t |= {"smile": torch.tensor([-1, 1, -1, 0])}
    parts = own(z, t).parts
    for name, coupling, relation in (
        ("marginal-likelihood:expression->smile", couplings.MarginalLikelihood(), SMILES),
        ("distribution-matching:expression->action_units", couplings.DistributionMatching("paper"), RELATION),
        ("distribution-matching-2:expression->action_units", couplings.DistributionMatching(), RELATION),
    ):
        torch.testing.assert_close(parts[name], coupling(z, t, relation).detach())


def test_without_relations_it_is_the_supervised_losses():
    z, t = logits(), targets()
    result = cc.CoupledObjective([EXPRESSION, UNITS])(z, t)
    assert set(result.parts) == {"expression", "action_units"}


def test_each_task_alone_sees_its_own_rows_only():
    z, t = logits(), targets()
    cc.CoupledObjective([EXPRESSION, UNITS])(z, t).loss.backward()
    assert z["expression"].grad[0].all()
    assert not z["expression"].grad[1:].any()
    seen = ~torch.isnan(t["action_units"])
    assert z["action_units"].grad[seen].all()
    assert not z["action_units"].grad[~seen].any()


@given(batch=batches(), row=st.integers(0, 5), times=st.integers(1, 3))
def test_a_row_that_comes_twice_weighs_twice(batch, row, times):
    relation, row = batch.relation, row % len(batch.y)
    made = cc.CoupledObjective([relation.source, relation.target])
    z, t = batch.logits(), batch.targets()
    index = torch.tensor([*range(len(batch.y)), *[row] * times])
    many = made({k: v[index] for k, v in z.items()}, {k: v[index] for k, v in t.items()})
    weight = torch.ones(len(batch.y))
    weight[row] += times
    once = made(z, t, sample_weight={"source": weight, "target": weight})
    torch.testing.assert_close(many.loss, once.loss)


def test_rows_of_no_weight_are_no_rows():
    z, t = logits(), targets()
    made = cc.CoupledObjective([EXPRESSION, UNITS])
    none = made(z, t, sample_weight={"expression": torch.zeros(4), "action_units": torch.zeros(4)})
    assert none.loss.item() == 0.0


def test_a_batch_of_no_rows_is_nothing():
    z = {name: value[:0] for name, value in logits().items()}
    t = {name: value[:0] for name, value in targets().items()}
    made = objective(couplings=[couplings.PosteriorCoannotation(), couplings.DistributionMatching()])
    assert made(z, t).loss.item() == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_before_any_logarithm(dtype):
    z = {name: value.detach().to(dtype).requires_grad_() for name, value in logits().items()}
    with torch.autocast("cpu", torch.bfloat16):
        result = objective()(z, targets())
    wide = {name: value.detach().float() for name, value in z.items()}
    assert result.loss.dtype == torch.float32
    torch.testing.assert_close(result.loss, objective()(wide, targets()).loss)
    result.loss.backward()
    assert all(value.grad.dtype == dtype and torch.isfinite(value.grad).all() for value in z.values())


def test_double_precision_stays():
    z = {name: value.detach().double() for name, value in logits().items()}
    assert objective()(z, targets()).loss.dtype == torch.float64


def test_more_annotation_than_bfloat16_can_count():
    n = 1001
    z = {"expression": torch.zeros(n, 7, dtype=torch.bfloat16), "action_units": torch.zeros(n, 17)}
    t = {"expression": torch.zeros(n, dtype=torch.int64), "action_units": torch.zeros(n, 17)}
    parts = cc.CoupledObjective([EXPRESSION, UNITS])(z, t).parts
    assert parts["expression"].item() == pytest.approx(np.log(7), rel=1e-6)


def test_it_prints_tasks_and_relations():
    assert "tasks=['expression', 'action_units'], relations=['expression->action_units']" in repr(objective())


# What it refuses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda: cc.CoupledObjective([]), ShapeError, ["at least one task"]),
        (lambda: cc.CoupledObjective([EXPRESSION, EXPRESSION]), DuplicateNameError, ["'expression'"]),
        (lambda: cc.CoupledObjective([EXPRESSION], [RELATION]), UnknownNameError, ["'action_units'"]),
        (lambda: objective(relations=[RELATION, RELATION]), DuplicateNameError, [RELATION.name, "twice"]),
        (
            lambda: cc.CoupledObjective([EXPRESSION, cc.MultilabelTask("action_units", ["AU1"])], [RELATION]),
            ShapeError,
            ["another task 'action_units'", "order"],
        ),
        (lambda: objective(relations=[]), ShapeError, ["'posterior-coannotation'", "relations=[...]"]),
        (
            lambda: objective(couplings={"expression->action_unit": []}),
            UnknownNameError,
            ["'expression->action_units'"],
        ),
        (lambda: objective(task_weights={"expresion": 1.0}), UnknownNameError, ["'expression'"]),
        (lambda: objective(soft_weights={"units": 1.0}), UnknownNameError, ["'units'"]),
        (lambda: objective(task_weights={"expression": -1.0}), RangeError, ["'expression'", "-1"]),
        (lambda: objective(soft_weights={"expression": NAN}), RangeError, ["nan"]),
    ],
)
def test_refused_when_made(make, kind, said):
    with raises(kind, *said):
        make()


def call(**changes):
    """Call with one thing changed in logits, targets, soft targets or sample weights."""
    given = {"logits": logits(), "targets": targets(), "soft": {}, "sample_weight": {}}
    for name, (task, value) in changes.items():
        given[name] = given[name] | {task: value} if value is not None else {}
    z, t = given.pop("logits"), given.pop("targets")
    return objective()(z, t, **given)


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"logits": ("", None)}, UnknownNameError, ["logits", "'expression'"]),
        ({"targets": ("", None)}, UnknownNameError, ["targets", "'expression'"]),
        ({"logits": ("expression", torch.zeros(4, 17))}, ShapeError, ["(4, 7)", "(4, 17)", "another task's"]),
        ({"logits": ("action_units", torch.zeros(4, 7))}, ShapeError, ["(4, 17)", "(4, 7)"]),
        ({"logits": ("action_units", torch.zeros(3, 17))}, ShapeError, ["(4, 17)", "(3, 17)"]),
        ({"logits": ("expression", torch.tensor(1.0))}, ShapeError, ["'expression'", "()"]),
        ({"logits": ("expression", torch.zeros(4))}, ShapeError, ["'expression'", "(4,)"]),
        ({"targets": ("expression", torch.zeros(4, 1).long())}, ShapeError, ["(4,)", "(4, 1)"]),
        ({"targets": ("action_units", torch.zeros(4, 16))}, ShapeError, ["(4, 17)", "(4, 16)"]),
        ({"targets": ("action_units", torch.zeros(4))}, ShapeError, ["(4, 17)"]),
        ({"targets": ("expression", torch.zeros(4))}, AnnotationError, ["int64", "float32"]),
        (
            {"targets": ("expression", np.array(["happiness", None, "fear", "anger"], dtype=object))},
            AnnotationError,
            ["'expression'", "targets are tensors, found a NumPy array of object; use task.encode"],
        ),
        ({"targets": ("action_units", [[0.0] * 17] * 4)}, AnnotationError, ["are tensors, found list"]),
        (
            {"logits": ("expression", np.zeros((4, 7)))},
            AnnotationError,
            ["logits are tensors, found a NumPy"],
        ),
        (
            {"soft": ("expression", np.full((4, 7), "no"))},
            AnnotationError,
            ["soft targets are tensors, found a Num"],
        ),
        (
            {"sample_weight": ("expression", [1.0] * 4)},
            AnnotationError,
            ["sample weights are tensors, found"],
        ),
        ({"targets": ("expression", torch.tensor([0, 1, 7, -1]))}, AnnotationError, [".. 6", "7", "row 2"]),
        ({"targets": ("expression", torch.tensor([0, -2, 1, -1]))}, AnnotationError, ["-2", "row 1"]),
        ({"targets": ("action_units", torch.full((4, 17), 0.5))}, AnnotationError, ["0.5", "row 0", "'AU1'"]),
        ({"targets": ("action_units", torch.full((4, 17), float("inf")))}, AnnotationError, ["inf"]),
        ({"targets": ("action_units", torch.full((4, 17), -1))}, AnnotationError, ["-1", "NaN"]),
        ({"logits": ("expression", torch.full((4, 7), NAN))}, NotFiniteError, ["'expression'", "NaN"]),
        ({"logits": ("action_units", torch.full((4, 17), float("inf")))}, NotFiniteError, ["'action_units'"]),
        ({"soft": ("expresion", torch.zeros(4, 7))}, UnknownNameError, ["soft", "'expression'"]),
        ({"soft": ("expression", torch.zeros(4, 1))}, ShapeError, ["soft", "(4, 7)", "(4, 1)"]),
        ({"soft": ("expression", torch.full((4, 7), 1.5))}, RangeError, ["soft", "'expression'"]),
        ({"sample_weight": ("units", torch.ones(4))}, UnknownNameError, ["weights", "'units'"]),
        ({"sample_weight": ("expression", torch.ones(4, 1))}, ShapeError, ["weights", "(4,)", "(4, 1)"]),
        ({"sample_weight": ("expression", torch.full((4,), -1.0))}, RangeError, ["weights", ">= 0"]),
        ({"sample_weight": ("expression", torch.full((4,), NAN))}, RangeError, ["weights", "finite"]),
    ],
)
def test_refused_when_called(changes, kind, said):
    with raises(kind, *said):
        call(**changes)


@pytest.mark.parametrize("dtype", [np.int16, np.int64, ">i4"])
def test_arrays_as_targets_give_the_loss_of_tensors(dtype):
    arrays = {name: t.numpy() for name, t in targets().items()}
    arrays["expression"] = arrays["expression"].astype(dtype)[::-1].copy()[::-1]  # reversed in memory
    arrays["action_units"] = arrays["action_units"].astype(np.float64)
    for values in arrays.values():
        values.flags.writeable = False
    expected = objective()(logits(), targets())
    found = objective()(logits(), arrays)
    assert found.loss.dtype == expected.loss.dtype
    assert torch.equal(found.loss, expected.loss)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ">f4", np.int64])
def test_arrays_as_soft_targets_and_weights_give_the_loss_of_tensors(dtype):
    soft, weight = np.zeros((4, 7)), np.arange(4)
    soft[:, 2] = 1
    tensors = {"soft": torch.tensor(soft).float(), "sample_weight": torch.tensor(weight).float()}
    arrays = {"soft": soft.astype(dtype), "sample_weight": weight.astype(dtype)}
    expected, found = (
        objective()(logits(), targets(), **{key: {"expression": values} for key, values in given.items()})
        for given in (tensors, arrays)
    )
    assert torch.equal(found.loss, expected.loss)
    assert found.parts.keys() == expected.parts.keys()
    with raises(RangeError, "sample weights are finite and >= 0"):
        objective()(logits(), targets(), sample_weight={"expression": np.array([1, 1, -1, 1])})


def test_arrays_are_checked_like_tensors():
    with raises(AnnotationError, ".. 6", "7", "row 2"):
        call(targets=("expression", np.array([0, 1, 7, -1])))
    with raises(AnnotationError, "int64", "float32"):
        call(targets=("expression", np.zeros(4)))
    with raises(ShapeError, "(4,)", "(3,)"):
        call(targets=("expression", np.zeros(3, dtype=int)))


def test_errors_are_the_builtins_that_one_would_catch():
    with pytest.raises(ValueError, match="labels are 0, 1 or NaN"):
        call(targets=("action_units", torch.full((4, 17), 2.0)))
    with pytest.raises(LookupError, match="unknown task"):
        call(logits=("", None))
    with pytest.raises(FloatingPointError, match="NaN or infinity"):
        call(logits=("expression", torch.full((4, 7), NAN)))


def test_values_are_not_looked_at_unless_asked_but_shapes_are():
    made = objective(validate=False)
    z, t = logits(), targets()
    wrong = z | {"expression": torch.full((4, 7), NAN)}
    assert torch.isnan(made(wrong, t).loss)
    with raises(ShapeError, "(4, 7)"):
        made(z | {"expression": torch.zeros(4, 6)}, t)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"couplings": "posterior"}, "couplings are a list of couplings, found 'posterior'"),
        ({"couplings": ["posterior"]}, "found 'posterior' in it"),
        ({"couplings": {"expression->action_units": ["posterior"]}}, "found 'posterior' in it"),
        ({"relations": cc.tables.expressions()}, "relations are a list of relations"),
    ],
)
def test_what_is_no_coupling_is_told(given, said):
    with raises(ShapeError, said):
        cc.CoupledObjective([EXPRESSION, UNITS], **({"relations": [cc.tables.expressions()]} | given))


def test_one_coupling_is_a_list_of_one():
    one = cc.couplings.PosteriorCoannotation()
    name = cc.tables.expressions().name
    for way in (one, [one], {name: one}, {name: [one]}):
        made = cc.CoupledObjective([EXPRESSION, UNITS], [cc.tables.expressions()], way)
        assert made.part_names == [f"posterior-coannotation:{name}"]


def test_a_wrong_label_of_half_precision_is_told_as_any_other():
    wrong = targets()["action_units"].to(torch.bfloat16)
    wrong[0, 0] = 0.5
    with raises(AnnotationError, "labels are 0, 1 or NaN (missing), found 0.5 in row 0"):
        cc.CoupledObjective([UNITS])(logits(), {"action_units": wrong})


# What it costs -----------------------------------------------------------------------------------


class Dispatched(TorchDispatchMode):
    """Counts the operations that run inside."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_a_small_network_feels_little_of_it():
    loss, z, t = cc.CoupledObjective([EXPRESSION, UNITS], validate=False), logits(), targets()
    with Dispatched() as ours:
        loss(z, t).loss.backward()
    a, z = t["action_units"], logits()
    with Dispatched() as plain:  # what one would write by hand
        seen = ~torch.isnan(a)
        each = functional.binary_cross_entropy_with_logits(
            z["action_units"], torch.nan_to_num(a), reduction="none"
        )
        by_hand = functional.cross_entropy(z["expression"], t["expression"], ignore_index=-1)
        (by_hand + (each * seen).sum() / seen.sum().clamp(min=1)).backward()
    assert ours.count <= plain.count + 20  # means over samples, the number of them over all processes


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float64])
def test_shares_of_labels_do_not_depend_on_the_type_of_the_labels(dtype):
    task = cc.MultilabelTask("marks", ["a", "b"])
    made, z = cc.CoupledObjective([task]), {"marks": torch.zeros(3, 2)}
    labels, shares = torch.tensor([[1.0, 0.0]] * 3), torch.tensor([[0.7, 0.6], [NAN, 0.4], [NAN, NAN]])
    expected = made(z, {"marks": labels}, shares={"marks": shares}).loss
    found = made(z, {"marks": labels.to(dtype)}, shares={"marks": shares}).loss
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
