"""The data of a study: splits, and rows drawn for a regime."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from study_plans import tiny

from concord.errors import (
    EmptyDataError,
    MissingDataError,
    NotFiniteError,
    ShapeError,
    StudyError,
    UnknownNameError,
)
from concord.study.conditions.registry import condition
from concord.study.plan import as_plan
from concord.study.problems.cases.digits import SEGMENTS, problem
from concord.study.problems.load import problem_of
from concord.study.problems.problem import check_problem, draw
from concord.study.running.engines import _loaded
from concord.study.running.one_cell import setting_of
from concord.study.spec import Regime

DIGITS = problem()


def test_digits_splits_are_apart_and_the_labels_follow_the_display():
    splits = [set(DIGITS.splits[name].tolist()) for name in ("train", "val", "test")]
    assert sum(map(len, splits)) == len(set().union(*splits)) == 1797
    assert len(splits[2]) == 800
    y, a = DIGITS.targets["digit"], DIGITS.targets["segments"]
    for row in (0, 5, 1796):
        assert "".join(s for s, on in zip("abcdefg", a[row], strict=True) if on) == SEGMENTS[y[row]]
    assert (problem().splits["test"] == DIGITS.splits["test"]).all()
    assert DIGITS.picture(3)[:4] == b"\x89PNG"


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.floats(0, 1), st.integers(0, 5))
def test_a_draw_has_the_rows_of_its_regime(n_class, n_label, overlap, seed):
    regime = Regime(name="r", rows={"digit": n_class, "segments": n_label}, overlap=overlap)
    rows, targets = draw(DIGITS, regime, seed)
    assert len(set(rows.tolist())) == len(rows) == regime.total
    assert set(rows.tolist()) <= set(DIGITS.splits["train"].tolist())
    has_y, has_a = targets["digit"] >= 0, ~np.isnan(targets["segments"]).any(axis=1)
    assert (has_y.sum(), has_a.sum(), (has_y & has_a).sum()) == (n_class, n_label, regime.both)
    assert (targets["digit"][has_y] == DIGITS.targets["digit"][rows][has_y]).all()
    assert (targets["segments"][has_a] == DIGITS.targets["segments"][rows][has_a]).all()
    if n_class - regime.both >= 10:
        assert len(set(targets["digit"][has_y].tolist())) == 10


def test_a_draw_depends_on_its_seed_alone():
    regime = tiny().regimes[0]
    first, again, other = (draw(DIGITS, regime, seed)[0] for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_a_regime_larger_than_the_data_is_refused():
    regime = Regime(name="huge", rows={"digit": 700, "segments": 600})
    with pytest.raises(StudyError, match=r"'huge' needs 600 .* 'segments'; .* has 47 that .* of 747 in all"):
        draw(DIGITS, regime, 0)


def with_test_rows(keep):
    rows = DIGITS.splits["test"]
    return replace(DIGITS, splits={**DIGITS.splits, "test": rows[keep(DIGITS.targets["digit"][rows])]})


def test_a_split_without_a_class_or_label_is_refused():
    with pytest.raises(StudyError, match=r"split 'test' has no row of '4', .* task 'digit'"):
        check_problem(with_test_rows(lambda y: y != 4), tiny())
    no_labels = {**DIGITS.targets, "segments": DIGITS.targets["segments"] * 0}
    with pytest.raises(StudyError, match="no row of 'a'"):
        check_problem(replace(DIGITS, targets=no_labels), tiny())


def test_plans_that_speak_of_something_else_are_refused():
    rows = {"digit": 10, "segments": 10}
    with pytest.raises(UnknownNameError, match="unknown task 'digits'; did you mean 'digit'"):
        check_problem(DIGITS, tiny(regimes=[{"name": "a", "rows": {**rows, "digits": 3}}]))
    with pytest.raises(StudyError, match="no number of rows for task 'segments'"):
        check_problem(DIGITS, tiny(regimes=[{"name": "a", "rows": {"digit": 3}}]))
    with pytest.raises(UnknownNameError, match="metric of task 'digit'"):
        check_problem(DIGITS, tiny(metrics={"digit": "mean_f1"}))
    with pytest.raises(StudyError, match="no relation"):
        check_problem(
            replace(DIGITS, relations=()), tiny(regimes=[{"name": "a", "rows": rows, "table": "shuffled"}])
        )


def test_a_network_for_other_inputs_is_refused():
    with pytest.raises(StudyError, match=r"shape \(64,\), which are no images \(resnet\)"):
        check_problem(DIGITS, tiny(network={"kind": "resnet"}))
    images = replace(DIGITS, inputs=DIGITS.inputs.reshape(-1, 1, 8, 8))
    check_problem(images, tiny(network={"kind": "resnet"}))
    regimes = [{**tiny().regimes[0].model_dump(), "network": {"kind": "mlp"}}]
    with pytest.raises(StudyError, match="rows of features"):
        check_problem(images, tiny(network={"kind": "resnet"}, regimes=regimes))


def test_a_problem_that_does_not_fit_together_is_refused():
    with pytest.raises(ShapeError, match="in two splits"):
        replace(DIGITS, splits={**DIGITS.splits, "val": DIGITS.splits["test"][:5]})
    with pytest.raises(EmptyDataError, match="'val' has no rows"):
        replace(DIGITS, splits={**DIGITS.splits, "val": np.empty(0, dtype=int)})
    with pytest.raises(UnknownNameError, match="split"):
        replace(DIGITS, splits={"train": DIGITS.splits["train"]})
    with pytest.raises(NotFiniteError, match="inputs"):
        replace(DIGITS, inputs=DIGITS.inputs * np.nan)
    with pytest.raises(ShapeError, match="1797 rows, but 3 of task 'digit'"):
        replace(DIGITS, targets={**DIGITS.targets, "digit": np.zeros(3, dtype=int)})
    with pytest.raises(UnknownNameError, match="task in the targets"):
        replace(DIGITS, targets={"digit": DIGITS.targets["digit"]})
    with pytest.raises(UnknownNameError, match="unknown task"):
        DIGITS.task("letters")


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.int64, np.uint8, bool, ">f4"])
def test_numbers_of_any_kind_are_kept_as_networks_take_them(kind):
    given = (DIGITS.inputs > 0.5).astype(kind)
    found = replace(DIGITS, inputs=given).inputs
    assert found.dtype == np.float32
    assert found.dtype.isnative
    assert np.array_equal(found, given)
    plan = tiny()
    one = setting_of(plan, replace(DIGITS, inputs=given), plan.regimes[0], 0, plan.budget)
    logits = condition("uncoupled").train(one)(torch.from_numpy(found[:3]))
    assert torch.isfinite(logits["digit"]).all()


def test_splits_may_be_lists_or_masks_and_their_rows_must_be_there():
    lists = {name: rows.tolist() for name, rows in DIGITS.splits.items()}
    masks = {name: np.isin(np.arange(len(DIGITS.inputs)), rows) for name, rows in DIGITS.splits.items()}
    for shown in (lists, masks):
        made = replace(DIGITS, splits=shown, targets={k: v.tolist() for k, v in DIGITS.targets.items()})
        for name, rows in DIGITS.splits.items():
            assert sorted(made.splits[name]) == sorted(rows)
        rows, _ = draw(made, tiny().regimes[0], 0)
        assert len(rows)
    for row in (-1, len(DIGITS.inputs)):
        with pytest.raises(ShapeError, match=f"split 'test' has row {row} of"):
            replace(DIGITS, splits={**lists, "test": [*lists["test"], row]})


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([3, 4, 3], "has row 3 more than once"),
        ([3.2, 4.9], "is a list of row numbers, found an array (2,) of float64"),
        ([[3, 4]], "is a list of row numbers, found an array (1, 2)"),
        (np.ones(5, dtype=bool), "which rows it has is of shape (1797,), found (5,)"),
    ],
)
def test_rows_of_a_split_are_whole_numbers_and_each_is_there_once(rows, said):
    with pytest.raises(ShapeError, match=re.escape(said)):
        replace(DIGITS, splits={**DIGITS.splits, "test": rows})


def changed(task, value, rows=slice(5, 7)):
    targets = np.array(DIGITS.targets[task], dtype=object)
    targets[rows] = value
    return {**DIGITS.targets, task: targets.astype(DIGITS.targets[task].dtype)}


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (changed("digit", 10), "10 in row 5"),
        (changed("digit", -3), "-3 in row 5"),
        (changed("segments", 0.4), "labels are 0, 1 or NaN (missing), found 0.4"),
        (
            {**DIGITS.targets, "segments": DIGITS.targets["segments"][:, :3]},
            "label targets have shape (n, 7)",
        ),
        ({**DIGITS.targets, "digit": np.full(1797, "eleven")}, "'eleven'"),
    ],
)
def test_targets_that_their_task_does_not_have_are_refused_before_anything_is_trained(targets, said):
    with pytest.raises(StudyError, match=f"^problem 'digits': .*{re.escape(said)}"):
        replace(DIGITS, targets=targets)


def test_targets_may_be_names_and_are_kept_as_indices():
    task = DIGITS.task("digit")
    named = replace(DIGITS, targets={**DIGITS.targets, "digit": task.decode(DIGITS.targets["digit"])})
    assert named.targets["digit"].dtype == np.int64
    assert (named.targets["digit"] == DIGITS.targets["digit"]).all()


def test_inputs_of_float32_are_taken_as_they_are():
    assert replace(DIGITS).inputs is DIGITS.inputs


def test_inputs_that_no_network_takes_are_refused():
    with pytest.raises(StudyError, match="'digits': inputs are numbers, found an array of <U"):
        replace(DIGITS, inputs=DIGITS.inputs.astype(str))
    with pytest.raises(NotFiniteError, match="too large for float32"):
        replace(DIGITS, inputs=DIGITS.inputs.astype(np.float64) * 1e300)


# -- of a function -------------------------------------------------------------------------------------

MODULE = """
from beside_a_problem import digits

