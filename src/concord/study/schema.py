"""The JSON schema of a plan, as people write one: for editors."""

from __future__ import annotations

from typing import Any

from concord.study.plan import MOST_SEEDS, Plan
from concord.study.spec import Network, TrunkNetwork


def plan_schema() -> dict[str, Any]:
    """The JSON schema of a plan file, with the short forms that `read_plan` takes.

    A condition by its name alone, a number of seeds, a share as `50 %`, several `networks` in place of one,
    a `config` in place of sources, and what is different in a `quick` look.
    """
    schema = Plan.model_json_schema()
    fields, parts = schema["properties"], schema["$defs"]
    del fields["folder"]
    seeds = fields["seeds"]
    fields["seeds"] = {
        "description": seeds["description"],
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_SEEDS}, _bare(seeds)],
    }
    name = parts["ConditionPlan"]["properties"]["name"]
    fields["conditions"]["items"] = {"anyOf": [_bare(name), fields["conditions"]["items"]]}
    overlap = parts["Regime"]["properties"]["overlap"]
    parts["Regime"]["properties"]["overlap"] = {
        "description": overlap["description"],
        "anyOf": [_bare(overlap), {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*%\s*$"}],
    }
    fields["networks"] = {
        "description": "Several networks by name, in place of `network`: every regime is run on each.",
        "type": "object",
        "additionalProperties": {
            "anyOf": [{"$ref": f"#/$defs/{part.__name__}"} for part in (Network, TrunkNetwork)]
        },
        "minProperties": 1,
    }
    fields["quick"] = {
        "description": "Fields that are different with --quick.",
        "type": "object",
        "propertyNames": {"enum": [field for field in fields if field != "quick"]},
    }
    _sources_or_config(parts["Sourced"])
    return schema


def _sources_or_config(part: dict[str, Any]) -> None:
    part["properties"]["config"] = {
        "description": "A config of `concord train`, relative to the plan; its sources, tasks and relations "
        "are used where the plan names none.",
        "type": "string",
    }
    part["properties"]["size"] = {
        "description": "Side of all images in pixels, in place of the sources' own.",
        "type": "integer",
        "minimum": 1,
    }
    del part["required"]
    part["anyOf"] = [{"required": ["config"]}, {"required": ["sources"]}]


def _bare(field: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in field.items() if key not in ("description", "default", "title")}
