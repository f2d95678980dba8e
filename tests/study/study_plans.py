"""Small plans that the tests of studies share."""

from __future__ import annotations

from copy import deepcopy

from concord.study.plan import Plan, as_plan

TINY = {
    "title": "tiny",
    "problem": "digits",
    "regimes": [{"name": "few-class", "rows": {"digit": 40, "segments": 120}}],
    "conditions": ["single-task", "uncoupled", "posterior"],
    "seeds": [0, 1],
    "network": {"hidden": [16], "dropout": 0.1},
    "budget": {"steps": 12, "rows_per_task": 16, "log_every": 6},
    "resamples": 50,
}


def tiny(**changes) -> Plan:
    return as_plan({**deepcopy(TINY), **changes})