WORDS = "no function"

def small():
    return digits()

def number():
    return 3
"""


@pytest.fixture
def beside(tmp_path):
    """A folder with modules that nobody can import from elsewhere; they are forgotten afterwards."""
    (tmp_path / "beside_a_problem.py").write_text(
        "from concord.study.problems.cases.digits import problem as digits\n"
    )
    (tmp_path / "a_problem.py").write_text(MODULE)
    yield tmp_path
    for name in ("beside_a_problem", "a_problem"):
        sys.modules.pop(name, None)


def test_a_function_beside_the_plan_gives_the_problem(beside):
    before = list(sys.path)
    plan = tiny(problem="a_problem:small", folder=str(beside))
    assert "a_problem" not in sys.modules  # a plan is checked without it
    found = problem_of(plan)
    assert (found.inputs == DIGITS.inputs).all()
    assert sys.path == before
    assert plan.resolved()["problem"] == "a_problem:small"
    assert str(beside) not in str(plan.resolved())
    assert as_plan(plan.resolved()).digest == plan.digest


def test_a_worker_finds_the_function_by_what_it_is_told(beside):
    plan = tiny(problem="a_problem:small", folder=str(beside))
    loaded, found = _loaded(plan.model_dump_json())
    assert loaded == plan
    assert found.tasks == DIGITS.tasks


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("a_problen:small", MissingDataError, r"no module 'a_problen' in /.*, nor where Python looks"),
        ("a_problem.part:small", MissingDataError, "no module 'a_problem.part' in"),
        ("a_problem:smal", UnknownNameError, "function of module 'a_problem' 'smal'; did you mean 'small'"),
        ("a_problem:WORDS", UnknownNameError, "function of module 'a_problem' 'WORDS'"),
        ("a_problem:number", StudyError, "'a_problem:number': .* must return a .*Problem, found int"),
    ],
)
def test_a_function_that_gives_no_problem_is_refused_in_one_line(beside, given, kind, message):
    plan = tiny(problem=given, folder=str(beside))
    with pytest.raises(kind, match=message) as caught:
        problem_of(plan)
    assert "\n" not in str(caught.value)
    assert str(beside) not in sys.path


@pytest.mark.parametrize("given", ["a_problem:", ":small", "a/b:small", "a:b:c", "a:b()"])
def test_what_names_no_function_is_refused_with_the_plan(given):
    with pytest.raises(StudyError, match="named as module:function, found"):
        tiny(problem=given)


def test_a_module_of_another_folder_is_never_taken_for_the_one_beside_the_plan(beside, tmp_path):
    problem_of(tiny(problem="a_problem:small", folder=str(beside)))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a_problem.py").write_text(MODULE)
    with pytest.raises(StudyError, match="a module 'a_problem' from elsewhere is imported already"):
        problem_of(tiny(problem="a_problem:small", folder=str(tmp_path / "other")))
    problem_of(tiny(problem="a_problem:small", folder=str(beside)))


def test_what_a_module_itself_lacks_is_not_taken_for_its_absence(beside):
    (beside / "beside_a_problem.py").write_text("import there_is_no_such_module\n")
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_module") as caught:
        problem_of(tiny(problem="a_problem:small", folder=str(beside)))
    assert not isinstance(caught.value, MissingDataError)


def test_a_function_may_import_what_stands_beside_the_plan(beside):
    (beside / "a_problem.py").write_text(
        "def small():\n    from beside_a_problem import digits\n\n    return digits()\n"
    )
    found = problem_of(tiny(problem="a_problem:small", folder=str(beside)))
    assert (found.inputs == DIGITS.inputs).all()
    assert str(beside) not in sys.path


def test_folders_of_modules_are_told_apart(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name / "a_folder").mkdir(parents=True)
        (tmp_path / name / "a_folder" / "m.py").write_text(
            "from concord.study.problems.cases.digits import problem as small\n"
        )
    try:
        problem_of(tiny(problem="a_folder.m:small", folder=str(tmp_path / "first")))
        problem_of(tiny(problem="a_folder.m:small", folder=str(tmp_path / "first")))
        with pytest.raises(StudyError, match=r"a module 'a_folder\.m' from elsewhere is imported already"):
            problem_of(tiny(problem="a_folder.m:small", folder=str(tmp_path / "second")))
    finally:
        for name in ("a_folder", "a_folder.m"):
            sys.modules.pop(name, None)
