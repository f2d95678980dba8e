"""The starting plan and the JSON schema: both of the plan's own fields, and of what `read_plan` takes."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import jsonschema
import pytest
import yaml
from study_plans import TINY

from concord.errors import ConcordError
from concord.study import as_plan, case, case_names, plan_schema, plan_template
from concord.study.plan import ConditionPlan, Data, Plan, RelationPlan, Sourced
from concord.study.spec import Budget, Network, Regime, meanings

SCHEMA = plan_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
STUDIES = Path(__file__).parents[2] / "benchmarks"


def plan(**changes):
    return {**deepcopy(TINY), **changes}


def test_the_starting_plan_is_a_plan_with_every_key_at_its_default():
    values = yaml.safe_load(plan_template())
    assert set(values) == set(Plan.model_fields) - {"folder"}
    checked = as_plan(values)
    assert checked.budget == Budget()
    assert checked.network == Network()
    required = {key: values[key] for key in ("title", "problem", "regimes", "conditions")}
    assert checked == as_plan(required)


def test_the_starting_plan_explains_every_key():
    text = " ".join(line.lstrip(" #-") for line in plan_template().splitlines())
    for part in (Plan, Data, RelationPlan, Regime, Network, Budget):
        for name, meaning in meanings(part).items():
            assert name == "folder" or " ".join(meaning.split()[:5]) in " ".join(text.split()), name


PARTS = (Plan, ConditionPlan, RelationPlan, Data, Sourced, Network, Regime, Budget)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_docstrings_explain_the_fields_that_there_are(part):
    assert set(meanings(part)) == set(part.model_fields)


def test_every_key_of_the_schema_is_explained_and_no_other_is_taken():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    parts = {"Plan": SCHEMA, **SCHEMA["$defs"]}
    properties = [(name, key, p) for name, d in parts.items() for key, p in d.get("properties", {}).items()]
    assert len(properties) > 60
    assert [(name, key) for name, key, p in properties if not p.get("description")] == []
    assert {d["additionalProperties"] for d in parts.values() if "properties" in d} == {False}


def shipped():
    for path in sorted(STUDIES.glob("*.yaml")):
        yield pytest.param(yaml.safe_load(path.read_text(encoding="utf-8")), id=path.name)
    for name in case_names():
        for kind in ("PLAN", "QUICK"):
            values = getattr(case(name), kind, None)
            if values is not None:
                yield pytest.param(json.loads(json.dumps(values)), id=f"{name} {kind}")


@pytest.mark.parametrize("values", list(shipped()))
def test_plans_that_we_ship_fit_the_schema(values):
    VALIDATOR.validate(values)


SHORT = {
    "a number of seeds": {"seeds": 3},
    "a condition with options": {
        "conditions": ["uncoupled", {"name": "m", "use": "matching", "options": {"weight": 3}}]
    },
    "a condition by name alone": {"conditions": ["uncoupled", {"name": "auto"}]},
    "a share in percent": {
        "regimes": [{"name": "a", "rows": {"digit": 10, "segments": 10}, "overlap": "50 %"}]
    },
    "samples": {"samples": "none"},
}


@pytest.mark.parametrize("changes", list(SHORT.values()), ids=list(SHORT))
def test_short_forms_are_taken_by_the_schema_and_by_the_plan(changes):
    VALIDATOR.validate(plan(**changes))
    as_plan(plan(**changes))


def test_networks_by_name_fit_in_place_of_one():
    values = plan(networks={"small": {"hidden": [8]}, "wide": {"hidden": [64]}}, quick={"seeds": 2})
    del values["network"]
    VALIDATOR.validate(values)
    del values["quick"]
    assert len(as_plan(values).regimes) == 2


@pytest.mark.parametrize(
    ("problem", "fits"),
    [
        ("digits", True),
        ({"manifest": "a.parquet", "features": "b.npz"}, True),
        ({"config": "c.yaml", "rows": {"train": 100}}, True),
        ({"sources": {"a": {"manifest": "m.parquet", "inputs": {"kind": "images"}}}}, True),
        ({"rows": {"train": 100}}, False),
        ({"manifest": "a.parquet"}, False),
    ],
)
def test_a_problem_is_named_or_one_of_the_two_kinds_of_data(problem, fits):
    assert VALIDATOR.is_valid(plan(problem=problem)) == fits


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 3},
        {"seeds": 0},
        {"seeds": []},
        {"conditions": []},
        {"regimes": [{"name": "a", "rows": {"digit": 0}}]},
        {"regimes": [{"name": "a b", "rows": {"digit": 1}}]},
        {"budget": {"steps": 0}},
        {"level": 1},
        {"samples": "some"},
        {"tuning": {"steps": [1]}},
        {"network": {"kind": "cnn"}},
    ],
    ids=str,
)
def test_what_a_plan_refuses_the_schema_refuses(changes):
    assert not VALIDATOR.is_valid(plan(**changes))
    with pytest.raises(ConcordError):
        as_plan(plan(**changes))
